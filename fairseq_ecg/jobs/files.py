"""Files that are either whole or absent, also after ``kill -9``.

``atomicwrites``, which did this, is no longer kept.
"""

import errno
import os
from collections.abc import Container, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

_PREFIX = ".unfinished-"

_ZEROS = bytes(2**20)

_NO_SPACE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


@contextmanager
def replacing(path: Path, *, durable: bool = False) -> Iterator[Path]:
    """Let the caller write beside ``path``, and rename the result to it at the end.

    Args:
        path: file to write; its folder is made where absent. A link is replaced, and not followed.
        durable: bring the content to the disk before the file gets its name, so that the name
            stands for all of it after a loss of power, too.

    Yields:
        The path to write to, where nothing is. Nothing is left of it when the caller fails. A full
        disk is an error that names ``path``, which it is not by itself.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = unfinished_path(path, os.getpid())
    try:
        unfinished.unlink(missing_ok=True)  # a link that lies there would be written through
        yield unfinished
        if durable:
            with open(unfinished, "rb") as file:
                os.fsync(file.fileno())
        os.replace(unfinished, path)
    except OSError as error:
        if error.filename is None and error.errno in _NO_SPACE:
            error.filename = str(path)
        raise
    finally:
        unfinished.unlink(missing_ok=True)


@contextmanager
def open_replacing(path: Path, mode: str = "w", **options: Any) -> Iterator[IO]:
    """Open the file that `replacing` lets the caller write.

    Args:
        path: file to write.
        mode: as of :func:`open`; text is UTF-8.
        options: of :func:`open`.
    """
    if "b" not in mode:
        options["encoding"] = "utf-8"
    with replacing(path) as unfinished, open(unfinished, mode, **options) as file:
        yield file


def write_file(path: Path, content: str | bytes, *, durable: bool = False) -> None:
    """Write a whole file as `replacing` does; text in UTF-8."""
    with replacing(path, durable=durable) as unfinished:
        unfinished.write_bytes(content.encode() if isinstance(content, str) else content)


def reserve(path: Path, n_bytes: int) -> None:
    """Make a file of zeros whose space on the disk is allocated, in place of what is there.

    What is written to it later cannot fail for want of space: in a memory map that would end the
    process, and not as an error.

    Args:
        path: of the file.
        n_bytes: its size.

    Raises:
        OSError: there is no space; names ``path``, and nothing is there.
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
        number = error.errno or errno.EIO
        raise OSError(number, os.strerror(number), str(path)) from error


def unfinished_path(path: Path, writer: object) -> Path:
    """Return where a file lies while it is written.

    Args:
        path: of the file once it is whole.
        writer: identifies its writer, without ``-``.
    """
    return path.with_name(f"{_PREFIX}{writer}-{path.name}")


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
