"""The five ECG augmentations of fairseq_signals, each a draw followed by a deterministic apply."""

from fairseq_ecg.ops.augment.reference import (
    AUGMENTATIONS,
    Augmentation,
    BaselineShift,
    BaselineWander,
    EMGNoise,
    PowerlineNoise,
    RandomLeadsMask,
    augment,
    build_augmentations,
    check_leads,
)

__all__ = [
    "AUGMENTATIONS",
    "Augmentation",
    "BaselineShift",
    "BaselineWander",
    "EMGNoise",
    "PowerlineNoise",
    "RandomLeadsMask",
    "augment",
    "build_augmentations",
    "check_leads",
]
