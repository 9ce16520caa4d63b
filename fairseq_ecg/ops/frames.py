"""How many frames a stack of strided convolutions makes of so many samples."""

from collections.abc import Iterable
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


def frames_to_samples(x: Tensor, samples: int, first: float, stride: int) -> Tensor:
    """Interpolate linearly from frames to samples.

    A frame's numbers are those of the sample that it is at; samples in front of the first frame
    have the numbers of that, those behind the last frame the last's.

    Args:
        x: ``(B, T', C)`` frames.
        samples: T.
        first: sample that the first frame is at.
        stride: samples from a frame to the next.

    Returns:
        ``(B, T, C)``.
    """
    if first == 0 and stride == 1:
        return x
    frame = (torch.arange(samples, device=x.device) - first) / stride
    frame = frame.clamp(min=0).clamp(max=x.shape[1] - 1)
    before = frame.floor().long()
    after = (before + 1).clamp(max=x.shape[1] - 1)
    share = (frame - before).to(x.dtype)[:, None]
    return torch.lerp(x[:, before], x[:, after], share)
