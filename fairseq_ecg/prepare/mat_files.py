"""Taking the ECG out of a ``.mat`` file and putting it back, the rest of the file as it was."""

import io
import struct
import zlib
from collections.abc import Iterator

import numpy as np
import scipy.io

from fairseq_ecg.data.mat_structure import BYTE_ORDERS, HEADER_BYTES

_COMPRESSED, _MATRIX = 15, 14


def without_variable(content: bytes, name: str) -> tuple[bytes, int, bool] | None:
    """Cut a variable out of a ``.mat`` file.

    The layout is that of "MAT-File Format" (MathWorks), level 5: a header of 128 bytes, then the
    variables one after another, each a tag of type and length with its content, compressed or not.

    Args:
        content: of the file.
        name: of the variable.

    Returns:
        The file without it, where it was, and whether it was compressed. None if the file is of
        another level, or has no such variable.
    """
    order = BYTE_ORDERS.get(content[124:HEADER_BYTES])
    if order is None:
        return None
    for start, stop, is_compressed, found in _variables(content, order):
        if found == name:
            return content[:start] + content[stop:], start, is_compressed
    return None


def with_variable(
    content: bytes, name: str, value: np.ndarray, place: int, is_compressed: bool
) -> bytes:
    """Undo `without_variable`, with a value of its own."""
    buffer = io.BytesIO()
    scipy.io.savemat(buffer, {name: value}, do_compression=is_compressed)
    return content[:place] + buffer.getvalue()[HEADER_BYTES:] + content[place:]


def _variables(content: bytes, order: str) -> Iterator[tuple[int, int, bool, str]]:
    """Start, end, compression and name of every variable."""
    start = HEADER_BYTES
    while start + 8 <= len(content):
        kind, n_bytes = struct.unpack_from(f"{order}II", content, start)
        stop = start + 8 + n_bytes
        if kind == _COMPRESSED:
            beginning = zlib.decompressobj().decompress(content[start + 8 : stop], 512)
        else:
            beginning = content[start : start + 512]
        if kind in (_COMPRESSED, _MATRIX):
            yield start, stop, kind == _COMPRESSED, _name(beginning, order)
        start = stop


def _name(matrix: bytes, order: str) -> str:
    """Name of a variable: it comes after the tag, the flags and the dimensions."""
    place = 8 + 16
    (n_bytes,) = struct.unpack_from(f"{order}I", matrix, place + 4)
    place += 8 + -(-n_bytes // 8) * 8
    tag, n_bytes = struct.unpack_from(f"{order}II", matrix, place)
    if tag >> 16:  # a short name lies in its tag
        return matrix[place + 4 : place + 4 + (tag >> 16)].decode("latin-1")
    return matrix[place + 8 : place + 8 + n_bytes].decode("latin-1")
