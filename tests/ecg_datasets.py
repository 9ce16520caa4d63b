"""Data sets for tests, of the arguments that choose their pieces."""

from functools import partial

from fairseq_ecg.data.dataset import ECGDataset
from fairseq_ecg.data.sources import RecordSource
from fairseq_ecg.data.targets import HeadsTarget, labels_of
from fairseq_ecg.data.views import SegmentsView


def dataset_of(
    path, view=None, *, heads=False, label=False, label_file=None, missing_labels="error", **options
) -> ECGDataset:
    """A data set of a manifest or of a split of a store; labels if asked for."""
    target = labels_of(label_file, missing_labels) if label else None
    return ECGDataset(path, view, HeadsTarget(target) if heads else target, **options)


def pairs_of(path, **options) -> ECGDataset:
    """The same of pairs of segments."""
    return dataset_of(path, SegmentsView(), **options)


records_of = partial(dataset_of, source=RecordSource, heads=True)
"""The same of files that name WFDB records."""
