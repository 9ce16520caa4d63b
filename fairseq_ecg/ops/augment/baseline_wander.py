"""Slow movement of the baseline."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from numpy.random import RandomState
from torch import Tensor

from fairseq_ecg.ops.augment.augmentation import AdditiveNoise
from fairseq_ecg.ops.augment.random_numbers import Normals, RandomNumbers
from fairseq_ecg.ops.augment.table import Kind


@dataclass(frozen=True, eq=False)
class BaselineWanderDraws:
    """Draws of `BaselineWander`.

    ``gain`` (L, 1); of each sinusoid, ``(k,)``: ``amplitudes``, ``frequencies`` (Hz) and
    ``phases`` (radians).
    """

    gain: np.ndarray
    amplitudes: np.ndarray
    frequencies: np.ndarray
    phases: np.ndarray


@dataclass(frozen=True, kw_only=True)
class BaselineWander(AdditiveNoise):
    """A sum of slow sinusoids, the same in every lead but for a gain.

    Args:
        p: probability of being applied.
        max_amplitude: upper end of a sinusoid's amplitude.
        min_amplitude: lower end of a sinusoid's amplitude.
        dependency: whether the derived limb leads are recomputed.
        max_freq: highest baseline wander, Hz.
        min_freq: lowest baseline wander, Hz.
        k: sinusoids of the baseline wander.
    """

    kind: ClassVar[Kind] = Kind.BASELINE_WANDER
    normals: ClassVar[Normals] = Normals.OF_ROWS
    items_each: ClassVar[int] = 3
    blocks_each: ClassVar[int] = 1

    max_freq: float = 0.2
    min_freq: float = 0.01
    k: int = 3

    def _draw_noise(self, rng: RandomState, n_leads: int, n_samples: int) -> BaselineWanderDraws:
        gain = rng.normal(1, 0.5, size=(n_leads, 1))
        amplitudes = rng.uniform(self.min_amplitude, self.max_amplitude, size=self.k)
        frequencies, phases = np.empty(self.k), np.empty(self.k)
        for j in range(self.k):
            frequencies[j] = rng.uniform(self.min_freq, self.max_freq)
            phases[j] = rng.uniform(0, 2 * np.pi)
        return BaselineWanderDraws(gain, amplitudes, frequencies, phases)

    def _noise(self, draws: BaselineWanderDraws, n_samples: int, sample_rate: float) -> np.ndarray:
        t = np.arange(n_samples)
        wander = np.zeros(n_samples)
        for amplitude, frequency, phase in zip(
            draws.amplitudes, draws.frequencies, draws.phases, strict=True
        ):
            wander += amplitude * np.cos(2 * np.pi * frequency * t / sample_rate + phase)
        return (wander * draws.gain).astype(np.float32)

    @property
    def count(self) -> int:
        """See `Augmentation.count`."""
        return self.k

    def draw_batch(self, numbers: RandomNumbers) -> tuple[Tensor, Tensor]:
        """See `Augmentation.draw_batch`."""
        gain = 1 + 0.5 * numbers.normals
        amplitude, frequency, phase = (numbers.of_recording[:, word::4] for word in (4, 5, 6))
        amplitude = self.scale_amplitude(amplitude)
        frequency = self.min_freq + (self.max_freq - self.min_freq) * frequency
        sinusoids = torch.stack([amplitude, frequency, 2 * np.pi * phase], dim=-1)
        return gain, sinusoids.flatten(1)

    def batch_columns(self, draws: BaselineWanderDraws) -> tuple[np.ndarray, list[float]]:
        """See `Augmentation.batch_columns`."""
        sinusoids = np.stack([draws.amplitudes, draws.frequencies, draws.phases], axis=-1)
        return draws.gain[:, 0], sinusoids.flatten().tolist()
