"""Reading many recordings, in this process or in others."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch.utils.data import DataLoader, Dataset

from fairseq_ecg.data.errors import DataError
from fairseq_ecg.inference.preprocessing import Preprocessing
from fairseq_ecg.inference.recordings import NamedRecording
from fairseq_ecg.inference.segmented import SegmentedRecording

MOST_SEGMENTS = 256
"""Of a recording that is handed from one process to another as a whole. Longer ones, 20 minutes
where segments have 5 s, are read where they are used, segment by segment."""


@dataclass(frozen=True, eq=False)
class _Readable(Dataset):
    recordings: Sequence[NamedRecording]
    preprocessing: Preprocessing
    policies: Mapping[str, str]

    def __len__(self) -> int:
        return len(self.recordings)

    def __getitem__(self, number: int) -> SegmentedRecording | DataError:
        try:
            return self.recordings[number].segmented(self.preprocessing, **self.policies)
        except DataError as error:
            return error


class _Sendable(_Readable):
    """What other processes read: with the samples of segments, where these are not too many."""

    def __getitem__(self, number: int) -> SegmentedRecording | DataError | None:
        found = super().__getitem__(number)
        if isinstance(found, DataError):
            return DataError(*found.args)  # without what caused it, which may not be picklable
        if len(found.spans) > MOST_SEGMENTS:
            return None
        try:
            return replace(found, segments=torch.stack(list(found.segments)))
        except DataError as error:
            return DataError(*error.args)


def read_segments(
    recordings: Sequence[NamedRecording],
    preprocessing: Preprocessing,
    policies: Mapping[str, str],
    workers: int = 0,
) -> Iterator[SegmentedRecording | DataError]:
    """Read recordings in their order.

    Args:
        recordings: to read.
        preprocessing: of the network.
        policies: see :meth:`Preprocessing.segments`.
        workers: processes that read; 0: this one.

    Yields:
        The segments of each recording, or why it cannot be used.

    Raises:
        DataError: ``workers`` is negative.
    """
    if workers < 0:
        raise DataError(f"workers={workers}: must not be negative")
    readable = _Readable(recordings, preprocessing, policies)
    workers = min(workers, len(recordings))
    if not workers:
        yield from (readable[number] for number in range(len(readable)))
        return
    sendable = _Sendable(recordings, preprocessing, policies)
    loader = DataLoader(sendable, batch_size=None, num_workers=workers, collate_fn=_as_it_is)
    for number, found in enumerate(loader):
        yield readable[number] if found is None else found


def _as_it_is(item: Any) -> Any:
    return item
