"""Layers of networks as fairseq_signals has them: its arguments, layouts and names of parameters.

Networks here hold the layers of :mod:`fairseq_ecg.modules` and
:mod:`fairseq_ecg.compat.time_first`. Those of this module are the same ones, built as
fairseq_signals builds them; `isinstance` counts the layers of networks among them.
"""

from abc import ABCMeta
from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from fairseq.modules.transformer_sentence_encoder import init_bert_params as init_stock_bert_params
from torch import distributed, nn
from torch.nn import functional as F

from fairseq_ecg.compat.time_first import (
    TimeFirstAttention,
    TimeFirstEncoder,
    TimeFirstEncoderLayer,
)
from fairseq_ecg.modules import ConvFeatureExtractor
from fairseq_ecg.modules import ConvPositionalEncoding as PositionalEncoding
from fairseq_ecg.modules import MultiHeadAttention as Attention


class StandsFor:
    """A class that counts the instances of another one, its ``stands_for``, among its own."""

    stands_for: ClassVar[type]

    @classmethod
    def __subclasshook__(cls, other: type) -> Any:
        # Of a class that somebody derives nothing is an instance but what they make.
        is_counted = "stands_for" in vars(cls) and issubclass(other, cls.stands_for)
        return True if is_counted else NotImplemented


class ConvFeatureExtraction(ConvFeatureExtractor, StandsFor, metaclass=ABCMeta):
    """Strided convolutions, see :class:`fairseq_ecg.modules.ConvFeatureExtractor`.

    Args:
        conv_layers: ``(channels, kernel, stride)`` of each.
        in_d: leads of the input.
        dropout: probability after each convolution.
        mode: ``default`` (the first block normalises channels over time) or ``layer_norm``.
        conv_bias: whether convolutions have a bias.
    """

    stands_for = ConvFeatureExtractor

    def __init__(
        self,
        conv_layers: Sequence[tuple[int, int, int]],
        in_d: int = 1,
        dropout: float = 0.0,
        mode: str = "default",
        conv_bias: bool = False,
    ):
        super().__init__(conv_layers, in_d, dropout, mode, conv_bias)


class ConvPositionalEncoding(PositionalEncoding, StandsFor, metaclass=ABCMeta):
    """Relative position by convolution, see :class:`fairseq_ecg.modules.ConvPositionalEncoding`.

    Args:
        args: has ``encoder_embed_dim``, ``conv_pos`` (width in frames) and ``conv_pos_groups``.
    """

    stands_for = PositionalEncoding

    def __init__(self, args: Any):
        super().__init__(args.encoder_embed_dim, args.conv_pos, args.conv_pos_groups)
        self.embedding_dim = args.encoder_embed_dim

    def forward(self, x: torch.Tensor, channel_first: bool = False) -> torch.Tensor:
        """Return the encoding ``(B, T, D)`` of frames ``(B, T, D)``, or ``(B, D, T)``."""
        return super().forward(x.transpose(1, 2) if channel_first else x)


class MultiHeadAttention(TimeFirstAttention, StandsFor, metaclass=ABCMeta):
    """Attention of any frames to any others, time first.

    Args:
        embed_dim: D, channels of queries and of the output.
        n_heads: attention heads.
        kdim: channels of keys; None: D.
        vdim: channels of values; None: D.
        dropout: probability on the attention weights, in training.
        bias: whether projections have one, which fairseq_signals' attention needs.
        self_attention: queries, keys and values are of the same frames.
        encoder_decoder_attention: has no meaning, there as here.
        q_noise: has no effect, there as here.
        qn_block_size: has no effect.

    Raises:
        ValueError: the heads do not divide the channels, a projection has no bias, or
            ``self_attention`` is asked for with other channels than D.
    """

    stands_for = TimeFirstAttention

    def __init__(
        self,
        embed_dim: int,
        n_heads: int,
        kdim: int | None = None,
        vdim: int | None = None,
        dropout: float = 0.0,
        bias: bool = True,
        self_attention: bool = False,
        encoder_decoder_attention: bool = False,
        q_noise: float = 0.0,
        qn_block_size: int = 8,
    ):
        kdim, vdim = kdim or embed_dim, vdim or embed_dim
        same = kdim == vdim == embed_dim
        if self_attention and not same:
            raise ValueError(f"self_attention: kdim={kdim}, vdim={vdim} are not {embed_dim}")
        if not bias:
            raise ValueError("bias=False: the attention of fairseq_signals fails without biases")
        before = torch.get_rng_state()
        super().__init__(embed_dim, n_heads, dropout)
        if not same:
            torch.set_rng_state(before)
            self._draw_anew(embed_dim, kdim, vdim)
        self.kdim, self.vdim, self.qkv_same_dim = kdim, vdim, same
        self.self_attention = self_attention
        self.encoder_decoder_attention = encoder_decoder_attention

    def _draw_anew(self, dim: int, kdim: int, vdim: int) -> None:
        """Make projections of other widths, of the same random numbers as in fairseq_signals."""
        self.k_proj, self.v_proj = nn.Linear(kdim, dim), nn.Linear(vdim, dim)
        self.q_proj, self.out_proj = nn.Linear(dim, dim), nn.Linear(dim, dim)
        for projection in (self.k_proj, self.v_proj, self.q_proj, self.out_proj):
            nn.init.xavier_uniform_(projection.weight)
        nn.init.zeros_(self.out_proj.bias)

    def forward(
        self,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        key_padding_mask: torch.Tensor | None = None,
        need_weights: bool = False,
        attn_mask: torch.Tensor | None = None,
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Attend from every query to every key that is not padding.

        Args:
            query: ``(T, B, D)``.
            key: ``(S, B, kdim)``.
            value: ``(S, B, vdim)``.
            key_padding_mask: ``(B, S)`` bool, True where a key is padding.
            need_weights: also return the attention weights.
            attn_mask: ``(T, S)`` or ``(B * heads, T, S)``, True where a weight is 0, or numbers
                that are added to the scores.

        Returns:
            ``(T, B, D)`` and ``(B, T, S)`` weights averaged over heads, or None.
        """
        if attn_mask is None and query.shape == key.shape == value.shape:
            return super().forward(query, key, value, key_padding_mask, need_weights)
        q, k, v = self.q_proj, self.k_proj, self.v_proj
        return F.multi_head_attention_forward(
            *(query, key, value, self.embed_dim, self.heads, None),
            torch.cat([q.bias, k.bias, v.bias]),
            *(None, None, False, self.dropout, self.out_proj.weight, self.out_proj.bias),
            training=self.training,
            key_padding_mask=key_padding_mask,
            need_weights=need_weights,
            attn_mask=attn_mask,
            use_separate_proj_weight=True,
            q_proj_weight=q.weight,
            k_proj_weight=k.weight,
            v_proj_weight=v.weight,
        )


class TransformerEncoderLayer(TimeFirstEncoderLayer, StandsFor, metaclass=ABCMeta):
    """Self-attention and a perceptron, time first.

    Args:
        embed_dim: D, channels of a frame.
        n_heads: attention heads.
        ffn_dim: hidden channels of the perceptron.
        dropout: probability after attention and after the perceptron.
        attention_dropout: probability on attention weights.
        activation_dropout: probability after the perceptron's GELU.
        layer_norm_first: normalise the input of each part, not the sum.
        need_weights: return attention weights.
    """

    stands_for = TimeFirstEncoderLayer

    def __init__(
        self,
        embed_dim: int = 768,
        n_heads: int = 12,
        ffn_dim: int = 3072,
        dropout: float = 0.1,
        attention_dropout: float = 0.1,
        activation_dropout: float = 0.1,
        layer_norm_first: bool = False,
        need_weights: bool = False,
    ):
        regularisation = dropout, attention_dropout, activation_dropout
        super().__init__(embed_dim, ffn_dim, n_heads, *regularisation, layer_norm_first)
        self.need_weights = need_weights


class TransformerEncoder(TimeFirstEncoder, StandsFor, metaclass=ABCMeta):
    """A stack of layers over frames ``(B, T, D)``.

    Args:
        args: a configuration such as
            :class:`fairseq_ecg.models.ecg_transformer.TransformerConfig`.
    """

    stands_for = TimeFirstEncoder

    def __init__(self, args: Any):
        super().__init__(
            args.encoder_layers,
            args.encoder_embed_dim,
            args.encoder_ffn_embed_dim,
            args.encoder_attention_heads,
            args.dropout,
            args.attention_dropout,
            args.activation_dropout,
            args.encoder_layerdrop,
            args.layer_norm_first,
            args.saliency,
        )

    def extract_features(
        self,
        x: torch.Tensor,
        padding_mask: torch.Tensor | None = None,
        attn_mask: torch.Tensor | None = None,
    ) -> dict[str, torch.Tensor | None]:
        """Do what ``forward`` does, without the last norm that ``layer_norm_first`` has.

        Returns:
            As ``forward``.
        """
        norm, last = self.layer_norm, nn.Identity()
        self.layer_norm = last if self.layer_norm_first else norm
        try:
            return self(x, padding_mask, attn_mask)
        finally:
            self.layer_norm = norm


class TransposedConvFeatureExtraction(nn.Module):
    """Frames back to samples by transposed convolutions; no network of fairseq_signals has it.

    Args:
        conv_transposed_layers: ``(channels, kernel, stride)`` of each.
        in_d: channels of the frames.
        dropout: probability after each convolution.
        mode: ``default`` (the first block normalises channels over time) or ``layer_norm``.
        conv_bias: whether convolutions have a bias.
    """

    def __init__(
        self,
        conv_transposed_layers: Sequence[tuple[int, int, int]],
        in_d: int = 768,
        dropout: float = 0.0,
        mode: str = "default",
        conv_bias: bool = True,
    ):
        super().__init__()
        blocks = ConvFeatureExtractor(conv_transposed_layers, in_d, dropout, mode, conv_bias)
        for block in blocks.conv_layers:
            conv = block[0]
            size = conv.kernel_size, conv.stride
            block[0] = nn.ConvTranspose1d(
                conv.in_channels, conv.out_channels, *size, bias=conv_bias
            )
            nn.init.kaiming_normal_(block[0].weight)
        self.conv_transposed_layers = blocks.conv_layers
        self.conv_transposed_layers[-1] = self.conv_transposed_layers[-1][:-1]  # no GELU

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Turn frames ``(B, D, T)`` (or ``(B, T)`` of one channel) into ``(B, C, T')``."""
        x = x.unsqueeze(1) if x.dim() < 3 else x
        for block in self.conv_transposed_layers:
            x = block(x)
        return x


def init_bert_params(module: nn.Module) -> None:
    """Initialise a linear layer, an embedding or an attention as BERT is."""
    init_stock_bert_params(module)
    if isinstance(module, Attention):
        for projection in (module.q_proj, module.k_proj, module.v_proj):
            nn.init.normal_(projection.weight, mean=0.0, std=0.02)


def batch_all_gather(
    tensor: torch.Tensor, group: Any, return_tensor: bool = False
) -> list[torch.Tensor] | torch.Tensor:
    """Gather the rows of all ranks, of which each may have another number.

    Args:
        tensor: ``(B, ...)``, alike but for B.
        group: the processes.
        return_tensor: stack them, where they are of one size.

    Returns:
        The rows of each rank.
    """
    ranks, rank = distributed.get_world_size(group), distributed.get_rank(group)
    own = torch.tensor([len(tensor)], device=tensor.device)
    numbers = [torch.empty_like(own) for _ in range(ranks)]
    distributed.all_gather(numbers, own, group=group)
    rows = torch.cat(numbers).tolist()
    padding = (0, 0) * (tensor.dim() - 1) + (0, max(rows) - len(tensor))
    padded = F.pad(tensor, padding).contiguous()
    gathered = [torch.empty_like(padded) for _ in range(ranks)]
    distributed.all_gather(gathered, padded, group=group)
    gathered[rank] = padded
    gathered = [part[:number] for part, number in zip(gathered, rows, strict=True)]
    return torch.stack(gathered) if return_tensor else gathered


class GatherLayer(torch.autograd.Function):
    """Rows of all ranks, ``GatherLayer.apply(x)``; the gradient is that of the own rows."""

    @staticmethod
    def forward(ctx, x):
        """Return the rows of each rank, a tuple."""
        return tuple(batch_all_gather(x, distributed.group.WORLD))

    @staticmethod
    def backward(ctx, *gradients):
        """Return the gradient of the own rows."""
        return gradients[distributed.get_rank()]
