"""Relative position by convolution."""

import math
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F
from torch.nn.utils import parametrizations

from fairseq_ecg.ops.positional_conv import positional_conv


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
        weight, bias = conv.parameters()
        nn.init.normal_(weight, mean=0.0, std=math.sqrt(4.0 / (kernel * dim)))
        nn.init.zeros_(bias)
        conv = parametrizations.weight_norm(conv, name="weight", dim=2)
        # Published checkpoints name the weights by their index in a sequence.
        self.pos_conv = nn.Sequential(conv)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the encoding of ``(B, T, D)`` frames, in the same shape."""
        conv: Any = self.pos_conv[0]
        return F.gelu(positional_conv(x, conv.weight, conv.bias, conv.groups))
