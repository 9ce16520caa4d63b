"""The target of segmentation: the class of every sample of a recording."""

from typing import Any

import numpy as np
import torch
from torch import Tensor

from fairseq_ecg.data.collation import BatchCheck, Columns, Crop
from fairseq_ecg.data.sources import SegmentBatch, Variables
from fairseq_ecg.data.targets.labels import Labels
from fairseq_ecg.data.targets.target import Target
from fairseq_ecg.errors import DataError

_REMEDY = "Correct the file, or prepare it again"


class SegmentationTarget(Target):
    """Which class each sample is of, and which samples are ignored.

    Recordings have ``segment_label`` (T,) int64 and ``segment_mask`` (T,) bool, True where a sample
    is ignored; without ``segment_mask`` in the file none is. In a batch both are ``(B, T)``,
    cropped as the ECGs are; what is padded is of the class ``none`` and ignored. Beside them are
    ``sample_rate`` (B,) float64 in Hz, and ``label`` of whole recordings where it is read.

    Args:
        labels: of whole recordings. None: they are not read.
        none: class of the samples of no wave.
        n_classes: classes are numbers below this.
    """

    def __init__(self, labels: Labels | None = None, none: int = 3, n_classes: int = 4):
        self.labels = labels or Target()
        self.path, self.n_labels = self.labels.path, self.labels.n_labels
        self.none, self.n_classes = none, n_classes
        own = Variables(required=("segment_label",), optional=("segment_mask",))
        self.variables = self.labels.variables.and_those(own)

    def label_names(self) -> list[str] | None:
        """See `Target.label_names`."""
        return self.labels.label_names()

    def columns(self, segments: SegmentBatch) -> Columns:
        """See `Target.columns`."""
        classes = enumerate(segments.arrays("segment_label"))
        ignored = enumerate(segments.arrays("segment_mask"))
        return {
            **self.labels.columns(segments),
            "segment_label": [self._classes(segments, row, values) for row, values in classes],
            "segment_mask": [self._ignored(segments, row, values) for row, values in ignored],
        }

    def collate(self, columns: Columns, check: BatchCheck, crop: Crop) -> dict[str, Any]:
        """See `Target.collate`."""
        return {
            **self.labels.collate(columns, check, crop),
            "segment_label": crop.join(list(columns["segment_label"]), torch.int64, self.none),
            "segment_mask": crop.join(list(columns["segment_mask"]), torch.bool, True),
            "sample_rate": torch.tensor(columns["sample_rate"], dtype=torch.float64),
        }

    def _classes(self, segments: SegmentBatch, row: int, values: np.ndarray | None) -> Tensor:
        assert values is not None  # it is required
        stored = _per_sample("segment_label", segments, row, values)
        classes = stored.astype(np.int64)
        if stored.min() < 0 or stored.max() >= self.n_classes or (classes != stored).any():
            raise DataError(
                f"{segments.where(row)}: 'segment_label' must be classes 0 to "
                f"{self.n_classes - 1}, found {stored.min():g} to {stored.max():g}. {_REMEDY}"
            )
        return torch.from_numpy(classes)

    def _ignored(self, segments: SegmentBatch, row: int, values: np.ndarray | None) -> Tensor:
        if values is None:
            return torch.zeros(int(segments.n_samples[row]), dtype=torch.bool)
        return torch.from_numpy(_per_sample("segment_mask", segments, row, values) != 0)


def _per_sample(key: str, segments: SegmentBatch, row: int, values: np.ndarray) -> np.ndarray:
    """Return a variable with a number for each sample of a segment, ``(T,)``."""
    shape = (1, int(segments.n_samples[row]))
    if values.dtype.kind not in "fiub" or values.shape != shape:
        raise DataError(
            f"{segments.where(row)}: {key!r} must be numbers of shape {shape}, one for each "
            f"sample, found {values.dtype} of shape {values.shape}. {_REMEDY}"
        )
    return values[0]
