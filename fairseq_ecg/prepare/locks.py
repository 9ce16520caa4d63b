"""Locks between processes; the system lets go of them when a process ends, however it ends."""

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from fairseq_ecg.data.errors import DataError


@contextmanager
def locked(path: Path, wait: bool = True) -> Iterator[None]:
    """Hold the lock that belongs to a file or folder.

    Args:
        path: what is guarded. The lock is the file ``.<name>.lock`` beside it, which stays.
        wait: for another process to let go.

    Raises:
        DataError: another process has the lock, and ``wait`` is false.
    """
    path = path.absolute()
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path.with_name(f".{path.name}.lock"), "w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            raise DataError(
                f"{path}: another run is writing there. Wait for it to end, or end it"
            ) from None
        yield
