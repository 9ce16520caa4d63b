"""Relative position by convolution."""

import math

import torch
from torch import nn
from torch.nn.utils import parametrizations


class ConvPositionalEncoding(nn.Module):
    """Grouped convolution over frames whose output is added to them as their position.

    wav2vec 2.0 (https://arxiv.org/abs/2006.11477), appendix B. The weight is normalised over all
    but the kernel axis. State dicts hold it as ``parametrizations.weight.original0`` (the norm)
    and ``original1`` (the direction); torch also loads the older ``weight_g`` and ``weight_v``.

    Args:
        dim: D, channels of a frame.
        kernel: width in frames.
        groups: groups of channels.
    """

    def __init__(self, dim: int, kernel: int = 128, groups: int = 16):
        super().__init__()
        conv = nn.Conv1d(dim, dim, kernel, padding=kernel // 2, groups=groups)
        nn.init.normal_(conv.weight, mean=0.0, std=math.sqrt(4.0 / (kernel * dim)))
        nn.init.zeros_(conv.bias)
        conv = parametrizations.weight_norm(conv, name="weight", dim=2)
        self.pos_conv = nn.Sequential(conv, _SameLength(kernel), nn.GELU())

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the encoding of ``(B, T, D)`` frames, in the same shape."""
        return self.pos_conv(x.transpose(1, 2)).transpose(1, 2)


class _SameLength(nn.Module):
    """Drop the frame too many that symmetric padding of an even kernel gives."""

    def __init__(self, kernel: int):
        super().__init__()
        self.surplus = 1 - kernel % 2

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x[..., : -self.surplus] if self.surplus else x
