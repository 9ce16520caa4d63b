"""Transformer encoder over frames."""

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from fairseq_ecg.modules.attention import MultiHeadAttention
from fairseq_ecg.modules.dropout import Dropout
from fairseq_ecg.ops.dropout import dropout as drop
from fairseq_ecg.options import Layers, Probability, Width


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

    attention_class = MultiHeadAttention

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
        self.self_attn = self.attention_class(dim, heads, attention_dropout)
        self.dropout1 = Dropout(dropout)
        self.dropout2 = Dropout(activation_dropout)
        self.dropout3 = Dropout(dropout)
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
        x, weights, _ = self.transform(x, padding_mask, need_weights)
        return x, weights

    def transform(
        self, x: torch.Tensor, padding_mask: torch.Tensor | None, need_weights: bool
    ) -> tuple[torch.Tensor, torch.Tensor | None, torch.Tensor]:
        """Do what :meth:`forward` does, and return what the perceptron gave as well."""
        residual = x
        if self.layer_norm_first:
            x = self.apply_part(self.self_attn_layer_norm, x)
        x, weights = self.attend(x, padding_mask, need_weights)
        x = self.apply_part(self.dropout1, x, residual)
        if not self.layer_norm_first:
            x = self.apply_part(self.self_attn_layer_norm, x)

        residual = x
        if self.layer_norm_first:
            x = self.apply_part(self.final_layer_norm, x)
        x = self.apply_part(self.fc1, x)
        x = self.apply_part(self.dropout2, F.gelu(x.float()).type_as(x))
        change = self.apply_part(self.fc2, x)
        x = self.apply_part(self.dropout3, change, residual)
        if not self.layer_norm_first:
            x = self.apply_part(self.final_layer_norm, x)
        return x, weights, change

    def attend(
        self, x: torch.Tensor, padding_mask: torch.Tensor | None, need_weights: bool
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Call the attention, see :meth:`MultiHeadAttention.forward`."""
        return self.self_attn(x, padding_mask, need_weights)

    def apply_part(
        self, part: nn.Module, x: torch.Tensor, residual: torch.Tensor | None = None
    ) -> torch.Tensor:
        """Call another part on ``(B, T, D)``; only a dropout takes a residual."""
        return part(x) if residual is None else part(x, residual)


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

    layer_class = TransformerEncoderLayer

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
        self.layers = nn.ModuleList(
            self.layer_class(
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
        self.saliency = saliency
        self.apply(_init_bert)

    def forward(
        self,
        x: torch.Tensor,
        padding_mask: torch.Tensor | None = None,
        saliency: bool | None = None,
        hidden_states: list[torch.Tensor] | None = None,
        attention_mask: torch.Tensor | None = None,
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Encode frames.

        Args:
            x: ``(B, T, D)``.
            padding_mask: ``(B, T)`` bool, True where a frame is padding; such frames are zeroed
                first and attended by none.
            saliency: whether to return attention weights; None: as :attr:`saliency` says.
            hidden_states: is extended by the frames ``(B, T, D)`` in front of every layer and
                behind the last; a layer that was dropped changed nothing.
            attention_mask: ``(T, T)`` bool, True where the frame of a row may not attend to that of
                a column, besides those that are padding.

        Returns:
            ``(B, T, D)`` and, with ``saliency``, ``(B, layers, T, T)`` attention weights of the
            layers that ran (None if every one was dropped).
        """
        keep = (lambda _: None) if hidden_states is None else hidden_states.append
        if padding_mask is not None:
            x = x.masked_fill(padding_mask.unsqueeze(-1), 0)
        mask = _joined(padding_mask, attention_mask, x.shape[0])
        if not self.layer_norm_first:
            x = self.layer_norm(x)
        x = drop(x, self.dropout, self.training)
        attention: list[torch.Tensor] = []
        for layer in self.layers:
            keep(x)
            if self._keeps_layer() or not self.training:
                x, weights = self.run_layer(layer, x, mask, saliency)
                if weights is not None:
                    attention.append(weights)
        if self.layer_norm_first:
            x = self.layer_norm(x)
        keep(x)
        wanted = self.saliency if saliency is None else saliency
        return x, torch.stack(attention, dim=1) if wanted and attention else None

    def run_layer(
        self,
        layer: nn.Module,
        x: torch.Tensor,
        padding_mask: torch.Tensor | None,
        saliency: bool | None,
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Call a layer, see :meth:`TransformerEncoderLayer.forward`."""
        need_weights = self.saliency if saliency is None else saliency
        return layer(x, padding_mask, need_weights=need_weights)

    def _keeps_layer(self) -> bool:
        if self.layerdrop == 0 and torch.compiler.is_compiling():
            return True  # a graph cannot draw from NumPy's stream
        # Drawn also where it decides nothing: the stream of masks that follows depends on it.
        return np.random.random() > self.layerdrop


class TransformerNetwork(nn.Module):
    """What networks around one transformer have in common.

    Options bear the names of fairseq_signals' configs. D is ``encoder_embed_dim``.

    Args:
        encoder_layers: transformer layers.
        encoder_embed_dim: channels of a frame.
        encoder_ffn_embed_dim: hidden channels of a layer's perceptron.
        encoder_attention_heads: attention heads.
        layer_norm_first: normalise the input of each part, not the sum.
        saliency: return the attention weights of all layers.
        dropout: dropout inside the transformer.
        attention_dropout: on attention weights.
        activation_dropout: after the GELU of a perceptron.
        encoder_layerdrop: probability of leaving out a layer in training.
        dropout_input: on the input of the transformer, after projection.
        dropout_features: on the latents that become contrastive targets.
        apply_mask: own an embedding for masked frames.
        all_gather: gather encoder outputs over ranks for the criterion.

    Attributes:
        encoder_dim: D.
        attention_heads: those of the transformer.
        mask_emb: embedding of masked frames, or None.
        encoder: the transformer.
    """

    encoder_class = TransformerEncoder

    def __init__(
        self,
        *,
        encoder_layers: Layers = 12,
        encoder_embed_dim: Width = 768,
        encoder_ffn_embed_dim: Width = 3072,
        encoder_attention_heads: Width = 12,
        layer_norm_first: bool = False,
        saliency: bool = False,
        dropout: Probability = 0.1,
        attention_dropout: Probability = 0.1,
        activation_dropout: Probability = 0.0,
        encoder_layerdrop: Probability = 0.0,
        dropout_input: Probability = 0.0,
        dropout_features: Probability = 0.0,
        apply_mask: bool = False,
        all_gather: bool = False,
    ):
        super().__init__()
        self.all_gather = all_gather
        self.encoder_dim = encoder_embed_dim
        self.attention_heads = encoder_attention_heads

        # Registration order is the parameter order of checkpoints' optimizer states, and
        # construction order that of seeded initialisation.
        self.mask_emb = (
            nn.Parameter(torch.empty(encoder_embed_dim).uniform_()) if apply_mask else None
        )
        self.dropout_input = Dropout(dropout_input)
        self.dropout_features = Dropout(dropout_features)
        self.encoder = self.encoder_class(
            encoder_layers,
            encoder_embed_dim,
            encoder_ffn_embed_dim,
            encoder_attention_heads,
            dropout,
            attention_dropout,
            activation_dropout,
            encoder_layerdrop,
            layer_norm_first,
            saliency,
        )

    @property
    def embeds_masks(self) -> bool:
        """Whether frames are masked in training, so that the mask embedding is learnt."""
        return False

    @property
    def trains_in_turns(self) -> bool:
        """Whether parameters get a gradient in some updates and none in others."""
        return self.encoder.layerdrop > 0

    def without_gradient(self) -> list[nn.Parameter]:
        """Parameters that no gradient reaches in training, whether they are frozen or not."""
        return [] if self.mask_emb is None or self.embeds_masks else [self.mask_emb]


def _joined(
    padding_mask: torch.Tensor | None, attention_mask: torch.Tensor | None, rows: int
) -> torch.Tensor | None:
    """Make of both masks the one that :func:`fairseq_ecg.ops.attention.attention` takes."""
    if attention_mask is None:
        return padding_mask
    if padding_mask is None:
        return attention_mask.expand(rows, -1, -1)
    return attention_mask | padding_mask.unsqueeze(1)


def _init_bert(module: nn.Module) -> None:
    """N(0, 0.02) weights and zero biases (BERT, https://arxiv.org/abs/1810.04805)."""
    if isinstance(module, nn.Linear):
        nn.init.normal_(module.weight, mean=0.0, std=0.02)
        nn.init.zeros_(module.bias)
    if isinstance(module, MultiHeadAttention):
        # Drawn a second time, as in fairseq, so that a seed gives the same network.
        for projection in (module.q_proj, module.k_proj, module.v_proj):
            nn.init.normal_(projection.weight, mean=0.0, std=0.02)
