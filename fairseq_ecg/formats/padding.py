"""Values that stand for samples which are not there, as against samples that have this value."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

_FRAMES_AT_ONCE = 2**16
_SHORTEST_GAP = 0.1
"""Of a value that samples have as well, in seconds."""
_LEAP = 3.0
"""How many times its usual step from sample to sample the signal leaps into a gap, at least."""


@dataclass(frozen=True)
class Padding:
    """Which samples are padding.

    Args:
        value: of the samples; None where nothing is padding.
        gaps: first frame and the one behind the last of each range in which all samples are
            padding; None where every sample of the value is.
    """

    value: int | None = None
    gaps: Sequence[tuple[int, int]] | None = ()

    @classmethod
    def of(cls, counts: np.ndarray, value: int, sample_rate: float) -> "Padding":
        """Compare a value that a file calls padding with its samples.

        A value that no converter gives (the least or largest of the type), or far from all other
        samples, is padding wherever it is. Any other one is a sample's value as well: it is padding
        where it fills an end or a gap in all channels at once, into which the signals leap.

        Args:
            counts: ``(n_samples, n_channels)`` integers.
            value: that stands for padding.
            sample_rate: in Hz.
        """
        is_filled = np.empty(len(counts), bool)
        low, high = np.inf, -np.inf
        for start in range(0, len(counts), _FRAMES_AT_ONCE):
            part = counts[start : start + _FRAMES_AT_ONCE]
            is_value = part == value
            is_filled[start : start + len(part)] = is_value.all(axis=1)
            others = part[~is_value]
            if others.size:
                low, high = min(low, int(others.min())), max(high, int(others.max()))
        limits = np.iinfo(counts.dtype)
        span = high - low
        if value == limits.max or value == limits.min < 0 or not low - span <= value <= high + span:
            return cls(value, None)
        others = counts[np.flatnonzero(~is_filled)[:_FRAMES_AT_ONCE]].astype(np.float64)
        step = np.maximum(np.median(np.abs(np.diff(others, axis=0)), axis=0), 1)

        def leaps(frame: int) -> bool:
            if not 0 <= frame < len(counts):
                return True
            return np.median(np.abs(counts[frame].astype(np.float64) - value) / step) > _LEAP

        edges = np.flatnonzero(np.diff(is_filled, prepend=False, append=False))
        return cls(
            value,
            [
                (int(start), int(stop))
                for start, stop in edges.reshape(-1, 2)
                if stop - start >= _SHORTEST_GAP * sample_rate and leaps(start - 1) and leaps(stop)
            ],
        )

    def mask(self, samples: np.ndarray, start: int) -> np.ndarray:
        """Whether each of the samples of a channel, of which the first is ``start``, is padding."""
        if self.value is None:
            return np.zeros(len(samples), bool)
        if self.gaps is None:
            return samples == self.value
        mask = np.zeros(len(samples), bool)
        for first, stop in self.gaps:
            mask[max(first - start, 0) : max(stop - start, 0)] = True
        return mask
