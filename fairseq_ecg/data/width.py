"""How wide a table is, known before a parser makes columns of it."""

import bz2
import gzip
import lzma
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from fairseq_ecg.data.regular import require_file
from fairseq_ecg.limits import check_limit

_OPENERS: dict[str, Callable[..., Any]] = {".gz": gzip.open, ".bz2": bz2.open, ".xz": lzma.open}
_LINES = 3
"""That are counted: of a header that is shorter than the first rows pandas makes a wide index."""
_AT_ONCE = 2**20


def check_width(path: str | os.PathLike, separator: str = ",") -> None:
    """Compare the number of a table's columns with the limit.

    Args:
        path: text file of this machine, packed or not.
        separator: of its cells.

    Raises:
        FileNotFoundError: there is no such file.
        DataError: it has too many columns, or is no file.
    """
    require_file(path)
    with _OPENERS.get(Path(path).suffix.lower(), open)(path, "rb") as file:
        for _ in range(_LINES):
            n_columns, part = 1, b""
            while not part.endswith(b"\n") and (part := file.readline(_AT_ONCE)):
                n_columns += part.count(separator.encode())
            check_limit(os.fspath(path), "columns", n_columns)
