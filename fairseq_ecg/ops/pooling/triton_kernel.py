"""Pooling of frames in Triton. Nothing is compiled for a number of frames."""

import triton
import triton.language as tl
from torch import Tensor

_FRAMES = 32
_CHANNELS = 64


def mean_of_nonzero(x: Tensor, frame_mask: Tensor | None) -> tuple[Tensor, Tensor]:
    """Give the means and counts ``(B, D)`` of contiguous float32 ``(B, T, D)`` in one pass."""
    rows, frames, channels = x.shape
    means, counts = x.new_empty(rows, channels), x.new_empty(rows, channels)
    _pool[(rows, triton.cdiv(channels, _CHANNELS))](
        x,
        x if frame_mask is None else frame_mask,
        means,
        counts,
        frames,
        channels,
        frame_mask is not None,
        _FRAMES,
        _CHANNELS,
    )
    return means, counts


@triton.jit(do_not_specialize=["frames"])
def _pool(
    x,
    padded,
    means,
    counts,
    frames,
    channels,
    MASKED: tl.constexpr,
    FRAMES: tl.constexpr,
    CHANNELS: tl.constexpr,
):
    """Average a block of one row's channels."""
    row = tl.program_id(0).to(tl.int64)
    channel = tl.program_id(1) * CHANNELS + tl.arange(0, CHANNELS)
    total = tl.zeros((CHANNELS,), tl.float32)
    count = tl.zeros((CHANNELS,), tl.float32)
    for start in range(0, frames, FRAMES):
        frame = start + tl.arange(0, FRAMES)
        position = row * frames + frame
        present = frame < frames
        if MASKED:
            present = present & (tl.load(padded + position, mask=present, other=1) == 0)
        block = tl.load(
            x + position[:, None] * channels + channel[None, :],
            mask=present[:, None] & (channel < channels)[None, :],
            other=0.0,
        )
        total += tl.sum(block, axis=0)
        count += tl.sum((block != 0).to(tl.float32), axis=0)
    tl.store(means + row * channels + channel, total / count, mask=channel < channels)
    tl.store(counts + row * channels + channel, count, mask=channel < channels)
