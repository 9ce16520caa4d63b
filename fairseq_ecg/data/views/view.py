"""What all views share, and the simplest one: an item is one segment."""

from collections.abc import Sequence
from typing import Any, ClassVar

from fairseq_ecg.data.collation import Columns
from fairseq_ecg.data.options import DatasetOptions
from fairseq_ecg.data.sources import SegmentBatch, Variables
from fairseq_ecg.ops.augment import Augmentation


class View:
    """How an item is made of the segments of a source.

    Attributes:
        grouped: whether items are recordings of several segments rather than single segments.
        copies: how often each segment occurs in its item; each time with draws of its own.
        augmentations: drawn and applied before all others, in every split.
        takes_augmentations: whether others follow in training.
        variables: of segments, that `columns` reads.
        takes_whole: whether recordings are read as they are stored, all rows in their order: leads
            are not selected, padded or filtered, and ``normalize`` is the layer norm over all
            samples of a recording, for which no statistics of leads are read.
        needs_all_leads: whether recordings that are taken whole must have the twelve leads.
        has_second: whether items may have a second ECG, which is one of their columns, ``ecg_2``.
    """

    grouped: ClassVar[bool] = False
    copies: ClassVar[int] = 1
    augmentations: Sequence[Augmentation] = ()
    takes_augmentations: ClassVar[bool] = True
    variables: ClassVar[Variables] = Variables()
    takes_whole: ClassVar[bool] = False
    needs_all_leads: ClassVar[bool] = False
    has_second: ClassVar[bool] = False

    def check(self, options: DatasetOptions) -> None:
        """Refuse options of a data set that the view cannot serve.

        Raises:
            ValueError: says which and what to set instead.
        """

    def columns(self, segments: SegmentBatch) -> Columns:
        """Return what samples hold beside ECG and target, a value for each segment.

        Raises:
            DataError: a segment lacks it.
        """
        return {}

    def collate(self, columns: Columns) -> dict[str, Any]:
        """Join the `columns` of a batch."""
        return {}


class RecordingView(View):
    """An item is one segment."""
