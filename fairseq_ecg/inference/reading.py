"""Reading many recordings, in this process or in others."""

import multiprocessing
import os
import signal
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection

import numpy as np
import torch

from fairseq_ecg.data.errors import DataError
from fairseq_ecg.ecg.preprocessing import Preprocessing
from fairseq_ecg.inference.recordings import NamedRecording
from fairseq_ecg.inference.segmented import SegmentedRecording

MOST_SEGMENTS = 256
"""Of a recording that is handed from one process to another as a whole. Longer ones, 20 minutes
where segments have 5 s, are read where they are used, segment by segment."""

_AHEAD = 2
"""Recordings that a process is to read at a time."""

_ATTEMPTS = 2
"""To read a recording on which a process has died, which may have been for want of memory that
others took."""

_LOOKS = 5.0
"""Seconds after which a process that waits looks whether anyone is left to wait for."""


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
        found = self[number]
        try:
            if isinstance(found, DataError):
                raise found
            if len(found.spans) > MOST_SEGMENTS:
                return None
            return replace(found, segments=np.stack([one.numpy() for one in found.segments]))
        except DataError as error:
            return DataError(*error.args)  # without what caused it, which may not be picklable


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
    if workers < 0:
        raise DataError(f"workers={workers}: must not be negative")
    readable = _Readable(recordings, preprocessing, policies)
    workers = min(workers, len(recordings))
    if not workers:
        yield from (readable[number] for number in range(len(recordings)))
        return
    readers = [
        _Reader(readable, range(first, len(recordings), workers)) for first in range(workers)
    ]
    try:
        for number in range(len(recordings)):
            found = readers[number % workers].next()
            if found is None:
                found = readable[number]
            elif isinstance(found, SegmentedRecording):
                found = replace(found, segments=torch.from_numpy(found.segments))
            yield found
    finally:
        for reader in readers:
            reader.stop()


class _Reader:
    """A process that reads some recordings in their order, and another one where it was killed.

    Args:
        readable: recordings.
        numbers: of those to read.
    """

    def __init__(self, readable: _Readable, numbers: Sequence[int]):
        self._readable = readable
        self._pid = os.getpid()
        self._to_come = deque(numbers)
        self._asked: deque[int] = deque()
        self._start()
        self._ask(_AHEAD)

    def _start(self) -> None:
        self._connection, other = multiprocessing.Pipe()
        arguments = self._readable, other, self._connection, self._pid
        self._process = multiprocessing.Process(target=_serve, args=arguments, daemon=True)
        self._process.start()
        other.close()  # so that it is closed as soon as the process has ended

    def _ask(self, ahead: int) -> None:
        while self._to_come and len(self._asked) < ahead:
            self._asked.append(self._to_come.popleft())
            with suppress(ConnectionError):  # the process has ended: `next` finds out what it left
                self._connection.send(self._asked[-1])

    def next(self) -> SegmentedRecording | DataError | None:
        """Return what `_Readable.sendable` does of the next recording."""
        for attempts_left in reversed(range(_ATTEMPTS)):
            try:
                found = self._connection.recv()
                self._asked.popleft()
                break
            except (EOFError, ConnectionError):
                self._to_come.extendleft(reversed(self._asked))
                self._asked.clear()
                if not attempts_left:
                    name = self._readable.recordings[self._to_come.popleft()].name
                    found = DataError(
                        f"{name}: the process that read it was killed, for want of memory or by a "
                        "damaged file that crashes its reader. Leave the recording out"
                    )
                self.stop()
                self._start()
                if attempts_left:
                    self._ask(1)  # alone, so that no other one can end the process in its place
        self._ask(_AHEAD)
        return found

    def stop(self) -> None:
        """End the process; of a copy in a forked process, which does not own it, nothing."""
        if os.getpid() != self._pid:
            return
        self._process.kill()
        self._process.join()
        self._connection.close()


def _serve(readable: _Readable, connection: Connection, other_end: Connection, parent: int) -> None:
    """Read recordings whose numbers are sent, as long as there is somebody who sends them."""
    other_end.close()  # open here too, it would hide that the parent has ended
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent is interrupted, and ends this process
    torch.set_num_threads(1)
    with suppress(EOFError, ConnectionError):  # nobody is left
        while os.getppid() == parent:
            if connection.poll(_LOOKS):
                connection.send(readable.sendable(connection.recv()))
