"""Self-attention over frames."""

import math

import torch
from torch import nn

from fairseq_ecg.ops.attention import attention, split, to_scores
from fairseq_ecg.ops.dropout import dropout as drop


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
            padding_mask: ``(B, T)`` bool, True where a frame is padding, or ``(B, T, T)``, True
                where the frame of a row may not attend to that of a column.
            need_weights: also return the attention weights; takes the slower explicit path.

        Returns:
            ``(B, T, D)`` and, if asked for, ``(B, T, T)`` weights averaged over heads (query by
            key).
        """
        return self.attend(x, x, x, padding_mask, need_weights)

    def attend(
        self,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        padding_mask: torch.Tensor | None,
        need_weights: bool,
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Do what :meth:`forward` does where queries, keys and values may be of other frames."""
        q, k, v = self.q_proj(query), self.k_proj(key), self.v_proj(value)
        if not need_weights:
            y = attention(q, k, v, self.heads, padding_mask, self.dropout, self.training)
            return self.out_proj(y), None
        q, k, v = (split(y, self.heads) for y in (q, k, v))
        scores = (q * (1.0 / math.sqrt(q.shape[-1]))) @ k.transpose(-2, -1)
        if padding_mask is not None:
            scores = scores.masked_fill(to_scores(padding_mask), float("-inf"))
        probabilities = drop(scores.softmax(dim=-1), self.dropout, self.training)
        y = probabilities @ v
        return self.out_proj(y.transpose(1, 2).flatten(2)), probabilities.mean(dim=1)
