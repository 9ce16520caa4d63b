"""The wide residual network with squeeze and excitation of fairseq_signals, and its classifier.

Zagoruyko and Komodakis, "Wide residual networks", BMVC 2016; Hu et al., "Squeeze-and-excitation
networks", CVPR 2018.
"""

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Annotated

import torch
from torch import nn
from torch.nn import functional as F

from fairseq_ecg.limits import check_limit
from fairseq_ecg.modules.convolutional import (
    LeadwiseEncoder,
    batch_norm,
    check_odd,
    convolution,
    mean_pool,
)
from fairseq_ecg.modules.convolutional_classifier import ConvolutionalClassifier
from fairseq_ecg.modules.dropout import Dropout
from fairseq_ecg.modules.finetuned import FinetunedEncoder
from fairseq_ecg.modules.lists import LONGEST, NumberList
from fairseq_ecg.ops import backends
from fairseq_ecg.options import Kernel, Layers, Probability, Width

FILTERS = NumberList("num_filters", "width", 2, LONGEST, "[16, 16, 32, 64, 128]")

BLOCK_DROPOUT = 0.3


class SEWRN(LeadwiseEncoder):
    """Groups of residual blocks, each of which halves the frames, with weighted channels.

    Args:
        num_blocks: residual blocks of a group.
        num_filters: channels of the first convolution, and of each group.
        widening_factor: groups have so many times their channels.
        kernel_size: of all convolutions.
        conv_bias: give the first convolution a bias.
        ratio: the weights of a group's channels are computed of its channels / ratio.
        options: of :class:`LeadwiseEncoder`.

    Raises:
        ValueError: options do not go together.
        DataError: there are more blocks than is plausible.
    """

    architecture_options = (
        "num_blocks",
        "num_filters",
        "widening_factor",
        "kernel_size",
        "in_d",
        "conv_bias",
        "ratio",
        "leadwise",
    )

    def __init__(
        self,
        *,
        num_blocks: Layers = 3,
        num_filters: Annotated[str | Sequence[int], FILTERS] = "[16, 16, 32, 64, 128]",
        widening_factor: Width = 1,
        kernel_size: Kernel = 11,
        conv_bias: bool = False,
        ratio: Width = 8,
        **options,
    ):
        first, *groups = FILTERS.parse(num_filters)
        widths = [first, *(filters * widening_factor for filters in groups)]
        super().__init__(widths[-1], **options)
        check_odd("kernel_size", kernel_size)
        check_limit("num_blocks of all groups of num_filters", "layers", num_blocks * len(groups))
        for width in widths[1:]:
            if width % ratio:
                raise ValueError(f"ratio={ratio} does not divide the {width} channels of a group")
        self.attention_heads = math.gcd(self.encoder_dim, 8)
        self.strides = [(kernel_size, 1), *[(kernel_size, 2)] * len(groups)]
        channels = 1 if self.leadwise else self.n_leads
        self.conv = convolution(self.leadwise, channels, first, kernel_size, bias=conv_bias)
        self.bn = batch_norm(self.leadwise, first)
        self.groups = nn.ModuleList(
            _Group(self.leadwise, channels, filters, num_blocks, kernel_size, ratio)
            for channels, filters in pairwise(widths)
        )
        # The batch norm of the network is in front of its first block already.
        block = self.get_submodule("groups.0.layers.0")
        assert isinstance(block, _Block)
        block.bn1 = None

    def encode(self, source: torch.Tensor) -> torch.Tensor:
        """See the base class; leadwise, the channels of a lead are followed by those of the next.

        Each lead is weighted by itself.
        """
        x = source.unsqueeze(1) if self.leadwise else source
        x = F.relu(self.bn(self.conv(x)))
        for group in self.groups:
            x = group(x)
        if self.leadwise:
            x = x.transpose(1, 2).flatten(1, 2)
        return x.transpose(1, 2)

    def parts(self) -> dict[str, list[nn.Module | nn.Parameter]]:
        """See :meth:`Encoder.parts`; a layer is a group."""
        parts: dict[str, list[nn.Module | nn.Parameter]] = {"stem": [self.conv, self.bn]}
        return parts | {f"layer {number}": [group] for number, group in enumerate(self.groups)}


class _Group(nn.Module):
    def __init__(
        self, leadwise: bool, channels: int, filters: int, blocks: int, kernel: int, ratio: int
    ):
        super().__init__()
        self.layers = nn.Sequential(
            *(
                _Block(
                    leadwise, filters if number else channels, filters, kernel, ratio, not number
                )
                for number in range(blocks)
            )
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.layers(x)


class _Block(nn.Module):
    def __init__(
        self, leadwise: bool, channels: int, filters: int, kernel: int, ratio: int, halves: bool
    ):
        super().__init__()
        self.bn1: nn.Module | None = batch_norm(leadwise, channels)
        self.conv1 = convolution(leadwise, channels, filters, kernel, 2 if halves else 1)
        self.bn2 = batch_norm(leadwise, filters)
        self.dropout = Dropout(BLOCK_DROPOUT)
        self.conv2 = convolution(leadwise, filters, filters, kernel)
        self.fc1 = nn.Linear(filters, filters // ratio)
        self.fc2 = nn.Linear(filters // ratio, filters)
        self.idfunc_0 = mean_pool(leadwise, 2) if halves else None
        self.idfunc_1 = convolution(leadwise, channels, filters, 1) if halves else None

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map ``(B, C, T)``, or leadwise ``(B, C, L, T)``, to as many frames or half of them."""
        change = x if self.bn1 is None else F.relu(self.bn1(x))
        change = self.dropout(F.relu(self.bn2(self.conv1(change))))
        change = self.conv2(change)
        change = change * self._weights(change).unsqueeze(-1)
        if self.idfunc_0 is not None and self.idfunc_1 is not None:
            x = self.idfunc_1(self.idfunc_0(x))
        return change + x

    def _weights(self, x: torch.Tensor) -> torch.Tensor:
        """Weights of the channels: ``(B, C, [L,] T)`` to ``(B, C, [L])``."""
        if x.dim() == 3 or backends.is_exporting():
            means = x.mean(dim=-1)
        else:
            # Rounded as in fairseq_signals: in a lead of zeros frames are equal but for rounding,
            # which then decides the largest.
            means = F.adaptive_avg_pool2d(x, (x.shape[2], 1)).squeeze(-1)
        of_lead = means.movedim(1, -1)
        return self.fc2(F.relu(self.fc1(of_lead))).sigmoid().movedim(-1, 1)


class SEWRNClassifier(ConvolutionalClassifier):
    """One logit per label from the largest value of each channel over all frames.

    Args:
        encoder: whose frames are classified.
        final_dropout: on normalised frames before pooling.
        options: of :class:`ConvolutionalClassifier`.
    """

    encoder: SEWRN

    def __init__(
        self,
        encoder: SEWRN,
        *,
        num_labels: Width,
        final_dropout: Probability = 0.3,
        **options,
    ):
        FinetunedEncoder.__init__(self, encoder, final_dropout=final_dropout, **options)
        self.bn = nn.BatchNorm1d(encoder.filters)
        self.proj = nn.Linear(encoder.encoder_dim, num_labels)
        self.init_head(self.proj)

    def classify(self, x: torch.Tensor, source: torch.Tensor) -> torch.Tensor:
        """See the base class; leads share the batch norm."""
        of_lead = x.transpose(1, 2).reshape(-1, self.encoder.filters, x.shape[1])
        # Of equal values one has the gradient, where amax would divide it.
        largest = self.final_dropout(F.relu(self.bn(of_lead))).max(dim=-1).values
        return self.proj(largest.reshape(x.shape[0], -1))
