"""Which implementation of an operation runs.

``reference`` is plain torch and the definition, ``torch`` the fastest form in plain torch (most
operations have but one), ``cpu`` the C++ extension, ``cuda`` its CUDA part and ``triton`` kernels
compiled by Triton. Whichever is fastest on the device at hand is taken; one that is missing falls
back to the next and says so once. The environment variable
``FAIRSEQ_ECG_BACKEND`` names one for every operation, and so does :func:`ask_for`, which the
option ``task.backend`` calls, where the variable is not set; one that is asked for by name and is
missing is an error. While a network is traced or exported ``reference`` runs.
"""

import contextlib
import functools
import importlib.util
import logging
import os
from collections.abc import Iterator

import torch

logger = logging.getLogger(__name__)

BACKENDS = ("reference", "torch", "cpu", "cuda", "triton")
VARIABLE = "FAIRSEQ_ECG_BACKEND"
PREFERENCE = {
    "cpu": ("cpu", "torch"),
    "cuda": ("cuda", "triton", "torch"),
}
"""Backends by type of device, the fastest first."""


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

    While a network is traced or exported it is ``reference``: what is made of it shall run where
    none of the others is.
    """
    if _only is None and is_exporting():
        return "reference"
    return _only or os.environ.get(VARIABLE) or _configured


def is_exporting() -> bool:
    """Return whether PyTorch traces or exports (``torch.jit.trace``, ``torch.export``, ONNX)."""
    # Before PyTorch 2.7 there is no other way to tell exports from compilation.
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


def choose(
    operation: str,
    device: torch.device,
    backend: str | None = None,
    has_torch: bool = False,
) -> str:
    """Choose the backend of an operation.

    Args:
        operation: its name, for messages.
        device: where the tensors are.
        backend: a backend asked for by name; None: the environment's, or the fastest there is.
        has_torch: whether the operation has a form in plain torch besides its reference.

    Returns:
        ``reference``, ``cpu``, ``cuda``, ``triton``, or ``torch`` with ``has_torch``.

    Raises:
        BackendError: the backend asked for is missing, or is not for this device.
    """
    backend = backend or asked_for()
    if backend is not None:
        reason = missing(backend)
        if reason is None and backend in ("cpu", "cuda") and backend != device.type:
            reason = f"the tensors are on {device.type}"
        if reason is not None:
            raise BackendError(f"backend {backend} of {operation} was asked for, but {reason}")
    else:
        backend = _fastest(device)
    return "reference" if backend == "torch" and not has_torch else backend


def _fastest(device: torch.device) -> str:
    for candidate in PREFERENCE.get(device.type, ()):
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
