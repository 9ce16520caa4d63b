"""Files that are either whole or absent."""

import errno
import os
from collections.abc import Container, Iterator
from contextlib import contextmanager
from pathlib import Path

_PREFIX = ".unfinished-"

_ZEROS = bytes(2**20)

_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Let the caller write beside ``path``, and put the result in its place at the end.

    Args:
        path: file to write; its folder is made where absent.

    Yields:
        The path to write to, where nothing is. Nothing is left of it when the caller fails. A full
        disk is an error that names ``path``, which it is not by itself.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f"{_PREFIX}{os.getpid()}-{path.name}")
    try:
        unfinished.unlink(missing_ok=True)  # a link that lies there would be written through
        yield unfinished
        os.replace(unfinished, path)
    except OSError as error:
        if error.filename is None and error.errno in _NO_ROOM:
            error.filename = str(path)
        raise
    finally:
        unfinished.unlink(missing_ok=True)


def reserve(path: Path, n_bytes: int) -> None:
    """Make a file of zeros that has its room on the disk, or put one in the place of a file.

    What is written to it later cannot fail for want of room: in a memory map that would end the
    process, and not as an error.

    Args:
        path: of the file.
        n_bytes: its size.

    Raises:
        OSError: there is no room; names ``path``, and nothing is there.
    """
    path.unlink(missing_ok=True)
    try:
        with open(path, "xb") as file:
            if hasattr(os, "posix_fallocate") and n_bytes:
                os.posix_fallocate(file.fileno(), 0, n_bytes)
            else:  # macOS has none
                for start in range(0, n_bytes, len(_ZEROS)):
                    file.write(_ZEROS[: n_bytes - start])
    except OSError as error:
        path.unlink(missing_ok=True)
        raise OSError(error.errno, os.strerror(error.errno), str(path)) from error


def is_unfinished(name: str) -> bool:
    """Whether a file has the name of one that is not whole, or was not when its writer ended."""
    return name.startswith(_PREFIX)


def remove_unfinished(*folders: Path, names: Container[str] | None = None) -> None:
    """Remove what processes left behind that were killed while they wrote.

    Args:
        folders: to look in, to which nobody else may be writing. They need not exist.
        names: of the files whose unfinished ones are removed, where others are written by others;
            None: of all.
    """
    for folder in folders:
        if folder.is_dir():
            with os.scandir(folder) as entries:
                unfinished = [
                    entry
                    for entry in entries
                    if is_unfinished(entry.name)
                    and (names is None or entry.name.split("-", 2)[-1] in names)
                ]
            for entry in unfinished:
                os.unlink(entry)
