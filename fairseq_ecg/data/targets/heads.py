"""Targets of several heads, of which each segment answers some."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch

from fairseq_ecg.data.collation import BatchCheck
from fairseq_ecg.data.sources import SegmentBatch, Variables
from fairseq_ecg.data.targets.labels import Labels
from fairseq_ecg.data.targets.target import Target

_KEYS = ("target_idx", "attribute_id")


class HeadsTarget(Target):
    """Which heads labels belong to, ``target_idx`` (n,), and what they are about, ``attribute_id``.

    Both are lists in a batch, and so are the labels where segments have ``target_idx``, for each
    may have labels of its own.

    Args:
        labels: of the heads. None: they are not read.
        required: whether every segment with labels must have ``target_idx``.
    """

    def __init__(self, labels: Labels | None = None, required: bool = False):
        self.labels = labels or Target()
        self.path = self.labels.path
        own = Variables(
            ("target_idx",) if required and labels else (), ("target_idx", "attribute_id")
        )
        self.variables = self.labels.variables + own

    @property
    def n_labels(self) -> int | None:
        """See `Target.n_labels`."""
        return self.labels.n_labels

    def label_names(self) -> list[str] | None:
        """See `Target.label_names`."""
        return self.labels.label_names()

    def columns(self, segments: SegmentBatch) -> dict[str, Sequence[Any]]:
        """See `Target.columns`."""
        heads = [
            None if array is None else torch.from_numpy(array[0].astype(np.int64))
            for array in segments.arrays("target_idx")
        ]
        attributes = [
            None if array is None else array[0] for array in segments.arrays("attribute_id")
        ]
        return {
            **self.labels.columns(segments),
            "target_idx": heads,
            "attribute_id": attributes,
        }

    def collate(self, columns: Mapping[str, Sequence[Any]], check: BatchCheck) -> dict[str, Any]:
        """See `Target.collate`.

        Raises:
            DataError: only some segments have ``target_idx`` or ``attribute_id``.
        """
        heads = {
            key: list(columns[key])
            for key in _KEYS
            if any(value is not None for value in columns.get(key, ()))
        }
        for key, values in heads.items():
            check.all_have(key, [value is not None for value in values])
        if "target_idx" in heads and "label" in columns:
            return {"label": list(columns["label"]), **heads}
        return {**self.labels.collate(columns, check), **heads}
