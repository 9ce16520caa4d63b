"""Jumps of the baseline."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from numpy.random import RandomState
from torch import Tensor

from fairseq_ecg.ops.augment.augmentation import AdditiveNoise
from fairseq_ecg.ops.augment.random_numbers import Normals, RandomNumbers
from fairseq_ecg.ops.augment.table import Kind
from fairseq_ecg.ops.options import option


@dataclass(frozen=True, eq=False)
class BaselineShiftDraws:
    """Draws of `BaselineShift`: sign ``(L, 1)``, size, intervals ``(start, stop)`` in samples."""

    sign: np.ndarray
    size: float
    intervals: tuple[tuple[int, int], ...]


@dataclass(frozen=True)
class BaselineShift(AdditiveNoise):
    """A constant added over some intervals, the same intervals in every lead.

    Args:
        p: probability of being applied.
        max_amplitude: upper end of what is taken from the amplitude's sign.
        min_amplitude: lower end of what is taken from the amplitude's sign.
        dependency: whether the derived limb leads are recomputed.
        shift_ratio: mean length of an interval as a share of the recording.
        num_segment: number of intervals.
    """

    kind: ClassVar[Kind] = Kind.BASELINE_SHIFT
    normals: ClassVar[Normals] = Normals.OF_RECORDING

    max_amplitude: float = 0.25
    dependency: bool = False
    shift_ratio: float = option(0.2, "mean share of the recording that a shift covers")
    num_segment: int = option(1, "shifts in a recording")

    def _draw_noise(self, rng: RandomState, n_leads: int, n_samples: int) -> BaselineShiftDraws:
        sign = rng.choice([1, -1], size=(n_leads, 1))
        size = rng.uniform(self.min_amplitude, self.max_amplitude)
        mean_length = n_samples * self.shift_ratio
        intervals = []
        for _ in range(self.num_segment):
            length = rng.normal(mean_length, 0.2 * mean_length)
            start = int(rng.uniform(0, n_samples - length))
            intervals.append((start, int(start + length)))
        return BaselineShiftDraws(sign, size, tuple(intervals))

    def _noise(self, draws: BaselineShiftDraws, n_samples: int, sample_rate: float) -> np.ndarray:
        shifted = np.zeros(n_samples)
        for start, stop in draws.intervals:
            # An interval drawn longer than the recording starts before it.
            shifted[max(start, 0) : max(stop, 0)] = 1
        return shifted * (draws.sign - draws.size)

    @property
    def count(self) -> int:
        """See `Augmentation.count`."""
        return self.num_segment

    @property
    def n_items(self) -> int:
        """See `Augmentation.n_items`."""
        return 2 * self.num_segment

    @property
    def n_blocks(self) -> int:
        """See `Augmentation.n_blocks`."""
        return 1 + self.num_segment

    def draw_batch(self, numbers: RandomNumbers) -> tuple[Tensor, Tensor]:
        """See `Augmentation.draw_batch`."""
        sign = torch.where(numbers.of_rows < 0.5, 1.0, -1.0)
        size = self.scale_amplitude(numbers.of_recording[:, 1:2])
        n_samples = numbers.lengths.unsqueeze(1)
        mean_length = n_samples * self.shift_ratio
        length = mean_length + 0.2 * mean_length * numbers.normals
        start = (numbers.of_recording[:, 6::4] * (n_samples - length)).trunc()
        intervals = torch.stack([start, (start + length).trunc()], dim=-1)
        return sign - size, intervals.flatten(1)

    def batch_columns(self, draws: BaselineShiftDraws) -> tuple[np.ndarray, list[float]]:
        """See `Augmentation.batch_columns`."""
        return (draws.sign - draws.size)[:, 0], [end for pair in draws.intervals for end in pair]
