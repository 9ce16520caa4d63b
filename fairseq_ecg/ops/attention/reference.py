"""Self-attention as PyTorch computes it."""

from torch import Tensor
from torch.nn import functional as F


def attention(
    q: Tensor, k: Tensor, v: Tensor, heads: int, padding_mask: Tensor | None, dropout_p: float
) -> Tensor:
    """Compute what :func:`fairseq_ecg.ops.attention.attention` does, arguments likewise.

    ``dropout_p`` is 0 in evaluation. PyTorch's fused attention serves GPUs, and the CPU without
    dropout; with dropout it takes its slow path there.
    """
    attended = None if padding_mask is None else ~padding_mask[:, None, None, :]
    y = F.scaled_dot_product_attention(
        *(split(x, heads) for x in (q, k, v)), attn_mask=attended, dropout_p=dropout_p
    )
    return y.transpose(1, 2).flatten(2)


def split(x: Tensor, heads: int) -> Tensor:
    """``(B, T, D)`` to ``(B, heads, T, D / heads)``."""
    return x.unflatten(-1, (heads, -1)).transpose(1, 2)
