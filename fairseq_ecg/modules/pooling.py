"""From the frames of a segment to one vector."""

from collections.abc import Callable
from typing import Literal, get_args

import torch
from torch import nn
from torch.nn import functional as F

from fairseq_ecg.ops.attention import split
from fairseq_ecg.ops.pooling import mean_of_nonzero

Pooling = Literal["mean", "max", "attentive"]
POOLINGS: tuple[str, ...] = get_args(Pooling)
"""Names of the poolings that :func:`build_pooling` makes."""


class MeanPooling(nn.Module):
    """Mean over the frames.

    Args:
        mean: how it is made, see :attr:`fairseq_ecg.modules.Encoder.mean`.
    """

    def __init__(self, mean: Callable[..., torch.Tensor]):
        super().__init__()
        self.mean = mean

    def forward(self, x: torch.Tensor, frame_mask: torch.Tensor | None = None) -> torch.Tensor:
        """Pool ``(B, T, D)`` to ``(B, D)``; frames where ``frame_mask`` ``(B, T)`` is True are out.

        A channel without a value that counts is NaN.
        """
        return self.mean(x, frame_mask)


class MaxPooling(nn.Module):
    """Largest value of each channel over the frames."""

    def forward(self, x: torch.Tensor, frame_mask: torch.Tensor | None = None) -> torch.Tensor:
        """Pool ``(B, T, D)`` to ``(B, D)``; frames where ``frame_mask`` ``(B, T)`` is True are out.

        A row without a frame that counts is NaN, as with the mean.
        """
        if frame_mask is None:
            return x.amax(dim=1)
        largest = x.masked_fill(frame_mask.unsqueeze(-1), float("-inf")).amax(dim=1)
        return largest.masked_fill(frame_mask.all(dim=1, keepdim=True), float("nan"))


class AttentivePooling(nn.Module):
    """Attention of one learned query to the frames (PMA of https://arxiv.org/abs/1810.00825).

    The query starts at zero: before training every frame weighs the same.

    Args:
        dim: D, channels of a frame.
        heads: attention heads; must divide ``dim``.
    """

    def __init__(self, dim: int, heads: int):
        super().__init__()
        self.heads = heads
        self.query = nn.Parameter(torch.zeros(dim))
        self.k_proj = nn.Linear(dim, dim)
        self.v_proj = nn.Linear(dim, dim)
        for projection in (self.k_proj, self.v_proj):
            nn.init.xavier_uniform_(projection.weight)
            nn.init.zeros_(projection.bias)

    def forward(self, x: torch.Tensor, frame_mask: torch.Tensor | None = None) -> torch.Tensor:
        """Pool ``(B, T, D)`` to ``(B, D)``; frames where ``frame_mask`` ``(B, T)`` is True are out.

        A row without a frame that counts is NaN, as with the mean.
        """
        query = self.query.to(x.dtype).expand(len(x), 1, -1)
        q, k, v = (split(y, self.heads) for y in (query, self.k_proj(x), self.v_proj(x)))
        attended = None if frame_mask is None else ~frame_mask[:, None, None, :]
        pooled = F.scaled_dot_product_attention(q, k, v, attended).transpose(1, 2).flatten(1)
        if frame_mask is None:
            return pooled
        # What attention to nothing gives differs between implementations.
        return pooled.masked_fill(frame_mask.all(dim=1, keepdim=True), float("nan"))


def build_pooling(
    name: str, dim: int, heads: int, mean: Callable[..., torch.Tensor] = mean_of_nonzero
) -> nn.Module:
    """Build a pooling by name.

    Args:
        name: one of :data:`POOLINGS`.
        dim: D, channels of a frame.
        heads: attention heads of the attentive one.
        mean: how means are made.

    Raises:
        ValueError: the name is unknown.
    """
    if name == "mean":
        return MeanPooling(mean)
    if name == "max":
        return MaxPooling()
    if name == "attentive":
        return AttentivePooling(dim, heads)
    raise ValueError(f"pooling={name!r}: choose one of {', '.join(POOLINGS)}")
