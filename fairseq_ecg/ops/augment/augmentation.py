"""What all augmentations share, and what additive noises share."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.random import RandomState
from torch import Tensor

from fairseq_ecg.ops.augment.limb_leads import adjust_limb_leads, derived_limb_leads
from fairseq_ecg.ops.augment.random_numbers import Normals, RandomNumbers
from fairseq_ecg.ops.augment.table import Kind


@dataclass(frozen=True)
class Augmentation(ABC):
    """One augmentation: its probability and settings, without any random state.

    Its keyword-only fields are options (see `fairseq_ecg.options`), also of a task, which has one
    value of an option for all augmentations.

    Args:
        p: probability of being applied to a recording.
    """

    kind: ClassVar[Kind]
    """What it is to the kernels."""

    normals: ClassVar[Normals] = Normals.NONE
    """Which normal numbers `draw_batch` takes."""

    items_each: ClassVar[int] = 0
    """Columns of `batch_columns` for each of its `count` sinusoids, intervals or the like."""

    blocks_each: ClassVar[int] = 0
    """Blocks of random numbers for each of them."""

    p: float = 1.0

    def __post_init__(self) -> None:
        if not 0 <= self.p <= 1:
            raise ValueError(f"{type(self).__name__}: p={self.p} is not a probability")

    @abstractmethod
    def draw(self, rng: RandomState, n_leads: int, n_samples: int) -> Any | None:
        """Draw everything random about one application.

        Args:
            rng: advanced in exactly the order of fairseq_signals.
            n_leads: rows of the ECG.
            n_samples: length of the ECG in samples.

        Returns:
            The draws, or None if the augmentation is not to be applied.
        """

    @abstractmethod
    def apply(
        self, ecg: Tensor, draws: Any, *, sample_rate: float, leads: Sequence[int] | None = None
    ) -> Tensor:
        """Apply the draws; deterministic, and leaves its input as it is.

        Args:
            ecg: ``(L, T)`` float32.
            draws: what `draw` returned for this shape.
            sample_rate: sampling rate of ``ecg`` in Hz.
            leads: standard position (0 to 11) of the lead in each row. Default: rows are the
                first L leads in standard order.

        Returns:
            ``(L, T)`` float32.
        """

    @abstractmethod
    def check_leads(self, leads: Sequence[int]) -> None:
        """Raise ValueError if ECGs whose rows are ``leads`` cannot be augmented."""

    @property
    def adjusts_limb_leads(self) -> bool:
        """Whether III, aVR, aVL and aVF are recomputed from I and II."""
        return False

    @property
    def count(self) -> int:
        """How many sinusoids, intervals or the like it draws."""
        return 0

    @property
    def n_items(self) -> int:
        """Columns of `batch_columns` that belong to no row of the ECG."""
        return self.count * self.items_each

    @property
    def n_blocks(self) -> int:
        """Blocks of random numbers that `draw_batch` takes of a recording, beside its rows'."""
        return 1 + self.count * self.blocks_each

    def applies(self, u: Any) -> Any:
        """Decide about applications from uniform numbers, one or a tensor of them."""
        return self.p > u

    @abstractmethod
    def draw_batch(self, numbers: RandomNumbers) -> tuple[Tensor | None, Tensor | None]:
        """Draw for all recordings of a batch what `draw` does for one, the decision apart.

        Returns:
            What differs between rows, ``(B, L)``, None if nothing does (ones); and the items,
            ``(B, n_items)``, None if there are none. Both float64.
        """

    @abstractmethod
    def batch_columns(self, draws: Any) -> tuple[np.ndarray | None, Sequence[float]]:
        """Lay out the draws of one recording, as `draw` returned them, in the same way.

        Returns:
            What differs between rows, ``(L,)`` or None, and the items.
        """


@dataclass(frozen=True, kw_only=True)
class AdditiveNoise(Augmentation):
    """What the four noises share: amplitude range and the dependency among limb leads.

    Args:
        p: probability of being applied; applies if ``p > u``.
        max_amplitude: most noise, signal's units.
        min_amplitude: least noise, signal's units.
        dependency: recompute III, aVR, aVL and aVF from noisy I and II.
    """

    max_amplitude: float = 0.5
    min_amplitude: float = 0.0
    dependency: bool = True

    def draw(self, rng: RandomState, n_leads: int, n_samples: int) -> Any | None:
        """See `Augmentation.draw`."""
        if not self.applies(rng.uniform(0, 1)):
            return None
        return self._draw_noise(rng, n_leads, n_samples)

    def apply(
        self, ecg: Tensor, draws: Any, *, sample_rate: float, leads: Sequence[int] | None = None
    ) -> Tensor:
        """See `Augmentation.apply`."""
        noise = self._noise(draws, ecg.shape[-1], sample_rate)
        noisy = ecg + torch.from_numpy(noise)
        if self.dependency:
            adjust_limb_leads(noisy, range(len(ecg)) if leads is None else leads)
        return noisy.float()

    def check_leads(self, leads: Sequence[int]) -> None:
        """See `Augmentation.check_leads`."""
        if self.dependency:
            derived_limb_leads(leads)

    @property
    def adjusts_limb_leads(self) -> bool:
        """See `Augmentation.adjusts_limb_leads`."""
        return self.dependency

    def scale_amplitude(self, u: Tensor) -> Tensor:
        """Turn uniform numbers in [0, 1) into amplitudes."""
        return self.min_amplitude + (self.max_amplitude - self.min_amplitude) * u

    @abstractmethod
    def _draw_noise(self, rng: RandomState, n_leads: int, n_samples: int) -> Any:
        """Draw the noise itself, the decision to apply it being made."""

    @abstractmethod
    def _noise(self, draws: Any, n_samples: int, sample_rate: float) -> np.ndarray:
        """Noise to add, ``(L, T)`` or ``(1, T)``; its dtype is that of the sum."""
