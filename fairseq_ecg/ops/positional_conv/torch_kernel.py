"""The positional convolution as a product of spectra, all of it matrix products.

The package's README derives it.
"""

import functools
import math
from typing import NamedTuple

import torch
from torch import Tensor


class Bases(NamedTuple):
    """Cosines and sines of the F frequencies that T frames and a kernel of K need.

    Attributes:
        frames: ``(2 F, T)`` float32, from frames to their spectrum, cosine and sine in turn.
        kernel: ``(2 F, K)`` float32, from a kernel to its spectrum, all cosines first.
        inverse: ``(T, 2 F)`` float32, from a spectrum to frames.
    """

    frames: Tensor
    kernel: Tensor
    inverse: Tensor


def positional_conv(x: Tensor, weight: Tensor, bias: Tensor, groups: int) -> Tensor:
    """Convolve frames; see :func:`fairseq_ecg.ops.positional_conv.positional_conv`.

    Arithmetic is in float32.
    """
    rows, frames, channels = x.shape
    outputs, inputs, kernel = weight.shape
    bases = _bases_of(frames, kernel, x.device)
    frequencies = len(bases.frames) // 2

    spectrum = (bases.frames @ x).view(rows, frequencies, 2, groups, inputs)
    spectrum = spectrum.permute(1, 3, 4, 0, 2).reshape(frequencies * groups, inputs, rows * 2)
    weights = bases.kernel @ weight.reshape(-1, kernel).T
    cosines, sines = weights.view(2, frequencies * groups, outputs // groups, inputs)
    by_cosines, by_sines = cosines @ spectrum, sines @ spectrum
    shape = (frequencies, groups, outputs // groups, rows, 2)
    by_cosines, by_sines = by_cosines.view(shape), by_sines.view(shape)
    product = torch.stack(
        [by_cosines[..., 0] + by_sines[..., 1], by_cosines[..., 1] - by_sines[..., 0]], dim=1
    )
    product = product.permute(4, 0, 1, 2, 3).reshape(rows, 2 * frequencies, channels)
    return bases.inverse @ product + bias


def _bases_of(frames: int, kernel: int, device: torch.device) -> Bases:
    if torch.compiler.is_compiling():
        return _bases(frames, kernel, device)
    return _kept_bases(frames, kernel, device)


def _bases(frames: int, kernel: int, device: torch.device) -> Bases:
    period = frames + kernel // 2
    frequency = torch.arange(period // 2 + 1, device=device).unsqueeze(1)
    weight = torch.full((len(frequency), 1, 1), 2 / period, device=device, dtype=torch.float64)
    # The constant and, of an even period, the highest frequency have no mirror image.
    weight[0] /= 2
    weight[period // 2] /= 1 + (period + 1) % 2

    def waves(first: int, count: int) -> Tensor:
        """Cosine and sine of each frequency, ``(F, 2, count)`` float64."""
        position = torch.arange(first, first + count, device=device)
        angle = (frequency * position % period) * (2 * math.pi / period)
        return torch.stack([angle.double().cos(), angle.double().sin()], dim=1)

    of_frames, of_kernel = waves(0, frames), waves(-(kernel // 2), kernel)
    return Bases(
        of_frames.flatten(0, 1).float(),
        of_kernel.transpose(0, 1).flatten(0, 1).float(),
        (of_frames * weight).flatten(0, 1).T.float(),
    )


_kept_bases = functools.lru_cache(maxsize=16)(_bases)
