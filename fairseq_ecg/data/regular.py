"""Refusing folders, pipes and devices where a file is to be read."""

import os
import stat

from fairseq_ecg.errors import DataError

_KINDS = (
    (stat.S_ISDIR, "folder"),
    (stat.S_ISFIFO, "named pipe"),
    (stat.S_ISSOCK, "socket"),
    (stat.S_ISCHR, "device"),
    (stat.S_ISBLK, "device"),
)


def require_file(path: str | os.PathLike) -> None:
    """Refuse what is no file before it is opened: a pipe waits for a writer.

    Args:
        path: of this machine.

    Raises:
        FileNotFoundError: nothing is there.
        DataError: a folder, pipe, socket or device is there.
    """
    mode = os.stat(path).st_mode
    for is_one, kind in _KINDS:
        if is_one(mode):
            raise DataError(f"{os.fspath(path)}: is a {kind}, not a file")
