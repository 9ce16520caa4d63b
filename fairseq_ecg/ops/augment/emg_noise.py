"""Noise of muscles (electromyogram)."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.random import RandomState
from torch import Tensor

from fairseq_ecg.ops.augment.augmentation import AdditiveNoise
from fairseq_ecg.ops.augment.random_numbers import RandomNumbers
from fairseq_ecg.ops.augment.table import Kind


@dataclass(frozen=True, eq=False)
class EMGDraws:
    """Draws of `EMGNoise`: amplitude ``(L, 1)`` and standard normal noise ``(L, T)``, float64."""

    amplitude: np.ndarray
    noise: np.ndarray


@dataclass(frozen=True)
class EMGNoise(AdditiveNoise):
    """White noise of one amplitude per lead."""

    kind: ClassVar[Kind] = Kind.EMG_NOISE

    def _draw_noise(self, rng: RandomState, n_leads: int, n_samples: int) -> EMGDraws:
        amplitude = rng.uniform(self.min_amplitude, self.max_amplitude, size=(n_leads, 1))
        return EMGDraws(amplitude, noise=rng.normal(0, 1, size=(n_leads, n_samples)))

    def _noise(self, draws: EMGDraws, n_samples: int, sample_rate: float) -> np.ndarray:
        return draws.noise * draws.amplitude

    def draw_batch(self, numbers: RandomNumbers) -> tuple[Tensor, None]:
        """Draw amplitudes alone; kernels draw the noise where they add it."""
        return self.scale_amplitude(numbers.of_rows), None

    def batch_columns(self, draws: EMGDraws) -> tuple[np.ndarray, list[float]]:
        """Lay out amplitudes alone."""
        return draws.amplitude[:, 0], []
