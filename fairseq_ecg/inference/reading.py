"""Reading many recordings, in this process or in others."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch

from fairseq_ecg.ecg.preprocessing import Preprocessing
from fairseq_ecg.errors import DataError
from fairseq_ecg.inference.recordings import NamedRecording
from fairseq_ecg.inference.segmented import SegmentedRecording
from fairseq_ecg.jobs.pool import in_order

MOST_SEGMENTS = 256
"""Of a recording that is handed from one process to another as a whole. Longer ones, 20 minutes
where segments have 5 s, are read where they are used, segment by segment."""


@dataclass(frozen=True, eq=False)
class _Readable:
    recordings: Sequence[NamedRecording]
    preprocessing: Preprocessing
    policies: Mapping[str, str]

    def __getitem__(self, number: int) -> SegmentedRecording | DataError:
        try:
            return self.recordings[number].segmented(self.preprocessing, **self.policies)
        except DataError as error:
            return error

    def sendable(self, number: int) -> SegmentedRecording | DataError | None:
        """Read with the samples of the segments; None where these are too many."""
        torch.set_num_threads(1)  # of this process, beside which others read
        found = self[number]
        try:
            if isinstance(found, DataError):
                raise found
            if len(found.spans) > MOST_SEGMENTS:
                return None
            return replace(found, segments=np.stack([one.numpy() for one in found.segments]))
        except DataError as error:
            return DataError(*error.args)  # without what caused it, which may not be picklable

    def lost(self, number: int) -> DataError:
        """Say that the processes that read a recording were killed."""
        return DataError(
            f"{self.recordings[number].name}: the process that read it was killed, for want of "
            "memory or by a damaged file that crashes its reader. Leave the recording out"
        )


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
        workers: processes that read; 0: this one, which a file that crashes its reader then ends.

    Yields:
        The segments of each recording, or why it cannot be used.

    Raises:
        DataError: ``workers`` is negative.
    """
    readable = _Readable(recordings, preprocessing, policies)
    if workers == 0:
        yield from map(readable.__getitem__, range(len(recordings)))
        return
    read = in_order(readable.sendable, len(recordings), workers, readable.lost)
    for number, found in enumerate(read):
        if found is None:
            found = readable[number]
        elif isinstance(found, SegmentedRecording):
            found = replace(found, segments=torch.from_numpy(found.segments))
        yield found
