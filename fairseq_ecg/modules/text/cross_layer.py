"""Layers in which two sequences attend to each other, with the names of BERT's parts."""

import torch
from torch import nn
from torch.nn import functional as F

from fairseq_ecg.modules.dropout import Dropout
from fairseq_ecg.ops.attention import attention, reference

_EPS = 1e-12
"""Of BERT's layer norms."""


class CrossLayer(nn.Module):
    """Attend to the own sequence, then to another one, then transform each position.

    Each part is followed by dropout, residual and layer norm.

    Source: Chen et al., "Multi-modal masked autoencoders for medical vision-and-language
    pre-training" (M3AE), MICCAI 2022, https://arxiv.org/abs/2209.07098; Devlin et al., "BERT",
    NAACL 2019.

    Args:
        dim: H, channels of both sequences.
        heads: attention heads; must divide ``dim``.
        dropout: probability after every part and on attention weights.

    Raises:
        ValueError: the heads do not divide the channels.
    """

    def __init__(self, dim: int, heads: int, dropout: float = 0.1):
        super().__init__()
        # Names and order of modules are those of published checkpoints.
        self.attention = _Attention(dim, heads, dropout)
        self.crossattention = _Attention(dim, heads, dropout)
        self.intermediate = nn.ModuleDict({"dense": nn.Linear(dim, 4 * dim)})
        self.output = _Residual(4 * dim, dim, dropout)

    def forward(
        self,
        x: torch.Tensor,
        y: torch.Tensor,
        x_mask: torch.Tensor | None = None,
        y_mask: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Map a sequence to one of its shape.

        Args:
            x: ``(B, N, H)``, the own sequence.
            y: ``(B, M, H)``, the other one.
            x_mask: ``(B, N)`` bool, True where ``x`` is padded; None: nowhere.
            y_mask: ``(B, M)`` bool, of ``y``.

        Returns:
            ``(B, N, H)``.
        """
        x = self.attention(x, x, x_mask)
        x = self.crossattention(x, y, y_mask)
        return self.output(F.gelu(self.intermediate["dense"](x)), x)


class _Attention(nn.Module):
    """Attention with its residual, see :class:`CrossLayer`."""

    def __init__(self, dim: int, heads: int, dropout: float):
        super().__init__()
        if dim % heads:
            raise ValueError(f"num_heads={heads} does not divide hidden_dim={dim}")
        self.heads = heads
        self.dropout = dropout
        self.add_module("self", _Projections(dim))
        self.output = _Residual(dim, dim, dropout)

    def forward(
        self, x: torch.Tensor, y: torch.Tensor, y_mask: torch.Tensor | None
    ) -> torch.Tensor:
        q, k, v = self.get_submodule("self")(x, y)
        if x is y:
            attended = attention(q, k, v, self.heads, y_mask, self.dropout, self.training)
        else:
            dropout = self.dropout if self.training else 0.0
            attended = reference.attention(q, k, v, self.heads, y_mask, dropout)
        return self.output(attended, x)


class _Projections(nn.Module):
    """Queries of one sequence, keys and values of another."""

    def __init__(self, dim: int):
        super().__init__()
        self.query = nn.Linear(dim, dim)
        self.key = nn.Linear(dim, dim)
        self.value = nn.Linear(dim, dim)

    def forward(self, x: torch.Tensor, y: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return self.query(x), self.key(y), self.value(y)


class _Residual(nn.Module):
    """A linear map with dropout, a residual and a layer norm."""

    def __init__(self, inputs: int, outputs: int, dropout: float):
        super().__init__()
        self.dense = nn.Linear(inputs, outputs)
        self.LayerNorm = nn.LayerNorm(outputs, eps=_EPS)
        self.dropout = Dropout(dropout)

    def forward(self, x: torch.Tensor, residual: torch.Tensor) -> torch.Tensor:
        return self.LayerNorm(self.dropout(self.dense(x), residual))
