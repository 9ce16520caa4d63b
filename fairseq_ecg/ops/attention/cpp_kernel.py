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
) -> tuple[Tensor, Tensor]:
    """Attend from every frame to every frame that is not padding.

    Args:
        q: ``(B, T, D)`` float32 or bfloat16.
        k: as ``q``.
        v: as ``q``.
        padding_mask: ``(B, T)`` bool, True where a frame is padding.
        seed: int64 scalar, of the weights that are dropped; needed with ``dropout_p``.
        heads: into which the channels are divided.
        dropout_p: probability of a dropped weight, below 1.

    Returns:
        Output as ``q``, and ``(B, heads, T)`` float32, the logarithm of what a query's exponentials
        of scores are divided by.
    """
    padding_mask = None if padding_mask is None else padding_mask.contiguous()
    return torch.ops.fairseq_ecg_c.attention(
        *map(_neighbours, (q, k, v)), padding_mask, seed, heads, dropout_p
    )


def attention_backward(
    by_output: Tensor,
    q: Tensor,
    k: Tensor,
    v: Tensor,
    padding_mask: Tensor | None,
    seed: Tensor | None,
    log_sums: Tensor,
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
        seed: likewise.
        log_sums: what :func:`attention` returned.
        heads: likewise.
        dropout_p: likewise.

    Returns:
        Three as ``q``.
    """
    padding_mask = None if padding_mask is None else padding_mask.contiguous()
    return torch.ops.fairseq_ecg_c.attention_backward(
        *map(_neighbours, (by_output, q, k, v)), padding_mask, seed, log_sums, heads, dropout_p
    )


def _neighbours(frames: Tensor) -> Tensor:
    """Copy frames whose channels are not neighbours in memory."""
    return frames if frames.stride(-1) == 1 else frames.contiguous()
