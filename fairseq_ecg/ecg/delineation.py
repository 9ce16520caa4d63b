"""Delineation: from the class of every sample to the onsets and offsets of waves."""

from collections.abc import Mapping
from typing import Any

import numpy as np

CLASSES: Mapping[str, int] = {"p": 0, "qrs": 1, "t": 2, "none": 3}
"""Index of each class of samples: P wave, QRS complex, T wave, and what is none of them."""

NO_WAVE = "none"
"""The class of samples between waves."""

Delineation = dict[str, list[int]]
"""Samples by ``<wave>_onsets`` and ``<wave>_offsets``."""


def waves_of(label_idx: Mapping[str, int]) -> list[str]:
    """Name the waves among the classes, in their order."""
    return [name for name in label_idx if name != NO_WAVE]


def class_count(label_idx: Mapping[str, int]) -> int:
    """Return how many classes samples can be of: those of fairseq_signals, four, at least."""
    return max([len(CLASSES), *(index + 1 for index in label_idx.values())])


def delineate(classes: np.ndarray, label_idx: Mapping[str, int] = CLASSES) -> Any:
    """Find where waves begin and end.

    A wave is a run of samples of one class, as long as it goes on: two waves may be adjacent, and
    one may begin with the first sample or end with the last. fairseq_signals loses a wave that is
    the last sample alone; here it is found.

    Args:
        classes: ``(T,)`` or ``(B, T)`` integer, class of every sample. Samples of a class that
            ``label_idx`` does not name belong to no wave.
        label_idx: index of each class by its name; ``none`` is no wave.

    Returns:
        ``<wave>_onsets`` and ``<wave>_offsets``, for each wave of ``label_idx``: the first sample
        of each, and the last, in order of time: a :data:`Delineation`, or for ``(B, T)`` a list
        of B.

    Raises:
        ValueError: ``classes`` are not integers of one or two dimensions.
    """
    classes = np.asarray(classes)
    if classes.ndim not in (1, 2) or not np.issubdtype(classes.dtype, np.integer):
        raise ValueError(
            f"classes must be (T,) or (B, T) integers, not {classes.shape} {classes.dtype}"
        )
    if classes.ndim == 2:
        return [delineate(row, label_idx) for row in classes]
    changes = np.flatnonzero(np.diff(classes)) + 1
    onsets = np.concatenate([[0], changes])[: len(classes)]
    offsets = np.concatenate([changes, [len(classes)]])[: len(classes)] - 1
    found: Delineation = {}
    for wave in waves_of(label_idx):
        of_wave = classes[onsets] == label_idx[wave]
        found[f"{wave}_onsets"] = onsets[of_wave].tolist()
        found[f"{wave}_offsets"] = offsets[of_wave].tolist()
    return found
