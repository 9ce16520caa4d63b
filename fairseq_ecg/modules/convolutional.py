"""Encoders of convolutions alone, and layers that see all leads together or each by itself."""

import math
from typing import Any

import torch
from torch import distributed, nn

from fairseq_ecg.ecg.leads import LEADS
from fairseq_ecg.modules.encoder import Encoder
from fairseq_ecg.modules.gathering import gather_rows
from fairseq_ecg.ops.pooling import mean_of_frames, zero_padding
from fairseq_ecg.options import Width


class ConvolutionalEncoder(Encoder):
    """Base of encoders of convolutions alone.

    They have no attention, and their convolutions and batch norms see padding as any other samples;
    heads are given a mask of the frames that are padding. Zeros are no padding: dropout leaves
    nothing of whole channels, and a lead of zeros has none but zeros if it is seen by itself.

    Args:
        all_gather: gather encoder outputs over ranks for the criterion.
    """

    has_attention = False
    mean = staticmethod(mean_of_frames)

    def __init__(self, *, all_gather: bool = False):
        super().__init__()
        self.all_gather = all_gather

    def encode(self, source: torch.Tensor) -> torch.Tensor:
        """Turn ``(B, L, T)`` samples into ``(B, T', D)`` frames."""
        raise NotImplementedError

    def extract_features(
        self,
        source: torch.Tensor,
        padding_mask: torch.Tensor | None = None,
        *,
        saliency: bool | None = None,
        hidden_states: list[torch.Tensor] | None = None,
    ) -> dict[str, Any]:
        """See :meth:`Encoder.extract_features`; hidden states are the frames behind the last layer.

        In front of it frames are more, and have other channels.
        """
        self.check_leads(source)
        encoded = self.encode_all(source if source.dim() == 3 else source.unsqueeze(1))
        x = encoded["x"]
        frame_mask = self.frame_padding_mask(padding_mask, x.shape[1])
        if hidden_states is not None:
            hidden_states.append(x)
        if self.all_gather and distributed.is_initialized():
            x, frame_mask = gather_rows(zero_padding(x, frame_mask)), None
        return encoded | {"x": x, "padding_mask": frame_mask, "saliency": None}

    def encode_all(self, source: torch.Tensor) -> dict[str, Any]:
        """Return frames as ``x``, and what else :meth:`extract_features` is to return."""
        return {"x": self.encode(source)}

    def forward(
        self, source: torch.Tensor, padding_mask: torch.Tensor | None = None, **wanted
    ) -> dict[str, Any]:
        """Do the same as :meth:`extract_features`."""
        return self.extract_features(source, padding_mask, **wanted)


class PaddedEncoder(ConvolutionalEncoder):
    """Base of encoders whose convolutions pad their input on both sides.

    Of T samples a convolution of an odd kernel and the stride s makes ceil(T / s).
    """

    def frame_count(self, samples):
        """See :meth:`Encoder.frame_count`."""
        for kernel, stride in self.strides:
            samples = (samples - 1 - (kernel - 1) % 2) // stride + 1
        return samples

    @property
    def frame_centres(self) -> tuple[float, int]:
        """See :attr:`Encoder.frame_centres`: the first frame is at the first sample."""
        return 0, math.prod(stride for _, stride in self.strides)


class LeadwiseEncoder(PaddedEncoder):
    """Base of encoders that see all leads together, or each of twelve by itself.

    In the latter case a frame has the channels of all leads.

    Args:
        filters: channels of the last layer.
        in_d: leads that a convolution sees; 1 if leadwise.
        leadwise: apply the same convolutions to each of the twelve leads.
        options: of :class:`ConvolutionalEncoder`.

    Raises:
        ValueError: it is leadwise and in_d is not 1.
    """

    def __init__(self, filters: int, *, in_d: Width = 12, leadwise: bool = False, **options):
        super().__init__(**options)
        if leadwise and in_d != 1:
            raise ValueError(f"leadwise=true needs in_d=1, not {in_d}")
        self.filters = filters
        self.leadwise = leadwise
        self.n_leads = len(LEADS) if leadwise else in_d
        self.encoder_dim = filters * len(LEADS) if leadwise else filters

    @property
    def leads_setting(self) -> str:
        """See :attr:`Encoder.leads_setting`."""
        return "model.leadwise=true" if self.leadwise else super().leads_setting


def convolution(
    leadwise: bool, channels: int, filters: int, kernel: int, stride: int = 1, bias: bool = False
) -> nn.Conv1d | nn.Conv2d:
    """Make a padded convolution over ``(B, C, T)``, or leadwise ``(B, C, L, T)``."""
    padding = (kernel - 1) // 2
    if leadwise:
        return nn.Conv2d(channels, filters, (1, kernel), (1, stride), (0, padding), bias=bias)
    return nn.Conv1d(channels, filters, kernel, stride, padding, bias=bias)


def batch_norm(leadwise: bool, channels: int) -> nn.BatchNorm1d | nn.BatchNorm2d:
    """Make a batch norm of ``(B, C, T)``, or leadwise ``(B, C, L, T)``."""
    return nn.BatchNorm2d(channels) if leadwise else nn.BatchNorm1d(channels)


def mean_pool(leadwise: bool, stride: int) -> nn.AvgPool1d | nn.AvgPool2d:
    """Make a mean over each ``stride`` frames, at the end over those that are there."""
    if leadwise:
        return nn.AvgPool2d((1, stride), (1, stride), ceil_mode=True)
    return nn.AvgPool1d(stride, stride, ceil_mode=True)


def check_odd(option: str, kernel: int) -> None:
    """Refuse a kernel that makes convolutions shorter than the shortcut beside them.

    Raises:
        ValueError: it is even.
    """
    if kernel % 2 == 0:
        raise ValueError(f"{option}={kernel}: give an odd kernel")
