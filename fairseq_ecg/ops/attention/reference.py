"""Self-attention as PyTorch computes it."""

from torch import Tensor
from torch.nn import functional as F


def attention(
    q: Tensor, k: Tensor, v: Tensor, heads: int, padding_mask: Tensor | None, dropout_p: float
) -> Tensor:
    """Compute what :func:`fairseq_ecg.ops.attention.attention` does, from the same arguments.

    ``dropout_p`` is 0 in evaluation. PyTorch's fused attention serves GPUs, and the CPU without
    dropout; with dropout it takes its slow path there. The fused one of the CPU loses NaN and
    infinity of queries and keys for some shapes and instruction sets, and gives zeros or finite
    numbers; they are put back.
    """
    attended = None if padding_mask is None else ~to_scores(padding_mask)
    y = F.scaled_dot_product_attention(
        split(q, heads), split(k, heads), split(v, heads), attended, dropout_p
    )
    if y.device.type == "cpu":
        y = y + _trace_of_nonfinite(q, k, heads)
    return y.transpose(1, 2).flatten(2)


def _trace_of_nonfinite(q: Tensor, k: Tensor, heads: int) -> Tensor:
    """NaN for every query of a head that is not finite or that meets a key that is not, else 0.

    Returns:
        ``(B, heads, T, 1)``, outside of autograd.
    """
    queries, keys = (split(x.detach(), heads).sum(-1, keepdim=True) for x in (q, k))
    sums = queries + keys.sum(2, keepdim=True)
    return sums - sums  # 0 * sums is 0 to a compiler


def split(x: Tensor, heads: int) -> Tensor:
    """``(B, T, D)`` to ``(B, heads, T, D / heads)``."""
    return x.unflatten(-1, (heads, -1)).transpose(1, 2)


def to_scores(mask: Tensor) -> Tensor:
    """Bring a mask ``(B, T)`` to ``(B, 1, 1, T)``, or ``(B, T, T)`` to ``(B, 1, T, T)``."""
    return mask[:, None, None, :] if mask.dim() == 2 else mask.unsqueeze(1)
