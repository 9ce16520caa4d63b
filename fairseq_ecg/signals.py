"""``import fairseq_ecg.signals``: what ECG-FM's notebooks and scripts import of fairseq_signals.

    import fairseq_ecg.signals
    from fairseq_signals.models import build_model_from_checkpoint
    from fairseq_signals.utils.store import MemmapReader

With the first line the names in :data:`OFFERED` are found here; nothing is loaded before it is
imported. A name that is not offered is an ImportError that says what there is in its place; for a
module that is a script, which command does the same. Where PyTorch reads tensors and numbers
only, ``torch.load`` takes NumPy's numbers for such from then on: the checkpoints of fairseq_signals
and of ECG-FM's linear probe hold some. To run a script or a module as it is:
``python -m fairseq_ecg.signals script.py ARGUMENTS``,
``python -m fairseq_ecg.signals -m module ARGUMENTS``.
"""

import argparse
import functools
import importlib
import importlib.util
import os
import runpy
import sys
from collections.abc import Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

from fairseq_ecg.compat.published.missing import MISSING
from fairseq_ecg.compat.published.names import OFFERED, VERSION
from fairseq_ecg.compat.published.scripts import SCRIPTS

ALIAS = "fairseq_signals"

_NEED_REGISTRATION = ("criterions", "models", "optim", "tasks", "utils.checkpoint_utils")
"""Modules of which one finds that tasks, models and criterions are registered."""


class _Aliases(MetaPathFinder, Loader):
    """Finds the modules of :data:`OFFERED` under fairseq_signals' names."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        package, _, module = fullname.partition(".")
        if package != ALIAS:
            return None
        if module not in OFFERED:
            raise ModuleNotFoundError(_not_offered(module), name=fullname)
        prefix = f"{module}." if module else ""
        is_package = not OFFERED[module] or any(name.startswith(prefix) for name in OFFERED)
        spec = ModuleSpec(fullname, self, origin=__file__, is_package=is_package)
        spec.has_location = True
        return spec

    def exec_module(self, module: Any) -> None:
        name = module.__name__.partition(".")[2]
        if not name:
            module.__version__ = VERSION
            _let_torch_read_numbers()
        if name.startswith(_NEED_REGISTRATION):
            importlib.import_module("fairseq_ecg.tasks")
        module.__all__ = sorted(OFFERED[name])
        module.__getattr__ = functools.partial(_find, module)
        module.__dir__ = lambda: sorted({*vars(module), *module.__all__})


def _find(module: ModuleType, attribute: str) -> Any:
    """Import a name or a submodule when it is asked for; fairseq_signals imports all with itself.

    Raises:
        ImportError: fairseq_signals has the name, and nothing here stands for it.
        AttributeError: it has no such name.
    """
    name = module.__name__.partition(".")[2]
    path = f"{name}.{attribute}".lstrip(".")
    source = OFFERED[name].get(attribute)
    if source is not None:
        found = _resolve(source, attribute)
        setattr(module, attribute, found)
        return found
    if path in OFFERED:
        return importlib.import_module(f"{ALIAS}.{path}")
    if attribute in MISSING.get(name, {}):
        raise ImportError(
            f"{ALIAS}.{path} is not offered: {MISSING[name][attribute]}", name=module.__name__
        )
    if path in SCRIPTS:
        raise ImportError(_not_offered(path), name=f"{ALIAS}.{path}")
    raise AttributeError(f"module {module.__name__!r} has no attribute {attribute!r}")


def _resolve(source: str, attribute: str) -> Any:
    """Import what a source of :data:`OFFERED` says.

    Raises:
        ImportError: there is no such module, or nothing is registered by that name.
    """
    module, _, name = source.partition(":")
    if module.startswith("transformers"):
        importlib.import_module("fairseq_ecg.huggingface")  # which lives with a broken torchaudio
    name, _, key = name.removesuffix("]").partition("[")
    found = getattr(importlib.import_module(module), name or attribute)
    if key and key not in found:
        raise ImportError(f"{attribute}: nothing is registered as {key!r} in {module}.{name}")
    return found[key] if key else found


def _not_offered(module: str) -> str:
    """Say what there is in place of a module of fairseq_signals."""
    message = f"No module named '{ALIAS}.{module}'"
    if module in SCRIPTS:
        message += f"; what {module.rpartition('.')[2]}.py does is done by {SCRIPTS[module]}"
    offered = ", ".join(f"{ALIAS}.{name}" for name in OFFERED if name)
    return f"{message}: fairseq_ecg.signals offers {offered}"


def _let_torch_read_numbers() -> None:
    import torch

    from fairseq_ecg.compat.checkpoint import numpy_globals

    torch.serialization.add_safe_globals(numpy_globals())


def build_model_from_checkpoint(checkpoint_path: str | os.PathLike):
    """Build a model with its weights, see :func:`fairseq_ecg.models.build_model_from_checkpoint`.

    Args:
        checkpoint_path: the ``.pt`` file.
    """
    from fairseq_ecg.models import build_model_from_checkpoint

    return build_model_from_checkpoint(checkpoint_path)


def load_model_and_task(
    filename: str | os.PathLike,
    checkpoint_overrides: dict[str, Any] | None = None,
    model_overrides: dict[str, Any] | None = None,
    task: Any = None,
    strict: bool = True,
    suffix: str = "",
    num_shards: int = 1,
    state: dict[str, Any] | None = None,
    *,
    arg_overrides: dict[str, Any] | None = None,
):
    """Build the model and the task of a checkpoint.

    Args:
        filename: the ``.pt`` file.
        checkpoint_overrides: values of its configuration, by section and key or by key alone.
        model_overrides: values of the model's configuration by key.
        task: that builds the model; None: the one that the checkpoint describes.
        strict: whether every weight must be used, and no parameter may stay random.
        suffix: what the file's name has before its extension besides.
        num_shards: 1: a checkpoint is one file here.
        state: what :func:`load_checkpoint_to_cpu` read of the file; None: the file is read.
        arg_overrides: the same as ``checkpoint_overrides``, by its name in older code.

    Returns:
        The model, the configuration and the task.

    Raises:
        ValueError: ``num_shards`` is not 1.
    """
    from fairseq_ecg.compat.restoring import restore, sorted_overrides

    if num_shards != 1:
        raise ValueError(
            f"num_shards={num_shards}: checkpoints in several files are not read; "
            "give the one file that holds the whole model, and num_shards=1"
        )
    overrides = sorted_overrides((checkpoint_overrides or {}) | (arg_overrides or {}))
    overrides["model"] |= model_overrides or {}
    return restore(filename, overrides, suffix=suffix, task=task, strict=strict, state=state)


def register() -> None:
    """Offer the modules of :data:`OFFERED`; a second call changes nothing.

    Raises:
        ImportError: fairseq_signals itself is installed, and nothing of it shall be hidden.
    """
    if any(isinstance(finder, _Aliases) for finder in sys.meta_path):
        return
    installed = importlib.util.find_spec(ALIAS)
    if installed is not None and installed.origin is not None:  # no folder of that name alone
        raise ImportError(
            f"{ALIAS} itself is at {installed.origin}: uninstall it, or leave out "
            "'import fairseq_ecg.signals' to use it"
        )
    sys.meta_path.insert(0, _Aliases())


def _run(arguments: Sequence[str]) -> None:
    """Run a script, or by ``-m`` a module, with its arguments."""
    if not arguments or arguments == ["-m"]:
        sys.exit(
            "usage: python -m fairseq_ecg.signals SCRIPT.py [ARGUMENT ...]\n"
            "       python -m fairseq_ecg.signals -m MODULE [ARGUMENT ...]"
        )
    # Python puts the working directory on the path; a clone that lies there is no installation.
    path = sys.path.copy()
    sys.path[:] = [folder for folder in path if os.path.realpath(folder) != os.getcwd()]
    # Of this module under its own name, in which scripts find what they import.
    importlib.import_module("fairseq_ecg.signals")
    sys.path[:] = path
    if arguments[0] == "-m":
        package, _, module = arguments[1].partition(".")
        if package == ALIAS:
            is_module = module in OFFERED
            sys.exit(f"{arguments[1]} is no program" if is_module else _not_offered(module))
        sys.argv = list(arguments[1:])
        runpy.run_module(arguments[1], run_name="__main__", alter_sys=True)
        return
    sys.argv = list(arguments)
    sys.path[0] = os.path.dirname(os.path.abspath(arguments[0]))
    # ECG-FM's embs.py uses argparse without importing it.
    runpy.run_path(arguments[0], {"argparse": argparse}, run_name="__main__")


if __name__ == "__main__":
    _run(sys.argv[1:])
else:
    register()
