"""Files that are either whole or absent."""

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_PREFIX = ".unfinished-"

_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Let the caller write beside ``path``, and put the result in its place at the end.

    Args:
        path: file to write; its folder is made where absent.

    Yields:
        The path to write to. Nothing is left of it when the caller fails. A full disk is an error
        that names ``path``, which it is not by itself.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f"{_PREFIX}{os.getpid()}-{path.name}")
    try:
        yield unfinished
        os.replace(unfinished, path)
    except OSError as error:
        if error.filename is None and error.errno in _NO_ROOM:
            error.filename = str(path)
        raise
    finally:
        unfinished.unlink(missing_ok=True)


def remove_unfinished(*folders: Path) -> None:
    """Remove what processes left behind that were killed while they wrote.

    Args:
        folders: to look in, to which nobody else may be writing. They need not exist.
    """
    for folder in folders:
        if folder.is_dir():
            with os.scandir(folder) as entries:
                unfinished = [entry for entry in entries if entry.name.startswith(_PREFIX)]
            for entry in unfinished:
                os.unlink(entry)
