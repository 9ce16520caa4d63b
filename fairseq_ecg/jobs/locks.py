"""Locks between processes; the system releases them when a process ends, however it ends.

Not ``filelock``: versions of it that PyTorch may have installed empty the file that they lock, and
follow links.
"""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from fairseq_ecg.errors import DataError


@contextmanager
def locked(path: Path, wait: bool = True, file: Path | None = None) -> Iterator[None]:
    """Hold the lock that belongs to a file or folder.

    Args:
        path: what is guarded.
        wait: for another process to release it.
        file: the lock, which stays, and whose content is left as it is; None: ``.<name>.lock``
            beside what is guarded.

    Raises:
        DataError: another process has the lock, and ``wait`` is false; or the lock is a symbolic
            link, which could lead anywhere.
    """
    path = path.absolute()
    file = file or path.with_name(f".{path.name}.lock")
    file.parent.mkdir(parents=True, exist_ok=True)
    if file.is_symlink():
        raise DataError(f"{file}: is a symbolic link, and no lock. Remove it")
    # Whatever is there by now: nothing that a link leads to is opened or emptied.
    descriptor = os.open(file, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o666)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            raise DataError(
                f"{path}: another run is writing there. Wait for it to end, or end it"
            ) from None
        yield
    finally:
        os.close(descriptor)
