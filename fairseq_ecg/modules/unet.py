"""U-Nets: an encoder whose frames are samples.

U-Net: https://arxiv.org/abs/1505.04597; UNet 3+: https://arxiv.org/abs/2004.08790, in one
dimension.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any, Literal, get_args

import torch
from torch import nn
from torch.nn import functional as F

from fairseq_ecg.modules.convolutional import ConvolutionalEncoder, check_odd
from fairseq_ecg.ops import backends
from fairseq_ecg.options import Kernel, Probability, Width

Backbone = Literal["unet", "unet3plus"]

LEVELS = 4
"""How many times the time axis is halved."""

NewUnit = Callable[[int, int], nn.Module]
"""Makes a convolution from so many channels to so many, with what comes behind it."""


class UNet(ConvolutionalEncoder):
    """Encode an ECG into a frame for every sample.

    Four times the signal is halved in time and doubled in channels; what it was before is joined
    again on the way back (``unet``), or at every level what it was at all of them (``unet3plus``).
    Padding is encoded as any other sample. Options bear the names of fairseq_signals' configs; D is
    ``initial_dim``, five times that with ``unet3plus``.

    Args:
        backbone: unet or unet3plus.
        in_d: leads.
        initial_dim: channels of the first level.
        kernel_size: samples that a convolution spans; an odd number.
        conv_bias: give convolutions a bias; those that double the time axis of unet have one
            anyway.
        dropout: of whole channels, behind every normalised convolution.
        options: of :class:`ConvolutionalEncoder`.

    Raises:
        ValueError: there is no such backbone, or the kernel is even, or 1 where it has to double
            the time axis.
    """

    architecture_options = ("backbone", "in_d", "initial_dim", "kernel_size", "conv_bias")
    regularisation_options = ("dropout",)

    def __init__(
        self,
        *,
        backbone: Backbone = "unet",
        in_d: Width = 1,
        initial_dim: Width = 32,
        kernel_size: Kernel = 9,
        conv_bias: bool = False,
        dropout: Probability = 0.2,
        **options,
    ):
        super().__init__(**options)
        if backbone not in get_args(Backbone):
            raise ValueError(f"backbone={backbone!r}: choose {' or '.join(get_args(Backbone))}")
        check_odd("kernel_size", kernel_size)
        if backbone == "unet" and kernel_size == 1:
            raise ValueError("kernel_size=1: give 3 or more, which double the time axis")
        self.n_leads = in_d
        self.strides = []
        dims = [initial_dim * 2**level for level in range(LEVELS + 1)]
        self.scale_dims = tuple(dims)

        def unit(channels: int, width: int) -> nn.Module:
            return _Unit(channels, width, kernel_size, conv_bias, dropout)

        # Construction order is that of seeded initialisation.
        for level, channels in enumerate([in_d, *dims[: LEVELS - 1]]):
            setattr(self, f"down{level + 1}", _Down(channels, dims[level], unit))
        self.middle = nn.Sequential(unit(dims[-2], dims[-1]), unit(dims[-1], dims[-1]))
        widths = list(dims)
        for level in reversed(range(LEVELS)):
            up: _Up | _FullScaleUp
            if backbone == "unet":
                up = _Up(widths[level + 1], widths[level], kernel_size, unit)
            else:
                up = _FullScaleUp(widths, initial_dim, kernel_size, conv_bias, unit)
                widths[level] = initial_dim * len(dims)
            setattr(self, f"up{level + 1}", up)
        self.encoder_dim = widths[0]
        self.attention_heads = math.gcd(self.encoder_dim, 8)

    def frame_count(self, samples):
        """T', the frames that so many samples give: as many, if they can be halved four times."""
        return samples * (samples >= 2**LEVELS)

    def frame_ends(self, samples: torch.Tensor, frames: int) -> torch.Tensor:
        """See :meth:`Encoder.frame_ends`: frames are samples, however few there are."""
        return samples

    def encode_all(self, source: torch.Tensor) -> dict[str, Any]:
        """Encode ``(B, L, T)`` samples.

        Returns:
            ``x``: frames ``(B, T, D)``; ``scales``: what is joined, ``(B, width, T // 2**level)``
            from the first level to the middle.

        Raises:
            ValueError: there are fewer than 16 samples.
        """
        if not backends.is_exporting() and source.shape[-1] < 2**LEVELS:
            raise ValueError(
                f"segments have {source.shape[-1]} samples, but a U-Net halves them {LEVELS} times "
                f"and needs {2**LEVELS}: give longer ones, or append zeros"
            )
        x, maps = source, []
        for level in range(LEVELS):
            skip = self.get_submodule(f"down{level + 1}")(x)
            maps.append(skip)
            x = _max_pool(skip, 2)
        maps.append(self.middle(x))
        scales = list(maps)
        for level in reversed(range(LEVELS)):
            maps[level] = self.get_submodule(f"up{level + 1}")(maps, level)
        return {"x": maps[0].transpose(1, 2), "scales": scales}

    def parts(self) -> dict[str, list[nn.Module | nn.Parameter]]:
        """See :meth:`Encoder.parts`; layers are ``down2`` to ``down4``, the middle and the ups."""
        names = [f"down{level}" for level in range(2, LEVELS + 1)]
        names += ["middle", *(f"up{level}" for level in range(LEVELS, 0, -1))]
        parts: dict[str, list[nn.Module | nn.Parameter]]
        parts = {"stem": [self.get_submodule("down1")]}
        return parts | {name: [self.get_submodule(name)] for name in names}


class _Unit(nn.Module):
    """Convolution, batch normalisation, GELU and dropout of channels."""

    def __init__(self, channels: int, width: int, kernel: int, bias: bool, dropout: float):
        super().__init__()
        self.conv = nn.Conv1d(channels, width, kernel, padding=kernel // 2, bias=bias)
        self.bn = nn.BatchNorm1d(width)
        self.relu = nn.GELU()
        self.dropout = nn.Dropout1d(dropout)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.dropout(self.relu(self.bn(self.conv(x))))


class _Down(nn.Module):
    """Two units."""

    def __init__(self, channels: int, width: int, unit: NewUnit):
        super().__init__()
        self.conv1, self.conv2 = unit(channels, width), unit(width, width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.conv2(self.conv1(x))


class _Up(nn.Module):
    """Double the time axis of the level below and join that with the level's own map."""

    def __init__(self, channels: int, width: int, kernel: int, unit: NewUnit):
        super().__init__()
        self.up = nn.ConvTranspose1d(
            channels, channels, kernel - 1, stride=2, padding=kernel // 2 - 1
        )
        self.conv1, self.conv2 = unit(channels + width, width), unit(width, width)

    def forward(self, maps: list[torch.Tensor], level: int) -> torch.Tensor:
        skip, x = maps[level], self.up(maps[level + 1])
        x = F.pad(x, (0, skip.shape[-1] - x.shape[-1]))  # an odd length lacks its last sample
        return self.conv2(self.conv1(torch.cat([x, skip], dim=1)))


class _FullScaleUp(nn.Module):
    """Bring the maps of all levels to the length of one, and join them."""

    def __init__(self, widths: Sequence[int], width: int, kernel: int, bias: bool, unit: NewUnit):
        super().__init__()
        for number, channels in enumerate(widths, 1):
            conv = nn.Conv1d(channels, width, kernel, padding=kernel // 2, bias=bias)
            setattr(self, f"conv{number}", conv)
        joined = width * len(widths)
        self.aggregate = unit(joined, joined)

    def forward(self, maps: list[torch.Tensor], level: int) -> torch.Tensor:
        joined = []
        for number, x in enumerate(maps):
            if number < level:
                x = _max_pool(x, 2 ** (level - number))
            elif number > level:
                x = F.interpolate(x, size=maps[level].shape[-1], mode="linear")
            joined.append(getattr(self, f"conv{number + 1}")(x))
        return self.aggregate(torch.cat(joined, dim=1))


def _max_pool(x: torch.Tensor, factor: int) -> torch.Tensor:
    """``max_pool1d``, which torch.export would limit to the length that it was traced with."""
    return F.max_pool2d(x.unsqueeze(2), (1, factor)).squeeze(2)
