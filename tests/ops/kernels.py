"""What tests of kernels share: backends, their devices, and other processes to run them in."""

import os
import subprocess
import sys
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from fairseq_ecg.ops.backends import missing
from tests.conftest import ROOT
from tests.triton_interpreter import quicken

quicken()


def skip_if_missing(backend: str) -> None:
    """Skip a test of a backend that cannot run here."""
    if (reason := missing(backend)) is not None:
        pytest.skip(f"{backend}: {reason}")


def device_of(backend: str) -> str:
    """Type of device on which a test runs a backend."""
    on_gpu = backend == "cuda" or (backend == "triton" and torch.cuda.is_available())
    return "cuda" if on_gpu else "cpu"


@contextmanager
def nan_in_new_memory():
    """Let memory be full of NaN, or of large integers, until it is written."""
    was_deterministic = torch.are_deterministic_algorithms_enabled()
    torch.use_deterministic_algorithms(True)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(was_deterministic)


class WaitsForNoDevice(TorchDispatchMode):
    """Fail at operations that a GPU would have to finish all its work for."""

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        """Look at one operation and run it."""
        name = func._schema.name.removeprefix("aten::")
        assert name not in ("_local_scalar_dense", "nonzero", "masked_select", "bincount"), name
        if name.startswith("index"):
            indices = args[1] if isinstance(args[1], list | tuple) else []
            assert all(index is None or index.dtype != torch.bool for index in indices), name
        return func(*args, **(kwargs or {}))


def run_triton_tests(file: str) -> None:
    """Run a file's tests of Triton kernels by Triton's interpreter where there is no GPU.

    The interpreter is chosen once in a process, hence in another one.
    """
    if torch.cuda.is_available():
        pytest.skip("the kernels run on the GPU")
    if missing("triton") == "triton is not installed":
        pytest.skip("triton is not installed")
    selection = "triton and not without_a_gpu and not compile_for"
    process = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-rs", file, "-k", selection],
        env=os.environ | {"TRITON_INTERPRET": "1"},
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert process.returncode == 0, process.stdout
    assert "skipped" not in process.stdout, process.stdout


def compile_triton(
    kernel: Any, arguments: dict[str, str], may_fuse: bool = False, **constants: Any
) -> None:
    """Compile a Triton kernel for a GPU, which its interpreter does not; none is needed.

    Args:
        kernel: a ``triton.jit`` function.
        arguments: types of those that are no constants.
        may_fuse: whether a multiplication and an addition may become one instruction; random
            numbers may not change so.
        constants: values of the others.
    """
    if missing("triton") == "triton is not installed":
        pytest.skip("triton is not installed")
    if os.environ.get("TRITON_INTERPRET") == "1":
        pytest.skip("the interpreter is in place of the compiler")
    import triton
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    signature = arguments | dict.fromkeys(constants, "constexpr")
    source = ASTSource(kernel, signature, constants)
    options = {"enable_fp_fusion": may_fuse}
    assembly = triton.compile(source, target=GPUTarget("cuda", 90, 32), options=options).asm["ptx"]
    assert may_fuse or "fma.rn" not in assembly
