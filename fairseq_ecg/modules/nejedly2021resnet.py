"""The residual network of the winners of the PhysioNet/CinC challenge 2021, and its classifier.

Nejedly et al., "Classification of ECG using ensemble of residual CNNs with attention mechanism",
CinC 2021 (https://pubmed.ncbi.nlm.nih.gov/35381586/).
"""

import math
from collections.abc import Sequence
from typing import Annotated

import torch
from torch import nn
from torch.nn import functional as F

from fairseq_ecg.ecg.leads import LEADS
from fairseq_ecg.modules.convolutional import (
    LeadwiseEncoder,
    batch_norm,
    check_odd,
    convolution,
    mean_pool,
)
from fairseq_ecg.modules.convolutional_classifier import ConvolutionalClassifier
from fairseq_ecg.modules.finetuned import FinetunedEncoder
from fairseq_ecg.modules.lists import NumberList
from fairseq_ecg.ops.attention import attention
from fairseq_ecg.options import Kernel, Layers, Probability, Width

KERNELS = NumberList("kernel_size", "kernel", 2, 2, "[15, 9]")

HEADS_OF_ATTENTION = 8


class Nejedly2021ResNet(LeadwiseEncoder):
    """Residual blocks of strided convolutions, each of which shortens the ECG.

    Args:
        num_blocks: residual blocks.
        num_filters: channels.
        kernel_size: of the first convolution, and of those in blocks.
        stride: of the first convolution, and of each block.
        conv_bias: give convolutions a bias.
        options: of :class:`LeadwiseEncoder`.

    Raises:
        ValueError: options do not go together.
    """

    architecture_options = (
        "num_blocks",
        "num_filters",
        "kernel_size",
        "stride",
        "in_d",
        "conv_bias",
        "leadwise",
    )

    def __init__(
        self,
        *,
        num_blocks: Layers = 5,
        num_filters: Width = 256,
        kernel_size: Annotated[str | Sequence[int], KERNELS] = "[15, 9]",
        stride: Kernel = 2,
        conv_bias: bool = False,
        **options,
    ):
        super().__init__(num_filters, **options)
        first, others = KERNELS.parse(kernel_size)
        check_odd("kernel_size of blocks", others)
        self.attention_heads = math.gcd(self.encoder_dim, HEADS_OF_ATTENTION)
        self.strides = [(first, stride), *[(others, stride)] * num_blocks]
        channels = 1 if self.leadwise else self.n_leads
        self.conv = convolution(self.leadwise, channels, num_filters, first, stride, conv_bias)
        self.bn = batch_norm(self.leadwise, num_filters)
        self.blocks = nn.ModuleList(
            _Block(self.leadwise, num_filters, others, stride, conv_bias) for _ in range(num_blocks)
        )

    def encode(self, source: torch.Tensor) -> torch.Tensor:
        """See the base class; leadwise, a channel is followed by the same of the next lead."""
        x = source.unsqueeze(1) if self.leadwise else source
        x = F.leaky_relu(self.bn(self.conv(x)))
        for block in self.blocks:
            x = block(x)
        return (x.flatten(1, 2) if self.leadwise else x).transpose(1, 2)

    def parts(self) -> dict[str, list[nn.Module | nn.Parameter]]:
        """See :meth:`Encoder.parts`."""
        parts: dict[str, list[nn.Module | nn.Parameter]] = {"stem": [self.conv, self.bn]}
        return parts | {f"layer {number}": [block] for number, block in enumerate(self.blocks)}


class _Block(nn.Module):
    def __init__(self, leadwise: bool, filters: int, kernel: int, stride: int, bias: bool):
        super().__init__()
        self.conv1 = convolution(leadwise, filters, filters, kernel, stride, bias)
        self.bn1 = batch_norm(leadwise, filters)
        self.conv2 = convolution(leadwise, filters, filters, kernel, bias=bias)
        self.bn2 = batch_norm(leadwise, filters)
        self.idfunc_0 = mean_pool(leadwise, stride)
        self.idfunc_1 = convolution(leadwise, filters, filters, 1, bias=bias)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map ``(B, C, T)``, or leadwise ``(B, C, L, T)``, to T / stride frames."""
        change = F.leaky_relu(self.bn1(self.conv1(x)))
        change = F.leaky_relu(self.bn2(self.conv2(change)))
        return change + self.idfunc_1(self.idfunc_0(x))


def present_leads(source: torch.Tensor) -> torch.Tensor:
    """Flag the leads of ``(B, L, T)`` samples in ``(B, L)``: 1 where no sample is exactly zero.

    As in fairseq_signals a segment that is padded by zeros has none.
    """
    return (source != 0).all(dim=-1).to(source.dtype)


class Nejedly2021ResNetClassifier(ConvolutionalClassifier):
    """One logit per label from the mean of attended frames and the leads that are there.

    As in fairseq_signals a channel is averaged over the frames in which dropout left it, and
    leadwise there is no attention, though its weights are there.

    Args:
        encoder: whose frames are classified.
        indicate_leads: give the last layer a flag for each of twelve leads, see
            :func:`present_leads`.
        use_mha: let frames attend to each other.
        final_dropout: on the encoder output before attention and pooling.
        options: of :class:`ConvolutionalClassifier`.

    Raises:
        ValueError: options do not go together.
    """

    encoder: Nejedly2021ResNet

    def __init__(
        self,
        encoder: Nejedly2021ResNet,
        *,
        num_labels: Width,
        indicate_leads: bool = False,
        use_mha: bool = False,
        final_dropout: Probability = 0.5,
        **options,
    ):
        FinetunedEncoder.__init__(self, encoder, final_dropout=final_dropout, **options)
        if use_mha and encoder.filters % HEADS_OF_ATTENTION:
            raise ValueError(
                f"use_mha=true needs a num_filters that {HEADS_OF_ATTENTION} divides, not "
                f"{encoder.filters}"
            )
        if indicate_leads and encoder.n_leads != len(LEADS):
            raise ValueError(f"indicate_leads=true needs {len(LEADS)} leads, not {encoder.n_leads}")
        self.indicate_leads = indicate_leads
        self.mha = nn.MultiheadAttention(encoder.filters, HEADS_OF_ATTENTION) if use_mha else None
        flags = len(LEADS) if indicate_leads else 0
        self.proj = nn.Linear(encoder.encoder_dim + flags, num_labels)
        self.init_head(self.proj)

    def classify(self, x: torch.Tensor, source: torch.Tensor) -> torch.Tensor:
        """See the base class."""
        x = self._attended(self.final_dropout(x))
        # Dropout may leave nothing of a channel.
        pooled = x.sum(dim=1) / (x != 0).sum(dim=1).clamp(min=1)
        if self.indicate_leads:
            pooled = torch.cat([pooled, present_leads(source).to(pooled.dtype)], dim=1)
        return self.proj(pooled)

    def _attended(self, x: torch.Tensor) -> torch.Tensor:
        if self.mha is None or self.encoder.leadwise:
            return x
        projected = F.linear(x, self.mha.in_proj_weight, self.mha.in_proj_bias)
        queries, keys, values = projected.chunk(3, dim=-1)
        return self.mha.out_proj(attention(queries, keys, values, HEADS_OF_ATTENTION))

    def without_gradient(self) -> list[nn.Parameter]:
        """See the base class."""
        unused = self.mha.parameters() if self.mha is not None and self.encoder.leadwise else ()
        return [*super().without_gradient(), *unused]
