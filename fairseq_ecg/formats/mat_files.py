"""Taking matrices out of a ``.mat`` file: the ECG, to put it back later, or all that are long.

Their layout is described in `fairseq_ecg.data.mat_structure`.
"""

import io
import mmap
import struct
import zlib
from collections.abc import Iterator
from typing import Literal

import numpy as np
import scipy.io

from fairseq_ecg.data.mat_structure import COMPRESSED, HEADER_BYTES, MATRIX, byte_order
from fairseq_ecg.errors import damage_as_data_error
from fairseq_ecg.formats.chunks import StoredArray
from fairseq_ecg.formats.location import LocalFile
from fairseq_ecg.limits import check_unpacked

_NUMERIC_CLASSES = range(6, 16)
_COMPLEX, _LOGICAL = 0x0800, 0x0200
_TYPES = {
    **{1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4", 9: "f8", 12: "i8"},
    **{13: "u8"},
}
"""Types of numbers by their numbers."""
_BEGINNING = 512
"""Bytes of a matrix that hold all that comes before its numbers."""
_BYTES_AT_ONCE = 2**20


def part_long_matrices(
    file: LocalFile, where: str, longer_than: int
) -> tuple[bytes, dict[str, StoredArray]]:
    """Part the long matrices of numbers from the rest of a file.

    Args:
        file: of any level; of others than level 5 nothing is parted.
        where: names it in error messages.
        longer_than: bytes; shorter variables stay, as do those that are no real numbers.

    Returns:
        The file without them, and what they are by name. One that is compressed is unpacked into a
        temporary file.

    Raises:
        DataError: the file cannot be read.
    """
    with damage_as_data_error(where, ".mat file"), open(file.path, "rb") as opened:
        head = opened.read(HEADER_BYTES)
        order = byte_order(head)
        if order is None:
            return head + opened.read(), {}
        with mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_READ) as content:
            rest, stored = [head], {}
            for start, stop, is_compressed, name in _variables(content, order):
                matrix = None
                if stop <= len(content) and (is_compressed or stop - start > longer_than):
                    matrix = _stored(file, where, content, (start, stop), is_compressed, order)
                if matrix is None or matrix.dtype.itemsize * np.prod(matrix.shape) <= longer_than:
                    rest.append(content[start:stop])
                else:
                    stored[name] = matrix
            return b"".join(rest), stored


def without_variable(content: bytes, name: str) -> tuple[bytes, int, bool] | None:
    """Cut a variable out of a ``.mat`` file.

    Args:
        content: of the file.
        name: of the variable.

    Returns:
        The file without it, where it was, and whether it was compressed. None if the file is of
        another level, or has no such variable.
    """
    order = byte_order(content[:HEADER_BYTES])
    if order is None:
        return None
    for start, stop, is_compressed, found in _variables(content, order):
        if found == name:
            return content[:start] + content[stop:], start, is_compressed
    return None


def with_variable(
    content: bytes, name: str, value: np.ndarray, offset: int, is_compressed: bool
) -> bytes:
    """Undo `without_variable`, with a value of its own."""
    buffer = io.BytesIO()
    scipy.io.savemat(buffer, {name: value}, do_compression=is_compressed)
    return content[:offset] + buffer.getvalue()[HEADER_BYTES:] + content[offset:]


def _variables(content: bytes | mmap.mmap, order: str) -> Iterator[tuple[int, int, bool, str]]:
    """Start, end, compression and name of every variable."""
    start = HEADER_BYTES
    while start + 8 <= len(content):
        kind, n_bytes = struct.unpack_from(f"{order}II", content, start)
        stop = start + 8 + n_bytes
        if kind in (COMPRESSED, MATRIX):
            beginning = _beginning(content, start, stop, kind == COMPRESSED)
            yield start, stop, kind == COMPRESSED, _name(beginning, order)[0]
        start = stop


def _beginning(content: bytes | mmap.mmap, start: int, stop: int, is_compressed: bool) -> bytes:
    if not is_compressed:
        return content[start : min(stop, start + _BEGINNING)]
    packed = content[start + 8 : min(stop, start + 8 + 2 * _BEGINNING)]
    return zlib.decompressobj().decompress(packed, _BEGINNING)


def _name(matrix: bytes, order: str) -> tuple[str, int]:
    """Name of a variable, which comes after tag, flags and dimensions, and where it ends."""
    offset = 8 + 16
    (n_bytes,) = struct.unpack_from(f"{order}I", matrix, offset + 4)
    offset += 8 + -(-n_bytes // 8) * 8
    tag, n_bytes = struct.unpack_from(f"{order}II", matrix, offset)
    if tag >> 16:  # a short name lies in its tag
        return matrix[offset + 4 : offset + 4 + (tag >> 16)].decode("latin-1"), offset + 8
    name = matrix[offset + 8 : offset + 8 + n_bytes].decode("latin-1")
    return name, offset + 8 + -(-n_bytes // 8) * 8


def _stored(
    file: LocalFile,
    where: str,
    content: mmap.mmap,
    span: tuple[int, int],
    is_compressed: bool,
    order: Literal["<", ">"],
) -> StoredArray | None:
    """Refer to the numbers of a matrix; None if it does not hold real numbers alone."""
    start, stop = span
    beginning = _beginning(content, start, stop, is_compressed)
    (flags,) = struct.unpack_from(f"{order}I", beginning, 16)
    (n_bytes,) = struct.unpack_from(f"{order}I", beginning, 28)
    shape = struct.unpack_from(f"{order}{n_bytes // 4}i", beginning, 32)
    _, before = _name(beginning, order)
    kind, n_bytes = struct.unpack_from(f"{order}II", beginning, before)
    dtype = np.dtype(_TYPES.get(kind, "V")).newbyteorder(order)
    if (
        flags & 0xFF not in _NUMERIC_CLASSES
        or flags & (_COMPLEX | _LOGICAL)
        or n_bytes != np.prod(shape, dtype=np.int64) * dtype.itemsize
    ):
        return None
    if is_compressed:
        size = before + 8 + n_bytes
        check_unpacked(where, stop - start, size)
        file, start = LocalFile.copy_of(_Unpacked(content, start + 8, stop, size), "matrix"), 0

    def read(key: tuple[slice | int, ...]) -> np.ndarray:
        with damage_as_data_error(where, ".mat file"):
            numbers = np.memmap(file.path, dtype, "r", start + before + 8, shape, "F")
            return np.array(numbers[key])

    return StoredArray(read, shape, dtype)


class _Unpacked:
    """The first bytes of what is compressed in a part of a file, to be read once."""

    def __init__(self, content: mmap.mmap, start: int, stop: int, n_bytes: int):
        self._content, self._offset, self._stop, self._left = content, start, stop, n_bytes
        self._unpacking = zlib.decompressobj()

    def read(self, n_bytes: int) -> bytes:
        packed = self._unpacking.unconsumed_tail
        if not packed:
            stop = min(self._offset + _BYTES_AT_ONCE, self._stop)
            packed, self._offset = self._content[self._offset : stop], stop
        if not self._left:
            return b""
        unpacked = self._unpacking.decompress(packed, min(n_bytes, self._left))
        self._left -= len(unpacked)
        return unpacked
