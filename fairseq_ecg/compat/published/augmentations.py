"""Augmentations of one recording, called as fairseq_signals calls them.

They draw from NumPy's global stream, in the same order, and give the same ECGs.
"""

import dataclasses
from typing import Any, ClassVar

import numpy as np
import torch

from fairseq_ecg.compat.published.constants import (
    MASKING_LEADS_STRATEGY_CHOICES,
    PERTURBATION_CHOICES,
)
from fairseq_ecg.ops import augment
from fairseq_ecg.ops.augment.limb_leads import adjust_limb_leads

__all__ = [
    "MASKING_LEADS_STRATEGY_CHOICES",
    "PERTURBATION_CHOICES",
    "BaselineShift",
    "BaselineWander",
    "EMGNoise",
    "PowerlineNoise",
    "RandomLeadsMask",
    "adjust_channel_dependency",
    "instantiate_from_name",
]


class Called:
    """What makes an augmentation callable; comes before it as a base.

    Args:
        values: options in the order of ``arguments``.
        options: options by name; those that the augmentation does not have are passed over.
    """

    arguments: ClassVar[tuple[str, ...]]

    def __init__(self, *values: Any, **options: Any):
        given = dict(zip(self.arguments, values, strict=False)) | options
        own = [field.name for field in dataclasses.fields(self)]
        # An option that is None is left at its default, as that of a configuration may be.
        super().__init__(**{name: given[name] for name in own if given.get(name) is not None})
        object.__setattr__(self, "freq", given.get("freq", 500))  # the dataclass is frozen

    def __call__(self, sample: torch.Tensor) -> torch.Tensor:
        """Augment an ECG ``(L, T)`` of ``freq`` Hz; it is left as it is."""
        draws = self.draw(np.random, *sample.shape)
        if draws is None:
            return sample.clone().float()
        return self.apply(sample, draws, sample_rate=self.freq)


class PowerlineNoise(Called, augment.PowerlineNoise):
    """A sine of 50 or 60 Hz on all leads."""

    arguments = ("max_amplitude", "min_amplitude", "p", "freq", "dependency")


class EMGNoise(Called, augment.EMGNoise):
    """White noise of one amplitude per lead."""

    arguments = ("max_amplitude", "min_amplitude", "dependency", "p")


class BaselineShift(Called, augment.BaselineShift):
    """Jumps of the baseline."""

    arguments = (
        *("max_amplitude", "min_amplitude", "shift_ratio", "num_segment", "freq", "dependency"),
        "p",
    )

    def __init__(self, *values: Any, **options: Any):
        defaults = {"max_amplitude": 0.25, "dependency": False}
        given = dict(zip(self.arguments, values, strict=False))
        super().__init__(**defaults | given | options)


class BaselineWander(Called, augment.BaselineWander):
    """Slow sines."""

    arguments = (
        *("max_amplitude", "min_amplitude", "p", "max_freq", "min_freq", "k", "freq"),
        "dependency",
    )


class RandomLeadsMask(Called, augment.RandomLeadsMask):
    """Whole leads become zero."""

    arguments = ("p", "mask_leads_selection", "mask_leads_prob", "mask_leads_condition")


_BY_NAME = {
    "random_leads_masking": RandomLeadsMask,
    "powerline_noise": PowerlineNoise,
    "emg_noise": EMGNoise,
    "baseline_shift": BaselineShift,
    "baseline_wander": BaselineWander,
}


def instantiate_from_name(str: str, **kwargs: Any) -> augment.Augmentation:
    """Build an augmentation by its name in ``task.perturbation_mode``.

    Args:
        str: the name.
        kwargs: options of it, and of others, which are passed over.

    Raises:
        ValueError: there is none of that name.
    """
    if str not in _BY_NAME:
        raise ValueError(f"inappropriate perturbation choices: {str}; choose {', '.join(_BY_NAME)}")
    return _BY_NAME[str](**kwargs)


def adjust_channel_dependency(ecg: torch.Tensor) -> torch.Tensor:
    """Recompute III, aVR, aVL and aVF of twelve leads ``(12, T)`` from I and II, in place."""
    adjust_limb_leads(ecg, range(len(ecg)))
    return ecg
