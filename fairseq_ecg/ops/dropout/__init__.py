"""Dropout, and the addition of a residual after it."""

import torch
from torch import Tensor
from torch.nn import functional as F

from fairseq_ecg.ops import backends

__all__ = ["dropout"]

_KERNEL_TYPES = (torch.float32, torch.bfloat16)


def dropout(
    x: Tensor, p: float, training: bool, residual: Tensor | None = None, backend: str | None = None
) -> Tensor:
    """Set numbers to zero at random and scale up the others (https://arxiv.org/abs/1207.0580).

    On the CPU PyTorch draws its masks on one core, one number after the other, which costs more
    than many a matrix product. The C++ kernel draws them by Philox, seeded by one number of
    PyTorch's generator, on all cores, and draws them again in the backward pass instead of keeping
    them. Seeded runs are thus repeatable with it as with ``reference``, which is PyTorch's own
    dropout and its stream; on other devices PyTorch's own dropout is fast and always taken.

    Args:
        x: any shape; float32 and bfloat16 on the CPU have a kernel.
        p: probability of a zero; kernels round it to a multiple of 2**-32.
        training: whether anything is set to zero at all.
        residual: as ``x``, added to what is left of it.
        backend: which implementation runs, see :mod:`fairseq_ecg.ops.backends`.

    Returns:
        As ``x``.

    Raises:
        ValueError: ``p`` is no probability.
        BackendError: the backend asked for is not there.
    """
    if not 0 <= p <= 1:
        raise ValueError(f"dropout probability has to be between 0 and 1, not {p}")
    if not training or p == 0:
        return x if residual is None else residual + x
    is_alike = residual is None or residual.dtype == x.dtype
    if p < 1 and is_alike and has_kernel(x, backend):
        return _dropout(x, residual, torch.randint(2**62, ()), p)
    dropped = F.dropout(x, p)
    return dropped if residual is None else residual + dropped


def has_kernel(x: Tensor, backend: str | None = None) -> bool:
    """Return whether a kernel, and not PyTorch, draws the masks for tensors such as ``x``."""
    is_for_it = x.device.type == "cpu" and x.dtype in _KERNEL_TYPES
    return is_for_it and backends.choose("dropout", "cpu", backend) == "cpu"


@backends.operator("dropout")
def _dropout(x: Tensor, residual: Tensor | None, seed: Tensor, p: float) -> Tensor:
    """Keep or drop the numbers of ``x`` as the seed says, and add the residual."""
    run = backends.implementation("dropout", "cpu").dropout
    return run(*backends.contiguous(x, residual), seed, p)


@torch.library.register_fake(_dropout)
def _(x, residual, seed, p):
    return torch.empty_like(x, memory_format=torch.contiguous_format)


def _keep_seed(ctx, inputs, output):
    _, residual, seed, ctx.p = inputs
    ctx.has_residual = residual is not None
    ctx.save_for_backward(seed)


def _drop_gradients(ctx, gradient):
    (seed,) = ctx.saved_tensors
    grad_residual = gradient if ctx.has_residual else None
    return _dropout(gradient, None, seed, ctx.p), grad_residual, None, None


torch.library.register_autograd(_dropout, _drop_gradients, setup_context=_keep_seed)
