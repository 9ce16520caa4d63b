"""What all targets share; by itself it is none."""

from typing import Any, ClassVar, NamedTuple

import numpy as np

from fairseq_ecg.data.collation import BatchCheck, Columns, Crop
from fairseq_ecg.data.randomness import Draws
from fairseq_ecg.data.sources import SegmentBatch, Variables


class Completed(NamedTuple):
    """What a target knows of segments once it is known which are of one batch.

    Args:
        columns: a value for each segment, beside those of `Target.columns`.
        rows: ``(n,)`` int64, which segments stay in the batch. None: all.
    """

    columns: Columns
    rows: np.ndarray | None = None


class Target:
    """What the outputs of a network are compared with: by itself, nothing.

    Attributes:
        variables: of segments, that `columns` reads.
        n_labels: number of values for each segment, where it is known beforehand.
        path: file that all of them are in, if they are in one.
        ecg_key: what ECGs are called among the inputs of the networks that learn it.
        padding_mask_key: what their padding mask is called there.
        sorts_by_size: whether items are put in order from long to short before batches are made.
        leaves_out: whether segments, and so whole batches, may be left out.
    """

    ecg_key: ClassVar[str] = "source"
    padding_mask_key: ClassVar[str] = "padding_mask"
    sorts_by_size: ClassVar[bool] = True
    leaves_out: bool = False

    variables: Variables = Variables()
    n_labels: int | None = None
    path: str | None = None

    def columns(self, segments: SegmentBatch) -> Columns:
        """Return what samples hold of it, a value for each segment, None where there is none.

        Raises:
            DataError: a segment has no such target, or none that can be used.
        """
        return {}

    def complete(self, columns: Columns, check: BatchCheck, draws: Draws) -> Completed:
        """Complete the `columns` of a batch, before anything is joined.

        Args:
            columns: of the batch.
            check: names segments.
            draws: random states.
        """
        return Completed({})

    def collate(
        self, columns: Columns, check: BatchCheck, crop: Crop, draws: Draws
    ) -> dict[str, Any]:
        """Join the `columns` of a batch, those of `complete` among them.

        Args:
            columns: of the batch.
            check: refuses segments that differ.
            crop: how the ECGs come to the length of the batch.
            draws: random states.

        Returns:
            What the batch holds of it; what is in its ``net_input`` goes into the network.

        Raises:
            DataError: segments of the batch differ where they must not.
        """
        return {}

    def label_names(self) -> list[str] | None:
        """Return the names of the labels, where they are known."""
        return None

    def begin_epoch(self) -> None:
        """Begin an epoch; called by the process that trains."""

    def notes(self) -> dict[str, Any]:
        """Return what users of a network need to know of it, see ``compat.checkpoint.NOTES``."""
        names = self.label_names()
        return {"labels": names} if names else {}
