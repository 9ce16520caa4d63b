"""Labels: numbers for each segment, which it holds itself or points to."""

import os
from abc import abstractmethod

import torch
from torch import Tensor

from fairseq_ecg.data.collation import BatchCheck, Columns, Crop
from fairseq_ecg.data.label_file import LabelFile
from fairseq_ecg.data.randomness import Draws
from fairseq_ecg.data.sources import SegmentBatch, Variables
from fairseq_ecg.data.targets.target import Target
from fairseq_ecg.errors import DataError

_REMEDY = "All recordings of a data set need the same labels: correct the files"


class Labels(Target):
    """Numbers for each segment: ``label``, ``(C,)`` in a sample and ``(B, C)`` in a batch."""

    @abstractmethod
    def of_segments(self, segments: SegmentBatch) -> list[Tensor]:
        """Return the labels of each segment, ``(C,)`` in the dtype they are stored in.

        Raises:
            DataError: a segment has none that can be used.
        """

    def columns(self, segments: SegmentBatch) -> Columns:
        """See `Target.columns`."""
        return {"label": self.of_segments(segments)}

    def collate(
        self, columns: Columns, check: BatchCheck, crop: Crop, draws: Draws
    ) -> dict[str, Tensor]:
        """See `Target.collate`."""
        check.equal([len(label) for label in columns["label"]], "labels", _REMEDY)
        return {"label": torch.stack(list(columns["label"]))}


class StoredLabels(Labels):
    """Labels that segments hold themselves, in their variable ``label`` (1, C)."""

    variables = Variables(required=("label",))

    def of_segments(self, segments: SegmentBatch) -> list[Tensor]:
        """See `Labels.of_segments`."""
        labels_of_segments = []
        for row, labels in enumerate(segments.arrays("label")):
            assert labels is not None  # they are required
            if labels.ndim != 2 or len(labels) != 1 or labels.dtype.kind not in "fiub":
                raise DataError(
                    f"{segments.where(row)}: 'label' must be numbers of shape (1, labels), found "
                    f"{labels.dtype} of shape {labels.shape}. Correct the file, or set "
                    "task.label_file"
                )
            labels_of_segments.append(torch.from_numpy(labels[0]))
        return labels_of_segments


class LabelFileTarget(Labels):
    """Rows of a label file, which segments point to by their ``idx``.

    Args:
        path: as of `LabelFile`.
        missing: as of `LabelFile`.

    Raises:
        DataError: the file cannot be used.
    """

    variables = Variables(required=("idx",))

    def __init__(self, path: str | os.PathLike, missing: bool = False):
        self.file = LabelFile(path, missing)
        self.path, self.n_labels = self.file.path, self.file.n_labels

    def label_names(self) -> list[str] | None:
        """See `Target.label_names`."""
        return self.file.names()

    def of_segments(self, segments: SegmentBatch) -> list[Tensor]:
        """See `Labels.of_segments`."""
        idx = segments.integers("idx").tolist()
        return [self.file.row(one, segments.where(row)) for row, one in enumerate(idx)]


class IndexTarget(Labels):
    """The ``idx`` itself, as the one label: which row of a label file a segment points to."""

    variables = Variables(required=("idx",))

    def of_segments(self, segments: SegmentBatch) -> list[Tensor]:
        """See `Labels.of_segments`."""
        return list(torch.from_numpy(segments.integers("idx")).unsqueeze(1))
