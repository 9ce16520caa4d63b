"""Self-attention in C++, for tensors of the CPU."""

import torch
from torch import Tensor


def attention(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    padding_mask: Tensor | None,
    seed: Tensor | None,
    heads: int,
    dropout_p: float,
    gradient: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    """Attend from every frame to every frame that is not padding.

    Args:
        q: ``(B, T, D)`` float32 or bfloat16.
        k: as ``q``.
        v: as ``q``.
        padding_mask: ``(B, T)`` bool, True where a frame is padding.
        seed: int64 scalar, of the weights that are dropped; needed with ``dropout_p``.
        heads: into which the channels are divided.
        dropout_p: probability of a dropped weight, below 1.
        gradient: whether to return what the backward pass needs.

    Returns:
        Output as ``q``; shares ``(B, heads, T, pitch)`` float32, of which the first T of a line are
        a query's weights but for a factor, those that are dropped negative; and the factors
        ``(B, heads, T)`` float32. Without ``gradient`` shares and factors are empty.
    """
    padding_mask = None if padding_mask is None else padding_mask.contiguous()
    return torch.ops.fairseq_ecg_c.attention(
        *map(_neighbours, (q, k, v)), padding_mask, seed, heads, dropout_p, gradient
    )


def attention_backward(
    by_output: Tensor,
    q: Tensor,
    k: Tensor,
    v: Tensor,
    padding_mask: Tensor | None,
    shares: Tensor,
    factors: Tensor,
    heads: int,
    dropout_p: float,
) -> tuple[Tensor, Tensor, Tensor]:
    """Compute the gradients by ``q``, ``k`` and ``v`` from the one by the output.

    Args:
        by_output: as ``q``.
        q: as for :func:`attention`, and so are the others.
        k: likewise.
        v: likewise.
        padding_mask: likewise.
        shares: what :func:`attention` returned.
        factors: likewise.
        heads: likewise.
        dropout_p: likewise.

    Returns:
        Three as ``q``.
    """
    padding_mask = None if padding_mask is None else padding_mask.contiguous()
    return torch.ops.fairseq_ecg_c.attention_backward(
        *map(_neighbours, (by_output, q, k, v)), padding_mask, shares, factors, heads, dropout_p
    )


def _neighbours(frames: Tensor) -> Tensor:
    """Copy frames whose channels are not neighbours in memory."""
    return frames if frames.stride(-1) == 1 else frames.contiguous()
