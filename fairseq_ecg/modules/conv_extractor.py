"""Convolutional feature extractor: samples to frames."""

from collections.abc import Sequence
from typing import Annotated

import torch
from torch import nn
from torch.nn import functional as F

from fairseq_ecg.errors import shortened
from fairseq_ecg.modules.lists import parse_list, whole_number

ConvLayer = tuple[int, int, int]
"""Channels, kernel width and stride of one convolution, widths in samples of its input."""


def parse_conv_layers(text: str | Sequence[Sequence[int]]) -> list[ConvLayer]:
    """Read a layer list such as ``"[(256, 2, 2)] * 4"``, see :func:`parse_list`.

    Args:
        text: the expression, or the list itself.

    Returns:
        One ``(channels, kernel, stride)`` per layer.

    Raises:
        ValueError: the text is no such list, or has more layers than
            :data:`fairseq_ecg.modules.lists.LONGEST`.
    """
    try:
        layers = [tuple(map(whole_number, layer)) for layer in parse_list(text)]
        if layers and min(map(min, layers)) > 0:
            return [(channels, kernel, stride) for channels, kernel, stride in layers]
    except (TypeError, ValueError):
        pass
    raise ValueError(
        f"conv_feature_layers={shortened(text)} is not a list of (channels, kernel, stride), "
        'for example "[(256, 2, 2)] * 4"'
    )


class _ConvSizes:
    """Limits of an option that is a layer list, see :class:`fairseq_ecg.options.Range`."""

    def sizes(self, value: str | Sequence[Sequence[int]]) -> dict[str, int]:
        channels, kernels, strides = zip(*parse_conv_layers(value), strict=True)
        return {"width": max(channels), "kernel": max(*kernels, *strides)}


ConvLayers = Annotated[str | Sequence[Sequence[int]], _ConvSizes()]
"""A layer list as an option."""


class ConvFeatureExtractor(nn.Module):
    """Stack of strided convolutions over all leads at once.

    The first block normalises each channel over time (``default``) or every block normalises
    over channels (``layer_norm``). Because the group norm of ``default`` runs over the whole
    width, zero padding changes its statistics, as it does in fairseq_signals.

    Args:
        conv_layers: the layers, see :func:`parse_conv_layers`.
        in_channels: leads of the input.
        dropout: probability after each convolution.
        mode: ``default`` or ``layer_norm``.
        bias: whether convolutions have a bias.

    Raises:
        ValueError: the mode is unknown.
    """

    def __init__(
        self,
        conv_layers: Sequence[ConvLayer],
        in_channels: int = 12,
        dropout: float = 0.0,
        mode: str = "default",
        bias: bool = False,
    ):
        super().__init__()
        if mode not in {"default", "layer_norm"}:
            raise ValueError(f"extractor_mode={mode!r} is not one of default, layer_norm")
        self.conv_layers = nn.ModuleList()
        for index, (channels, kernel, stride) in enumerate(conv_layers):
            conv = nn.Conv1d(in_channels, channels, kernel, stride=stride, bias=bias)
            nn.init.kaiming_normal_(conv.weight)
            block = [conv, nn.Dropout(dropout)]
            if mode == "layer_norm":
                block.append(_ChannelNorm(channels))
            elif index == 0:
                block.append(_Fp32GroupNorm(channels, channels))
            self.conv_layers.append(nn.Sequential(*block, nn.GELU()))
            in_channels = channels

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Turn ``(B, L, T)`` samples (or ``(B, T)`` of one lead) into ``(B, E, T')`` frames."""
        if x.dim() == 2:
            x = x.unsqueeze(1)
        for block in self.conv_layers:
            x = block(x)
        return x


class _Fp32GroupNorm(nn.GroupNorm):
    """Group norm computed in float32 whatever the precision around it."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        weight, bias = self.weight.float(), self.bias.float()
        return F.group_norm(x.float(), self.num_groups, weight, bias, self.eps).type_as(x)


class _Fp32LayerNorm(nn.LayerNorm):
    """Layer norm computed in float32 whatever the precision around it."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        weight, bias = self.weight.float(), self.bias.float()
        return F.layer_norm(x.float(), self.normalized_shape, weight, bias, self.eps)


class _ChannelNorm(nn.Sequential):
    """Layer norm over the channels of ``(B, C, T)``, computed in float32."""

    def __init__(self, channels: int):
        # The norm sits at position 1, between the two transpositions of fairseq's layout.
        super().__init__(nn.Identity(), _Fp32LayerNorm(channels), nn.Identity())

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self[1](x.transpose(1, 2)).transpose(1, 2).type_as(x)
