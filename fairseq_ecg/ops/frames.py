"""How many frames a stack of strided convolutions makes of so many samples."""

from collections.abc import Iterable, Sequence
from typing import TypeVar

import torch
from torch import Tensor

Count = TypeVar("Count", int, Tensor)


def frame_count(samples: Count, layers: Iterable[tuple[int, int]]) -> Count:
    """Frames that so many samples give, element by element; 0 or less where they are too few.

    Args:
        samples: whole number or int64 tensor.
        layers: kernel and stride of each convolution, in samples of its input.
    """
    for kernel, stride in layers:
        samples = (samples - kernel) // stride + 1
    return samples


def frame_ends(
    samples: Tensor, layers: Iterable[tuple[int, int]], frames: int, empty_rows: bool
) -> Tensor:
    """Compute where the padded frames of each row begin.

    Args:
        samples: ``(B,)`` int64, valid samples of each row, padding behind them.
        layers: kernel and stride of each convolution.
        frames: frames of the whole width.
        empty_rows: whether a row whose samples give no frame ends at 0. Otherwise, as where
            they are fewer still, fairseq_signals takes the length for an index from the end.

    Returns:
        ``(B,)`` int64, from 0 to ``frames``.
    """
    valid = frame_count(samples, layers)
    ends = torch.where(valid > 0, valid, valid + frames)
    return ends.masked_fill(valid == 0, 0) if empty_rows else ends


def receptive_field(layers: Iterable[tuple[int, int]]) -> tuple[int, int]:
    """Compute which samples a frame is made of: frame i of ``width`` from ``i * stride`` on.

    Args:
        layers: kernel and stride of each convolution, in samples of its input.

    Returns:
        Width and stride in samples.
    """
    width, stride = 1, 1
    for kernel, step in layers:
        width += (kernel - 1) * stride
        stride *= step
    return width, stride


def frames_to_samples(x: Tensor, samples: int, layers: Sequence[tuple[int, int]]) -> Tensor:
    """Interpolate linearly from frames to the samples that they are made of.

    A frame's own numbers are those of the sample at the centre of its receptive field; samples in
    front of the first centre have the first frame's, those behind the last centre the last's.

    Args:
        x: ``(B, T', C)`` frames.
        samples: T.
        layers: kernel and stride of each convolution, in samples of its input; without any, frames
            are samples already.

    Returns:
        ``(B, T, C)``.
    """
    if not layers:
        return x
    width, stride = receptive_field(layers)
    frame = (torch.arange(samples, device=x.device) - (width - 1) / 2) / stride
    frame = frame.clamp(min=0).clamp(max=x.shape[1] - 1)
    before = frame.floor().long()
    after = (before + 1).clamp(max=x.shape[1] - 1)
    share = (frame - before).to(x.dtype)[:, None]
    return torch.lerp(x[:, before], x[:, after], share)
