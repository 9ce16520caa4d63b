"""Triton's interpreter, which runs kernels without a GPU in a process with TRITON_INTERPRET=1."""

import os


def quicken() -> None:
    """Let the interpreter replace Triton's functions by its own once in a process.

    As released it does so for every call of a function in a kernel, which takes longer than the
    rest of the call. Elsewhere nothing is changed.
    """
    if os.environ.get("TRITON_INTERPRET") != "1":
        return
    import triton.language as tl
    from triton.runtime import interpreter

    replace, replaced = interpreter._patch_lang, set()

    def replace_once(function):
        # Not by their names there: triton.language.random calls the core `tl`.
        used = function.__globals__.values()
        modules = frozenset(m.__name__ for m in (tl, tl.core) if any(m is value for value in used))
        if modules not in replaced:
            replaced.add(modules)
            replace(function)
        return interpreter._LangPatchScope()  # with nothing to restore

    interpreter._patch_lang = replace_once
