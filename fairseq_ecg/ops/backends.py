"""Which implementation of an operation runs: the one module where backends are known and chosen.

``reference`` is plain torch and the definition, ``torch`` the fastest way in plain torch where the
reference is not, ``cpu`` the C++ extension, ``cuda`` its CUDA part and ``triton`` kernels compiled
by Triton. :data:`OPERATIONS` lists which of them each operation has. Whichever is fastest on the
device at hand is taken; one that is missing falls back to the next and says so once. The
environment variable ``FAIRSEQ_ECG_BACKEND`` names one for every operation, and so does
:func:`ask_for`, which the option ``task.backend`` calls, where the variable is not set; one that is
asked for by name and is missing is an error. While a network is traced or exported ``reference``
runs.
"""

import contextlib
import functools
import importlib.util
import logging
import os
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch._ops import OpOverload

logger = logging.getLogger(__name__)

BACKENDS = ("reference", "torch", "cpu", "cuda", "triton")
VARIABLE = "FAIRSEQ_ECG_BACKEND"
PREFERENCE = {"cpu": ("cpu", "torch"), "cuda": ("cuda", "triton", "torch")}
"""Backends by type of device, the fastest first."""

OPERATIONS = {
    "attention": ("reference", "cpu"),
    "augment": ("reference", "cpu", "cuda", "triton"),
    "contrast": ("reference", "torch", "cpu", "cuda", "triton"),
    "dropout": ("reference", "cpu"),
    "infonce": ("reference", "torch", "cpu", "cuda", "triton"),
    "infonce_over_pool": ("reference", "torch", "cpu", "cuda", "triton"),
    "masking": ("reference", "cpu"),
    "philox": ("reference", "cpu", "cuda", "triton"),
    "pooling": ("reference", "cpu", "cuda", "triton"),
    "positional_conv": ("reference", "torch"),
    "quantize": ("reference", "torch", "cpu", "cuda", "triton"),
}
"""Backends of every operation; its package and its folder in ``csrc/`` have its name."""

_MODULES = {"reference": "reference", "torch": "torch_kernel", "triton": "triton_kernel"}

_configured: str | None = None
_only: str | None = None


class BackendError(RuntimeError):
    """A backend was asked for by name and is not there."""


def ask_for(backend: str | None) -> None:
    """Ask for a backend for every operation of this process, unless the environment names one.

    Args:
        backend: its name. None: whichever is the fastest.

    Raises:
        BackendError: there is no backend of this name.
    """
    global _configured
    if backend is not None:
        missing(backend)
    _configured = backend


@contextlib.contextmanager
def only(backend: str) -> Iterator[None]:
    """Have every operation of this process done by one backend, whatever else was asked for.

    Args:
        backend: its name. ``reference`` is plain torch, which can be traced and exported.

    Raises:
        BackendError: there is no backend of this name.
    """
    global _only
    missing(backend)
    before, _only = _only, backend
    try:
        yield
    finally:
        _only = before


def asked_for() -> str | None:
    """Backend that :func:`only`, else the environment, else :func:`ask_for` names for all.

    While a network is traced or exported it is ``reference``: what is made of it has to run where
    none of the others is.
    """
    if _only is None and is_exporting():
        return "reference"
    return _only or os.environ.get(VARIABLE) or _configured


def is_exporting() -> bool:
    """Return whether PyTorch traces or exports (``torch.jit.trace``, ``torch.export``, ONNX)."""
    # Before PyTorch 2.7 there is no other way to distinguish exports from compilation.
    of_compiler = getattr(torch.compiler, "is_exporting", torch.onnx.is_in_onnx_export)
    return torch.jit.is_tracing() or torch.onnx.is_in_onnx_export() or of_compiler()


@functools.cache
def missing(backend: str) -> str | None:
    """Say why a backend cannot run here, or None if it can.

    Args:
        backend: ``reference``, ``torch``, ``cpu``, ``cuda`` or ``triton``.

    Raises:
        BackendError: there is no backend of this name.
    """
    if backend in ("reference", "torch"):
        return None
    if backend == "triton":
        if importlib.util.find_spec("triton") is None:
            return "triton is not installed"
        if not torch.cuda.is_available() and os.environ.get("TRITON_INTERPRET") != "1":
            return "there is no GPU (TRITON_INTERPRET=1 runs its kernels slowly without one)"
        return None
    if backend not in BACKENDS:
        raise BackendError(
            f"backend {backend}: choose {', '.join(BACKENDS[:-1])} or {BACKENDS[-1]}"
        )
    reason = _why_extension_is_missing()
    if reason is not None:
        return reason
    if backend == "cuda" and not hasattr(torch.ops.fairseq_ecg_c, "has_cuda"):
        return "the extension is compiled without CUDA"
    return None


def constant_when_compiled(function: Callable) -> Callable:
    """Have ``torch.compile`` call a function once, while it compiles, and keep what it returns.

    :func:`torch.compiler.assume_constant_result` does the same, but imports the compiler, which
    takes two seconds, also in processes that never compile. All it does is to set this attribute.
    """
    marked: Any = function
    marked._dynamo_marked_constant = True
    return function


@constant_when_compiled
def choose(operation: str, device: str, backend: str | None = None) -> str:
    """Choose the backend of an operation, once where it is compiled.

    Args:
        operation: its name in :data:`OPERATIONS`.
        device: type of the device where the tensors are.
        backend: a backend asked for by name; None: the environment's, or the fastest there is.

    Returns:
        A backend that the operation has: where it does not have the one that was found,
        ``torch``, or else ``reference``.

    Raises:
        BackendError: the backend asked for is missing, or is not for this device.
    """
    backend = backend or asked_for()
    if backend is not None:
        reason = missing(backend)
        if reason is None and backend in ("cpu", "cuda") and backend != device:
            reason = f"the tensors are on {device}"
        if reason is not None:
            raise BackendError(f"backend {backend} of {operation} was asked for, but {reason}")
    else:
        backend = _fastest(device)
    there = OPERATIONS[operation]
    return next(name for name in (backend, "torch", "reference") if name in there)


def implementation(operation: str, backend: str) -> Any:
    """Import what has the functions of an operation in one backend.

    Args:
        operation: its name in :data:`OPERATIONS`.
        backend: what :func:`choose` returned.

    Returns:
        The module ``reference``, ``torch_kernel`` or ``triton_kernel`` of the operation's package.
        For ``cpu`` and ``cuda`` the extension, whose operators have the names, arguments and
        results of these modules' functions; it takes contiguous tensors.
    """
    if backend in ("cpu", "cuda"):
        return torch.ops.fairseq_ecg_c
    return importlib.import_module(f"fairseq_ecg.ops.{operation}.{_MODULES[backend]}")


def operator(name: str) -> Callable[[Callable], OpOverload]:
    """Make a function of tensors an operator, one node of what is compiled or traced.

    :func:`torch.library.custom_op` does the same, but its operators import the compiler, which
    takes two seconds, when they are first called, also where nothing is compiled.

    Args:
        name: of ``torch.ops.fairseq_ecg``.

    Returns:
        A decorator, which returns the operator.
    """

    def register(function: Callable) -> OpOverload:
        schema = torch.library.infer_schema(function, mutates_args=())
        qualified = f"fairseq_ecg::{name}"
        torch.library.define(qualified, schema, tags=torch.Tag.pt2_compliant_tag)
        torch.library.impl(qualified, "default", function)
        return getattr(torch.ops.fairseq_ecg, name).default

    return register


def contiguous(*tensors: torch.Tensor | None) -> Iterator[torch.Tensor | None]:
    """Make tensors contiguous, as kernels want them; None stays None."""
    return (None if tensor is None else tensor.contiguous() for tensor in tensors)


def _fastest(device: str) -> str:
    for candidate in PREFERENCE.get(device, ()):
        reason = missing(candidate)
        if reason is None:
            return candidate
        _say_once(candidate, reason)
    return "torch"


@functools.cache
def _why_extension_is_missing() -> str | None:
    spec = importlib.util.find_spec("fairseq_ecg._C")
    if spec is None or spec.origin is None:
        return "the extension is not compiled (pip install --no-build-isolation)"
    try:
        torch.ops.load_library(spec.origin)
    except OSError as error:
        return f"the extension is not compiled for this PyTorch, install again ({error})"
    return None


@functools.cache
def _say_once(backend: str, reason: str) -> None:
    logger.info("kernels of the backend %s are not used: %s", backend, reason)
