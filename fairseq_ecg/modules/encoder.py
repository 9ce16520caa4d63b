"""Transformer encoder over frames."""

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from fairseq_ecg.modules.attention import MultiHeadAttention
from fairseq_ecg.ops.dropout import dropout as drop


class TransformerEncoderLayer(nn.Module):
    """Self-attention and a two-layer perceptron, each with dropout, residual and layer norm.

    Args:
        dim: D, channels of a frame.
        ffn_dim: hidden channels of the perceptron.
        heads: attention heads.
        dropout: probability after attention and after the perceptron.
        attention_dropout: probability on attention weights.
        activation_dropout: probability after the perceptron's GELU.
        layer_norm_first: normalise the input of each part (pre-LN), not the sum (post-LN).
    """

    def __init__(
        self,
        dim: int,
        ffn_dim: int,
        heads: int,
        dropout: float = 0.1,
        attention_dropout: float = 0.1,
        activation_dropout: float = 0.0,
        layer_norm_first: bool = False,
    ):
        super().__init__()
        self.layer_norm_first = layer_norm_first
        self.self_attn = MultiHeadAttention(dim, heads, attention_dropout)
        self.dropout = dropout
        self.activation_dropout = activation_dropout
        self.self_attn_layer_norm = nn.LayerNorm(dim)
        self.fc1 = nn.Linear(dim, ffn_dim)
        self.fc2 = nn.Linear(ffn_dim, dim)
        self.final_layer_norm = nn.LayerNorm(dim)

    def forward(
        self,
        x: torch.Tensor,
        padding_mask: torch.Tensor | None = None,
        need_weights: bool = False,
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Map ``(B, T, D)`` to the same shape, and give ``(B, T, T)`` weights if asked for."""
        residual = x
        if self.layer_norm_first:
            x = self.self_attn_layer_norm(x)
        x, weights = self.self_attn(x, padding_mask, need_weights)
        x = drop(x, self.dropout, self.training, residual)
        if not self.layer_norm_first:
            x = self.self_attn_layer_norm(x)

        residual = x
        if self.layer_norm_first:
            x = self.final_layer_norm(x)
        x = self.fc1(x)
        x = drop(F.gelu(x.float()).type_as(x), self.activation_dropout, self.training)
        x = drop(self.fc2(x), self.dropout, self.training, residual)
        if not self.layer_norm_first:
            x = self.final_layer_norm(x)
        return x, weights


class TransformerEncoder(nn.Module):
    """Stack of encoder layers with BERT's initialisation.

    Args:
        layers: number of layers.
        dim: D, channels of a frame.
        ffn_dim: hidden channels of a layer's perceptron.
        heads: attention heads.
        dropout: probability on the input and inside layers.
        attention_dropout: probability on attention weights.
        activation_dropout: probability after a perceptron's GELU.
        layerdrop: probability of leaving a layer out of a training step
            (https://arxiv.org/abs/1909.11556).
        layer_norm_first: pre-LN layers and a last norm, not post-LN layers and a first norm.
        saliency: whether to return the attention weights of all layers.
    """

    def __init__(
        self,
        layers: int,
        dim: int,
        ffn_dim: int,
        heads: int,
        dropout: float = 0.1,
        attention_dropout: float = 0.1,
        activation_dropout: float = 0.0,
        layerdrop: float = 0.0,
        layer_norm_first: bool = False,
        saliency: bool = False,
    ):
        super().__init__()
        self.heads = heads
        self.dropout = dropout
        self.layerdrop = layerdrop
        self.layer_norm_first = layer_norm_first
        self.saliency = saliency
        self.layers = nn.ModuleList(
            TransformerEncoderLayer(
                dim,
                ffn_dim,
                heads,
                dropout,
                attention_dropout,
                activation_dropout,
                layer_norm_first,
            )
            for _ in range(layers)
        )
        self.layer_norm = nn.LayerNorm(dim)
        self.apply(_init_bert)

    @property
    def need_weights(self) -> bool:
        """``saliency`` by the name under which code written for fairseq_signals sets it."""
        return self.saliency

    @need_weights.setter
    def need_weights(self, value: bool) -> None:
        self.saliency = value

    def forward(
        self, x: torch.Tensor, padding_mask: torch.Tensor | None = None
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Encode frames.

        Args:
            x: ``(B, T, D)``.
            padding_mask: ``(B, T)`` bool, True where a frame is padding; such frames are zeroed
                first and attended by none.

        Returns:
            ``(B, T, D)`` and, with ``saliency``, ``(B, layers, T, T)`` attention weights of the
            layers that ran (None if every one was dropped).
        """
        if padding_mask is not None:
            x = x.masked_fill(padding_mask.unsqueeze(-1), 0)
        if not self.layer_norm_first:
            x = self.layer_norm(x)
        x = drop(x, self.dropout, self.training)
        attention = []
        for layer in self.layers:
            if self._keeps_layer() or not self.training:
                x, weights = layer(x, padding_mask, need_weights=self.saliency)
                attention.append(weights)
        if self.layer_norm_first:
            x = self.layer_norm(x)
        saliency = torch.stack(attention, dim=1) if self.saliency and attention else None
        return x, saliency

    def _keeps_layer(self) -> bool:
        if self.layerdrop == 0 and torch.compiler.is_compiling():
            return True  # a graph cannot draw from NumPy's stream
        # Drawn also where it decides nothing: the stream of masks that follows depends on it.
        return np.random.random() > self.layerdrop


def _init_bert(module: nn.Module) -> None:
    """N(0, 0.02) weights and zero biases (BERT, https://arxiv.org/abs/1810.04805)."""
    if isinstance(module, nn.Linear):
        nn.init.normal_(module.weight, mean=0.0, std=0.02)
        nn.init.zeros_(module.bias)
    if isinstance(module, MultiHeadAttention):
        # Drawn a second time, as in fairseq, so that a seed gives the same network.
        for projection in (module.q_proj, module.k_proj, module.v_proj):
            nn.init.normal_(projection.weight, mean=0.0, std=0.02)
