"""Interference of the mains."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from numpy.random import RandomState
from torch import Tensor

from fairseq_ecg.ops.augment.augmentation import AdditiveNoise
from fairseq_ecg.ops.augment.random_numbers import RandomNumbers
from fairseq_ecg.ops.augment.table import Kind


@dataclass(frozen=True)
class PowerlineDraws:
    """Draws of `PowerlineNoise`: amplitude, frequency (Hz) and phase (radians)."""

    amplitude: float
    frequency: float
    phase: float


@dataclass(frozen=True)
class PowerlineNoise(AdditiveNoise):
    """A 50 or 60 Hz sinusoid, the same in every lead."""

    kind: ClassVar[Kind] = Kind.POWERLINE_NOISE
    items_each: ClassVar[int] = 3

    def _draw_noise(self, rng: RandomState, n_leads: int, n_samples: int) -> PowerlineDraws:
        amplitude = rng.uniform(self.min_amplitude, self.max_amplitude)
        frequency = 50.0 if rng.uniform(0, 1) > 0.5 else 60.0
        return PowerlineDraws(amplitude, frequency, phase=rng.uniform(0, 2 * np.pi))

    def _noise(self, draws: PowerlineDraws, n_samples: int, sample_rate: float) -> np.ndarray:
        t = np.arange(n_samples)[None]
        angle = 2 * np.pi * draws.frequency * t / sample_rate + draws.phase
        return draws.amplitude * np.cos(angle)

    @property
    def count(self) -> int:
        """See `Augmentation.count`."""
        return 1

    def draw_batch(self, numbers: RandomNumbers) -> tuple[None, Tensor]:
        """See `Augmentation.draw_batch`."""
        _, amplitude, v, phase = numbers.of_recording.unbind(1)
        amplitude = self.scale_amplitude(amplitude)
        frequency = torch.where(v > 0.5, 50.0, 60.0)
        return None, torch.stack([amplitude, frequency, 2 * np.pi * phase], dim=-1)

    def batch_columns(self, draws: PowerlineDraws) -> tuple[None, list[float]]:
        """See `Augmentation.batch_columns`."""
        return None, [draws.amplitude, draws.frequency, draws.phase]
