"""The target of segmentation: the class of every sample of a recording."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from fairseq_ecg.data.collation import BatchCheck, Columns, Crop
from fairseq_ecg.data.randomness import Draws
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
        return {
            **self.labels.columns(segments),
            "segment_label": self._classes(_per_sample("segment_label", segments), segments),
            "segment_mask": _rows(
                [values != 0 for values in _per_sample("segment_mask", segments)]
            ),
        }

    def collate(
        self, columns: Columns, check: BatchCheck, crop: Crop, draws: Draws
    ) -> dict[str, Any]:
        """See `Target.collate`."""
        labels, masks = columns["segment_label"], columns["segment_mask"]
        return {
            **self.labels.collate(columns, check, crop, draws),
            "segment_label": crop.join(_tensors(labels), torch.int64, self.none),
            "segment_mask": crop.join(_tensors(masks), torch.bool, True),
            "sample_rate": torch.tensor(columns["sample_rate"], dtype=torch.float64),
        }

    def _classes(
        self, blocks: list[np.ndarray], segments: SegmentBatch
    ) -> Sequence[Tensor] | Tensor:
        classes = [stored.astype(np.int64) for stored in blocks]
        n_before = 0
        for stored, numbers in zip(blocks, classes, strict=True):
            if stored.min() < 0 or stored.max() >= self.n_classes or (numbers != stored).any():
                fits = (stored >= 0) & (stored < self.n_classes) & (numbers == stored)
                row = int(fits.all(axis=1).argmin())
                raise DataError(
                    f"{segments.where(n_before + row)}: 'segment_label' must be classes 0 to "
                    f"{self.n_classes - 1}, found {stored[row].min():g} to "
                    f"{stored[row].max():g}. {_REMEDY}"
                )
            n_before += len(stored)
        return _rows(classes)


def _per_sample(key: str, segments: SegmentBatch) -> list[np.ndarray]:
    """Return a variable with a number for each sample of segments.

    Returns:
        ``(B, T)`` in one array if segments are of one length, else ``(1, T_i)`` of each; zeros
        where a segment lacks the variable.
    """
    arrays = []
    for row, (values, n_samples) in enumerate(
        zip(segments.arrays(key), segments.n_samples.tolist(), strict=True)
    ):
        shape = (1, n_samples)
        if values is None:
            values = np.zeros(shape, np.uint8)
        if values.dtype.kind not in "fiub" or values.shape != shape:
            raise DataError(
                f"{segments.where(row)}: {key!r} must be numbers of shape {shape}, one for each "
                f"sample, found {values.dtype} of shape {values.shape}. {_REMEDY}"
            )
        arrays.append(values)
    return [np.concatenate(arrays)] if len({array.shape for array in arrays}) == 1 else arrays


def _rows(blocks: list[np.ndarray]) -> Sequence[Tensor] | Tensor:
    """Return what belongs to each segment, ``(T_i,)``: of one array as one tensor."""
    if len(blocks) == 1:
        return torch.from_numpy(blocks[0])
    return [torch.from_numpy(block[0]) for block in blocks]


def _tensors(column: Any) -> Sequence[Tensor] | Tensor:
    return column if isinstance(column, Tensor) else list(column)
