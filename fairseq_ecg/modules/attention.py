"""Self-attention over frames."""

import math

import torch
from torch import nn
from torch.nn import functional as F

from fairseq_ecg.ops.dropout import dropout as drop
from fairseq_ecg.ops.dropout import has_kernel


class MultiHeadAttention(nn.Module):
    """Scaled dot-product self-attention (https://arxiv.org/abs/1706.03762).

    Args:
        dim: D, channels of a frame.
        heads: attention heads; must divide ``dim``.
        dropout: probability on the attention weights, in training.

    Raises:
        ValueError: the heads do not divide the channels.
    """

    def __init__(self, dim: int, heads: int, dropout: float = 0.0):
        super().__init__()
        if dim % heads:
            raise ValueError(
                f"encoder_attention_heads={heads} does not divide encoder_embed_dim={dim}"
            )
        self.heads = heads
        self.dropout = dropout
        # This order is the order of parameters in published checkpoints and of seeded draws.
        self.k_proj = nn.Linear(dim, dim)
        self.v_proj = nn.Linear(dim, dim)
        self.q_proj = nn.Linear(dim, dim)
        self.out_proj = nn.Linear(dim, dim)
        for projection in (self.k_proj, self.v_proj, self.q_proj):
            nn.init.xavier_uniform_(projection.weight, gain=1 / math.sqrt(2))
        nn.init.xavier_uniform_(self.out_proj.weight)
        nn.init.zeros_(self.out_proj.bias)

    def forward(
        self,
        x: torch.Tensor,
        padding_mask: torch.Tensor | None = None,
        need_weights: bool = False,
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Attend from every frame to every frame that is not padding.

        Args:
            x: ``(B, T, D)``.
            padding_mask: ``(B, T)`` bool, True where a frame is padding.
            need_weights: also return the attention weights; takes the slower explicit path.

        Returns:
            ``(B, T, D)`` and, if asked for, ``(B, T, T)`` weights averaged over heads (query by
            key).
        """
        q = self._split(self.q_proj(x))
        k = self._split(self.k_proj(x))
        v = self._split(self.v_proj(x))
        attend = None if padding_mask is None else ~padding_mask[:, None, None, :]
        dropout = self.dropout if self.training else 0.0
        # With dropout PyTorch's fused attention takes its slow path on the CPU.
        if need_weights or (dropout > 0 and has_kernel(q)):
            scores = (q * (1.0 / math.sqrt(q.shape[-1]))) @ k.transpose(-2, -1)
            if attend is not None:
                scores = scores.masked_fill(~attend, float("-inf"))
            probabilities = drop(scores.softmax(dim=-1), dropout, self.training)
            y = probabilities @ v
            weights = probabilities.mean(dim=1) if need_weights else None
        else:
            y = F.scaled_dot_product_attention(q, k, v, attn_mask=attend, dropout_p=dropout)
            weights = None
        return self.out_proj(y.transpose(1, 2).flatten(2)), weights

    def _split(self, x: torch.Tensor) -> torch.Tensor:
        """``(B, T, D)`` to ``(B, heads, T, D / heads)``."""
        return x.unflatten(-1, (self.heads, -1)).transpose(1, 2)
