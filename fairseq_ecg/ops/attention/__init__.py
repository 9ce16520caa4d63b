"""Scaled dot-product self-attention of several heads, with dropout on its weights."""

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from fairseq_ecg.ops import backends
from fairseq_ecg.ops.attention import reference
from fairseq_ecg.ops.attention.reference import split, to_scores

__all__ = ["attention", "split", "to_scores"]

_KERNEL_TYPES = (torch.float32, torch.bfloat16)


def attention(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    heads: int,
    padding_mask: Tensor | None = None,
    dropout_p: float = 0.0,
    training: bool = False,
    backend: str | None = None,
) -> Tensor:
    """Attend from every frame to every frame that is not padding.

    Each head has the weights softmax(q k^T / sqrt(D / heads)) over frames, some of which dropout
    sets to zero, and gives their sum of v.

    There is a kernel for training on the CPU, which takes queries, keys and values as they leave
    their projections; PyTorch's own attention has no fast path with dropout there, and a slower
    backward pass without. The kernel computes in float32. Its masks are Philox's, seeded by one
    number of PyTorch's generator, see the package's README. On other devices, for other types,
    for masks of single weights, if all weights are dropped, and where there is neither dropout nor
    a gradient, PyTorch's own attention is fast and runs, the ``reference``. There is no second
    derivative but by the reference.

    Args:
        q: ``(B, T, D)`` floating point, the channels of one head after another.
        k: as ``q``.
        v: as ``q``.
        heads: into which the channels are divided; must divide D.
        padding_mask: ``(B, T)`` bool, True where a frame is padding, or ``(B, T, T)``, True where
            the query of a row may not attend to the key of a column. A query without any key gives
            zeros.
        dropout_p: probability of a dropped weight; the kernel rounds it to a multiple of 2**-16.
        training: whether any weight is dropped at all.
        backend: which implementation runs, see :mod:`fairseq_ecg.ops.backends`.

    Returns:
        As ``q``.

    Raises:
        ValueError: shapes or types do not match, or ``dropout_p`` is no probability.
        BackendError: the backend asked for is not there.

    Source: Vaswani et al., "Attention is all you need", NeurIPS 2017, equation 1.
    """
    _check(q, k, v, heads, padding_mask, dropout_p)
    dropout_p = dropout_p if training else 0.0
    gradient = torch.is_grad_enabled() and any(x.requires_grad for x in (q, k, v))
    of_weights = padding_mask is not None and padding_mask.dim() == 3
    trains = (gradient or dropout_p > 0) and dropout_p < 1
    if trains and not of_weights and _has_kernel(q, k, v, backend):
        seed = torch.randint(2**62, ()) if dropout_p > 0 else None
        return _attention(q, k, v, padding_mask, seed, heads, dropout_p, gradient)[0]
    return reference.attention(q, k, v, heads, padding_mask, dropout_p)


def _check(
    q: Tensor, k: Tensor, v: Tensor, heads: int, padding_mask: Tensor | None, dropout_p: float
) -> None:
    if q.dim() != 3 or not q.shape == k.shape == v.shape:
        shapes = ", ".join(str(tuple(x.shape)) for x in (q, k, v))
        raise ValueError(f"q, k and v must all be (B, T, D), not {shapes}")
    if heads < 1 or q.shape[2] % heads:
        raise ValueError(f"{heads} heads do not divide {q.shape[2]} channels")
    if padding_mask is not None:
        rows, frames, _ = q.shape
        if padding_mask.shape not in ((rows, frames), (rows, frames, frames)):
            raise ValueError(
                f"padding_mask must be (B, T) or (B, T, T) of q {tuple(q.shape)}, not "
                f"{tuple(padding_mask.shape)}"
            )
        if padding_mask.dtype != torch.bool:
            raise ValueError(f"padding_mask must be bool, not {padding_mask.dtype}")
    if not 0 <= dropout_p <= 1:
        raise ValueError(f"dropout probability has to be between 0 and 1, not {dropout_p}")


def _has_kernel(q: Tensor, k: Tensor, v: Tensor, backend: str | None) -> bool:
    is_alike = q.dtype == k.dtype == v.dtype and q.numel() > 0
    is_for_it = is_alike and q.device.type == "cpu" and q.dtype in _KERNEL_TYPES
    return backends.choose("attention", q.device.type, backend) == "cpu" and is_for_it


@backends.operator("attention")
def _attention(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    padding_mask: Tensor | None,
    seed: Tensor | None,
    heads: int,
    dropout_p: float,
    gradient: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the output, and what the backward pass needs of the weights (or empty).

    That are shares ``(B, heads, T, pitch)`` float32, of which the first T of a line are a query's
    weights but for a factor, those that are dropped negative; and the factors ``(B, heads, T)``.
    """
    run = backends.implementation("attention", "cpu").attention
    frames, mask = map(_with_contiguous_channels, (q, k, v)), backends.contiguous(padding_mask)
    return run(*frames, *mask, seed, heads, dropout_p, gradient)


@torch.library.register_fake(_attention)
def _(q, k, v, padding_mask, seed, heads, dropout_p, gradient):
    rows, frames, _ = q.shape
    queries = (rows, heads, frames)
    shares = q.new_empty(
        (*queries, (frames + 15) // 16 * 16) if gradient else (0,), dtype=torch.float32
    )
    factors = q.new_empty(queries if gradient else (0,), dtype=torch.float32)
    return q.new_empty(q.shape), shares, factors


@backends.operator("attention_backward")
def _attention_backward(
    grad_output: Tensor,
    q: Tensor,
    k: Tensor,
    v: Tensor,
    padding_mask: Tensor | None,
    shares: Tensor,
    factors: Tensor,
    heads: int,
    dropout_p: float,
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the gradients with respect to ``q``, ``k`` and ``v``."""
    run = backends.implementation("attention", "cpu").attention_backward
    frames = map(_with_contiguous_channels, (grad_output, q, k, v))
    mask = backends.contiguous(padding_mask)
    return run(*frames, *mask, shares, factors, heads, dropout_p)


@torch.library.register_fake(_attention_backward)
def _(grad_output, q, k, v, padding_mask, shares, factors, heads, dropout_p):
    return tuple(x.new_empty(x.shape) for x in (q, k, v))


def _with_contiguous_channels(frames: Tensor) -> Tensor:
    return frames if frames.stride(-1) == 1 else frames.contiguous()


def _keep_weights(ctx, inputs, output):
    q, k, v, padding_mask, _, ctx.heads, ctx.dropout_p, _ = inputs
    ctx.mark_non_differentiable(*output[1:])
    ctx.save_for_backward(q, k, v, padding_mask, *output[1:])


@once_differentiable
def _backward(ctx, grad_output, *_):
    gradients = _attention_backward(grad_output, *ctx.saved_tensors, ctx.heads, ctx.dropout_p)
    return *gradients, *[None] * 5


torch.library.register_autograd(_attention, _backward, setup_context=_keep_weights)
