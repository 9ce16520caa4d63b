"""Definition of the augmentations, with the draws and arithmetic of fairseq_signals.

Formulas, order of draws and the oddities kept on purpose are in this room's README.md.
"""

from __future__ import annotations

import dataclasses
from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.random import RandomState
from torch import Tensor

N_LIMB_LEADS = 6
N_LEADS = 12
I, II, III, AVR, AVL, AVF = range(N_LIMB_LEADS)  # noqa: E741 (a lead's name)


def _derived_limb_leads(leads: Sequence[int]) -> dict[int, int]:
    """Rows of III, aVR, aVL and aVF among ``leads``, which need I and II beside them.

    Args:
        leads: standard position (0 to 11) of the lead in each row.

    Returns:
        Row of each derived limb lead present.

    Raises:
        ValueError: a derived limb lead is present but I or II is not.
    """
    derived = {lead: row for row, lead in enumerate(leads) if III <= lead <= AVF}
    if derived and not {I, II} <= set(leads):
        raise ValueError(
            "dependency=True recomputes leads III, aVR, aVL and aVF from I and II, but the leads "
            f"{list(leads)} hold some of the former without both of the latter. "
            "Load I and II as well, or set dependency=False"
        )
    return derived


def _adjust_limb_leads(ecg: Tensor, leads: Sequence[int]) -> None:
    """Recompute the derived limb leads of ``ecg`` (L, T) from its leads I and II, in place."""
    derived = _derived_limb_leads(leads)
    if not derived:
        return
    lead_i, lead_ii = ecg[leads.index(I)], ecg[leads.index(II)]
    for lead, row in derived.items():
        if lead == III:
            ecg[row] = lead_ii - lead_i
        elif lead == AVR:
            ecg[row] = -(lead_ii + lead_i) / 2
        elif lead == AVL:
            ecg[row] = lead_i - lead_ii / 2
        else:
            ecg[row] = lead_ii - lead_i / 2


@dataclass(frozen=True)
class Augmentation(ABC):
    """One augmentation: its probability and settings, without any random state.

    Args:
        p: probability of being applied to a recording.
    """

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


@dataclass(frozen=True)
class AdditiveNoise(Augmentation):
    """What the four noises share: amplitude range and the dependency among limb leads.

    Args:
        p: probability of being applied; applies if ``p > u``.
        max_amplitude: upper end of the amplitude, in the unit of the ECG.
        min_amplitude: lower end of the amplitude, in the unit of the ECG.
        dependency: whether III, aVR, aVL and aVF are recomputed from the noisy I and II.
    """

    max_amplitude: float = 0.5
    min_amplitude: float = 0.0
    dependency: bool = True

    def draw(self, rng: RandomState, n_leads: int, n_samples: int) -> Any | None:
        """See `Augmentation.draw`."""
        if not self.p > rng.uniform(0, 1):
            return None
        return self._draw_noise(rng, n_leads, n_samples)

    def apply(
        self, ecg: Tensor, draws: Any, *, sample_rate: float, leads: Sequence[int] | None = None
    ) -> Tensor:
        """See `Augmentation.apply`."""
        noise = self._noise(draws, ecg.shape[-1], sample_rate)
        noisy = ecg + torch.from_numpy(noise)
        if self.dependency:
            _adjust_limb_leads(noisy, range(len(ecg)) if leads is None else leads)
        return noisy.float()

    def check_leads(self, leads: Sequence[int]) -> None:
        """See `Augmentation.check_leads`."""
        if self.dependency:
            _derived_limb_leads(leads)

    @abstractmethod
    def _draw_noise(self, rng: RandomState, n_leads: int, n_samples: int) -> Any:
        """Draw the noise itself, the decision to apply it being made."""

    @abstractmethod
    def _noise(self, draws: Any, n_samples: int, sample_rate: float) -> np.ndarray:
        """Noise to add, ``(L, T)`` or ``(1, T)``; its dtype is that of the sum."""


@dataclass(frozen=True)
class PowerlineDraws:
    """Draws of `PowerlineNoise`: amplitude, frequency (Hz) and phase (radians)."""

    amplitude: float
    frequency: float
    phase: float


@dataclass(frozen=True)
class PowerlineNoise(AdditiveNoise):
    """A 50 or 60 Hz sinusoid, the same in every lead."""

    def _draw_noise(self, rng: RandomState, n_leads: int, n_samples: int) -> PowerlineDraws:
        amplitude = rng.uniform(self.min_amplitude, self.max_amplitude)
        frequency = 50.0 if rng.uniform(0, 1) > 0.5 else 60.0
        return PowerlineDraws(amplitude, frequency, phase=rng.uniform(0, 2 * np.pi))

    def _noise(self, draws: PowerlineDraws, n_samples: int, sample_rate: float) -> np.ndarray:
        t = np.arange(n_samples)[None]
        angle = 2 * np.pi * draws.frequency * t / sample_rate + draws.phase
        return draws.amplitude * np.cos(angle)


@dataclass(frozen=True, eq=False)
class EMGDraws:
    """Draws of `EMGNoise`: amplitude ``(L, 1)`` and standard normal noise ``(L, T)``, float64."""

    amplitude: np.ndarray
    noise: np.ndarray


@dataclass(frozen=True)
class EMGNoise(AdditiveNoise):
    """White noise of one amplitude per lead."""

    def _draw_noise(self, rng: RandomState, n_leads: int, n_samples: int) -> EMGDraws:
        amplitude = rng.uniform(self.min_amplitude, self.max_amplitude, size=(n_leads, 1))
        return EMGDraws(amplitude, noise=rng.normal(0, 1, size=(n_leads, n_samples)))

    def _noise(self, draws: EMGDraws, n_samples: int, sample_rate: float) -> np.ndarray:
        return draws.noise * draws.amplitude


@dataclass(frozen=True, eq=False)
class BaselineShiftDraws:
    """Draws of `BaselineShift`: sign ``(L, 1)``, size, intervals ``(start, stop)`` in samples."""

    sign: np.ndarray
    size: float
    intervals: tuple[tuple[int, int], ...]


@dataclass(frozen=True)
class BaselineShift(AdditiveNoise):
    """A constant added over some stretches, the same stretches in every lead.

    Args:
        p: probability of being applied.
        max_amplitude: upper end of what is taken from the amplitude's sign.
        min_amplitude: lower end of what is taken from the amplitude's sign.
        dependency: whether the derived limb leads are recomputed.
        shift_ratio: mean length of a stretch as a share of the recording.
        num_segment: number of stretches.
    """

    max_amplitude: float = 0.25
    dependency: bool = False
    shift_ratio: float = 0.2
    num_segment: int = 1

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
            # A stretch drawn longer than the recording starts before it.
            shifted[max(start, 0) : max(stop, 0)] = 1
        return shifted * (draws.sign - draws.size)


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


@dataclass(frozen=True)
class BaselineWander(AdditiveNoise):
    """A sum of slow sinusoids, the same in every lead but for a gain.

    Args:
        p: probability of being applied.
        max_amplitude: upper end of a sinusoid's amplitude.
        min_amplitude: lower end of a sinusoid's amplitude.
        dependency: whether the derived limb leads are recomputed.
        max_freq: upper end of a sinusoid's frequency in Hz.
        min_freq: lower end of a sinusoid's frequency in Hz.
        k: number of sinusoids.
    """

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


@dataclass(frozen=True, eq=False)
class LeadsMaskDraws:
    """Draws of `RandomLeadsMask`: ``keep`` (L,) bool, the rows that survive."""

    keep: np.ndarray


@dataclass(frozen=True)
class RandomLeadsMask(Augmentation):
    """Random lead masking (RLM, Oh et al., 2022): whole leads become zero.

    Args:
        p: probability of being applied; applies if ``p >= u``.
        mask_leads_selection: "random" masks every row with probability ``mask_leads_prob``;
            "conditional" masks given numbers of limb and precordial leads.
        mask_leads_prob: probability that a row is masked ("random").
        mask_leads_condition: how many of the 6 limb and of the 6 precordial leads are masked
            ("conditional").
    """

    mask_leads_selection: str = "random"
    mask_leads_prob: float = 0.5
    mask_leads_condition: tuple[int, int] = (4, 5)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.mask_leads_selection not in ("random", "conditional"):
            raise ValueError(
                f"mask_leads_selection={self.mask_leads_selection!r}: "
                "choose 'random' or 'conditional'"
            )
        condition = tuple(self.mask_leads_condition)
        if len(condition) != 2 or not all(0 <= n <= N_LIMB_LEADS for n in condition):
            raise ValueError(
                f"mask_leads_condition={condition}: give two numbers from 0 to 6, "
                "of limb and of precordial leads to mask"
            )

    def draw(self, rng: RandomState, n_leads: int, n_samples: int) -> LeadsMaskDraws | None:
        """See `Augmentation.draw`."""
        if not self.p >= rng.uniform(0, 1):
            return None
        if self.mask_leads_selection == "random":
            return LeadsMaskDraws(keep=rng.uniform(0, 1, size=n_leads) >= self.mask_leads_prob)
        self.check_leads(range(n_leads))
        keep = np.zeros(n_leads, dtype=bool)
        for first_row, n_masked in zip((0, N_LIMB_LEADS), self.mask_leads_condition, strict=True):
            kept = rng.choice(N_LIMB_LEADS, N_LIMB_LEADS - n_masked, replace=False)
            keep[first_row + kept] = True
        return LeadsMaskDraws(keep)

    def apply(
        self,
        ecg: Tensor,
        draws: LeadsMaskDraws,
        *,
        sample_rate: float,
        leads: Sequence[int] | None = None,
    ) -> Tensor:
        """See `Augmentation.apply`."""
        masked = torch.zeros_like(ecg, dtype=torch.float32)
        keep = torch.from_numpy(draws.keep)
        masked[keep] = ecg[keep].float()
        return masked

    def check_leads(self, leads: Sequence[int]) -> None:
        """See `Augmentation.check_leads`."""
        if self.mask_leads_selection == "conditional" and list(leads) != list(range(N_LEADS)):
            raise ValueError(
                "mask_leads_selection='conditional' needs the twelve leads in standard order, "
                f"not {list(leads)}. Load all leads, or set mask_leads_selection='random'"
            )


AUGMENTATIONS: dict[str, type[Augmentation]] = {
    "powerline_noise": PowerlineNoise,
    "emg_noise": EMGNoise,
    "baseline_shift": BaselineShift,
    "baseline_wander": BaselineWander,
    "random_leads_masking": RandomLeadsMask,
}


def build_augmentations(
    names: Sequence[str] | None,
    probabilities: float | Sequence[float] = 1.0,
    *,
    max_amplitude: float = 0.1,
    min_amplitude: float = 0.0,
    dependency: bool = True,
    shift_ratio: float = 0.2,
    num_segment: int = 1,
    max_freq: float = 0.2,
    min_freq: float = 0.01,
    k: int = 3,
    mask_leads_selection: str = "random",
    mask_leads_prob: float = 0.5,
    mask_leads_condition: tuple[int, int] = (4, 5),
) -> list[Augmentation]:
    """Build augmentations from the settings of a fairseq_signals task.

    The options are those of the task, with its defaults; each augmentation takes those it has.

    Args:
        names: keys of `AUGMENTATIONS`, in order of application. None: no augmentation.
        probabilities: one for each name, or one for all.
        max_amplitude: see `AdditiveNoise`.
        min_amplitude: see `AdditiveNoise`.
        dependency: see `AdditiveNoise`.
        shift_ratio: see `BaselineShift`.
        num_segment: see `BaselineShift`.
        max_freq: see `BaselineWander`.
        min_freq: see `BaselineWander`.
        k: see `BaselineWander`.
        mask_leads_selection: see `RandomLeadsMask`.
        mask_leads_prob: see `RandomLeadsMask`.
        mask_leads_condition: see `RandomLeadsMask`.

    Returns:
        One augmentation for each name.

    Raises:
        ValueError: an unknown name, a number of probabilities that does not fit, or a bad option.
    """
    if isinstance(names, str):
        raise ValueError(f"perturbation_mode={names!r}: give a list of names, as in [{names}]")
    names = list(names or ())
    if not isinstance(probabilities, Iterable):
        probabilities = [probabilities]
    probabilities = list(probabilities)
    if len(probabilities) == 1:
        probabilities *= len(names)
    if names and len(probabilities) != len(names):
        raise ValueError(
            f"{len(probabilities)} probabilities (p={probabilities}) for {len(names)} "
            f"augmentations (perturbation_mode={names}): give one for each, or one for all"
        )
    options = {
        "max_amplitude": max_amplitude,
        "min_amplitude": min_amplitude,
        "dependency": dependency,
        "shift_ratio": shift_ratio,
        "num_segment": num_segment,
        "max_freq": max_freq,
        "min_freq": min_freq,
        "k": k,
        "mask_leads_selection": mask_leads_selection,
        "mask_leads_prob": mask_leads_prob,
        "mask_leads_condition": tuple(mask_leads_condition),
    }
    augmentations = []
    for name, p in zip(names, probabilities, strict=False):
        if name not in AUGMENTATIONS:
            raise ValueError(
                f"unknown augmentation {name!r} in perturbation_mode: "
                f"choose from {', '.join(AUGMENTATIONS)}"
            )
        kind = AUGMENTATIONS[name]
        accepted = {field.name for field in dataclasses.fields(kind)}
        chosen = {key: value for key, value in options.items() if key in accepted}
        augmentations.append(kind(p=p, **chosen))
    return augmentations


def check_leads(augmentations: Sequence[Augmentation], leads: Sequence[int]) -> None:
    """Refuse leads that one of the augmentations cannot serve.

    Args:
        augmentations: to be applied.
        leads: standard position (0 to 11) of the lead in each row.

    Raises:
        ValueError: says which augmentation needs which leads.
    """
    for augmentation in augmentations:
        augmentation.check_leads(leads)


def augment(
    ecg: Tensor,
    augmentations: Sequence[Augmentation],
    rng: RandomState,
    *,
    sample_rate: float,
    leads: Sequence[int] | None = None,
) -> Tensor:
    """Draw and apply each augmentation in turn.

    Args:
        ecg: ``(L, T)`` float32; left as it is.
        augmentations: in order of application.
        rng: where all draws come from.
        sample_rate: sampling rate of ``ecg`` in Hz.
        leads: standard position (0 to 11) of the lead in each row. Default: rows are the first L
            leads in standard order.

    Returns:
        ``(L, T)`` float32; ``ecg`` itself where nothing was applied.
    """
    for augmentation in augmentations:
        draws = augmentation.draw(rng, *ecg.shape)
        if draws is not None:
            ecg = augmentation.apply(ecg, draws, sample_rate=sample_rate, leads=leads)
    return ecg
