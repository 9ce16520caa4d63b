"""Targets of several heads, of which each segment answers some."""

from typing import Any

import numpy as np
import torch

from fairseq_ecg.data.collation import BatchCheck, Columns, Crop
from fairseq_ecg.data.randomness import Draws
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
        self.path, self.n_labels = self.labels.path, self.labels.n_labels
        own = Variables(("target_idx",) if required and labels else (), _KEYS)
        self.variables = self.labels.variables.and_those(own)

    def label_names(self) -> list[str] | None:
        """See `Target.label_names`."""
        return self.labels.label_names()

    def columns(self, segments: SegmentBatch) -> Columns:
        """See `Target.columns`."""
        arrays = {key: segments.arrays(key) for key in _KEYS}
        own = {key: [None if one is None else one[0] for one in arrays[key]] for key in _KEYS}
        own["target_idx"] = [
            None if heads is None else torch.from_numpy(heads.astype(np.int64))
            for heads in own["target_idx"]
        ]
        return {**self.labels.columns(segments), **own}

    def collate(
        self, columns: Columns, check: BatchCheck, crop: Crop, draws: Draws
    ) -> dict[str, Any]:
        """See `Target.collate`.

        Raises:
            DataError: only some segments have ``target_idx`` or ``attribute_id``.
        """
        own = {key: list(columns[key]) for key in _KEYS if key in columns}
        own = {key: values for key, values in own.items() if any(v is not None for v in values)}
        for key, values in own.items():
            check.all_have(key, [value is not None for value in values])
        if "target_idx" in own and "label" in columns:
            return {"label": list(columns["label"]), **own}
        return {**self.labels.collate(columns, check, crop, draws), **own}
