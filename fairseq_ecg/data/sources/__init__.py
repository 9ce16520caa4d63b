"""Sources: where the segments of a split lie, and how an item's segments are read from there."""

import os
from collections.abc import Callable
from functools import partial

from fairseq_ecg.data.sources.files import FileSource, RecordSource
from fairseq_ecg.data.sources.questions import QuestionSource, QuestionStoreSource
from fairseq_ecg.data.sources.source import SegmentBatch, Source, Variables
from fairseq_ecg.data.sources.store import StoreSource
from fairseq_ecg.data.store import is_store
from fairseq_ecg.errors import DataError

SOURCES: dict[str, type[Source]] = {
    "files": FileSource,
    "records": RecordSource,
    "questions": QuestionSource,
    "store": StoreSource,
    "question store": QuestionStoreSource,
}

__all__ = [
    "SOURCES",
    "FileSource",
    "QuestionSource",
    "QuestionStoreSource",
    "RecordSource",
    "SegmentBatch",
]
__all__ += ["Source", "StoreSource", "Variables", "source_of"]


def source_of(
    path: str | os.PathLike,
    *,
    of_records: bool = False,
    of_questions: bool = False,
    verify: bool = False,
) -> Callable[..., Source]:
    """Choose the source that reads a split.

    Args:
        path: a manifest, or a split of a store written as a file in it, ``STORE/train``.
        of_records: whether the files of the manifest name WFDB records.
        of_questions: whether items are questions about ECGs.
        verify: whether the checksums of all segments of a local store are compared.

    Returns:
        The class of the source, or what makes one of the arguments of its class.

    Raises:
        DataError: a store is asked for WFDB records.
    """
    folder = os.fspath(path).rstrip("/").rpartition("/")[0]
    if not (folder and is_store(folder)):
        if of_questions:
            return QuestionSource
        return RecordSource if of_records else FileSource
    if of_records:
        raise DataError(
            "task.path_dataset=true reads files that name WFDB records, and task.data is a store, "
            "which holds the ECGs themselves: set task.path_dataset=false"
        )
    return partial(QuestionStoreSource if of_questions else StoreSource, verify=verify)
