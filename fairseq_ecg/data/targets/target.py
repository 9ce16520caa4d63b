"""What all targets share; by itself it is none."""

from typing import Any

from fairseq_ecg.data.collation import BatchCheck, Columns, Crop
from fairseq_ecg.data.sources import SegmentBatch, Variables


class Target:
    """What the outputs of a network are compared with: by itself, nothing.

    Attributes:
        variables: of segments, that `columns` reads.
        n_labels: number of values for each segment, where it is known beforehand.
        path: file that all of them are in, if they are in one.
    """

    variables: Variables = Variables()
    n_labels: int | None = None
    path: str | None = None

    def columns(self, segments: SegmentBatch) -> Columns:
        """Return what samples hold of it, a value for each segment, None where there is none.

        Raises:
            DataError: a segment has no such target, or none that can be used.
        """
        return {}

    def collate(self, columns: Columns, check: BatchCheck, crop: Crop) -> dict[str, Any]:
        """Join the `columns` of a batch.

        Args:
            columns: of the batch.
            check: refuses segments that differ.
            crop: how the ECGs come to the length of the batch.

        Raises:
            DataError: segments of the batch differ where they must not.
        """
        return {}

    def label_names(self) -> list[str] | None:
        """Return the names of the labels, where they are known."""
        return None

    def notes(self) -> dict[str, Any]:
        """Return what users of a network need to know of its targets, for its checkpoint.

        ``labels`` are the names of the labels, where they are known.
        """
        names = self.label_names()
        return {"labels": names} if names else {}
