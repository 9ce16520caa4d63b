"""Checking a ``.mat`` file before SciPy reads it, which trusts what damaged ones say.

It crashes on types that do not exist, and allocates whatever a matrix says that it holds.

The layout is that of "MAT-File Format" (MathWorks), level 5: a header of 128 bytes, then elements,
each a tag of type and length and its content; a matrix is made of elements. Level 4 has matrices
one after another, each behind its type and dimensions.
"""

import math
import mmap
import struct
import sys
import zlib
from array import array
from collections.abc import Sequence
from typing import Literal

import numpy as np

from fairseq_ecg.limits import check_limit, check_unpacked

HEADER_BYTES = 128

MATRIX, COMPRESSED = 14, 15
"""Types of elements that hold others."""

_INT32 = 5
_TYPES = frozenset((*range(1, 8), 9, 12, 13, MATRIX, 16, 17, 18))

_SPARSE = 5
"""Class of matrices that hold fewer elements than they have."""


_PADDING = 64
"""Bytes that may come behind a matrix in what is compressed."""

_LEVEL_4 = (8, 4, 4, 2, 2, 1)
"""Bytes of a number by its type in level 4."""


def byte_order(header: bytes) -> Literal["<", ">"] | None:
    """Return the byte order of a file of level 5, as SciPy does.

    Args:
        header: at least the first 128 bytes.

    Returns:
        ``<`` or ``>``; None where SciPy takes the file for one of another level, or for none.
    """
    if len(header) < HEADER_BYTES or 0 in header[:4]:
        return None
    version, mark = header[124:126], header[126:HEADER_BYTES]
    if version[1 if mark[:1] == b"I" else 0] != 1:
        return None
    return "<" if mark == b"IM" else ">"


def check_structure(content: bytes | mmap.mmap, where: str = ".mat file") -> None:
    """Look at every tag of a ``.mat`` file; its numbers are not read, unless they are compressed.

    Args:
        content: of the file.
        where: names it in error messages.

    Raises:
        ValueError: An element is of a type that does not exist, a matrix of more elements than it
            has bytes, or the file cut off.
        DataError: More comes out of what is compressed, or is nested deeper, than is plausible.
        zlib.error: What is compressed is damaged.
    """
    view = memoryview(content)
    order = byte_order(content[:HEADER_BYTES])
    if order is None:
        if 0 in content[:4]:
            _check_level_4(view)
        return
    unpack_from = struct.Struct(f"{order}II").unpack_from
    offset, n_unpacked = HEADER_BYTES, 0
    while offset + 8 <= len(view):
        kind, n_bytes = unpack_from(view, offset)
        body = view[offset + 8 : offset + 8 + n_bytes]
        if kind == COMPRESSED:
            unpacking = zlib.decompressobj()
            tag = unpacking.decompress(body, 8)
            kind, size = unpack_from(tag)
            n_unpacked += size
            check_unpacked(where, len(view), n_unpacked)
            body = memoryview(unpacking.decompress(unpacking.unconsumed_tail, size + _PADDING))
            if not unpacking.eof:  # where a checksum is
                raise ValueError(f"a compressed element that is cut off, or of over {size} bytes")
        if kind != MATRIX:
            raise ValueError(f"an element of type {kind} at byte {offset}")
        _check_matrix(_words(body, order), where)
        offset += 8 + n_bytes


def _check_level_4(view: memoryview) -> None:
    """Compare the dimensions of each matrix with the bytes that are left for it."""
    (kind,) = struct.unpack_from("<i", view) if len(view) >= 4 else (0,)
    order = "<" if 0 <= kind <= 5000 else ">"
    offset = 0
    while offset < len(view):
        if offset + 20 > len(view):
            raise ValueError("a matrix that is cut off")
        kind, n_rows, n_columns, is_complex, n_letters = struct.unpack_from(
            f"{order}5i", view, offset
        )
        n_bytes = kind // 10 % 10
        if min(n_rows, n_columns, n_letters) < 0 or n_bytes >= len(_LEVEL_4):
            raise ValueError(f"a matrix of type {kind} with {n_rows} x {n_columns} elements")
        offset += 20 + n_letters + _LEVEL_4[n_bytes] * n_rows * n_columns * (1 + (is_complex == 1))
        if offset > len(view):
            raise ValueError(f"a matrix of {n_rows} x {n_columns} elements that is cut off")


def _words(body: memoryview, order: str) -> Sequence[int]:
    """Return the content of a matrix, 32 bits at a time: indexing takes a tenth of unpacking."""
    words = body[: len(body) // 4 * 4].cast("I")
    if order == ("<" if sys.byteorder == "little" else ">"):
        return words
    swapped = array("I", words)
    swapped.byteswap()
    return swapped


def _check_matrix(words: Sequence[int], where: str) -> None:
    """Look at the elements of a matrix, and at those of the matrices in it, one after another."""
    _check_size(words, 0, len(words))
    ends = [len(words)]
    offset = 0
    while ends:
        if offset + 2 > ends[-1]:
            offset = max(offset, ends.pop())
            continue
        kind, n_words = words[offset], 2
        if kind >> 16:  # short: the content lies in the tag
            kind &= 0xFFFF
        elif kind == MATRIX:
            end = min(offset + 2 + (words[offset + 1] + 3) // 4, ends[-1])
            _check_size(words, offset + 2, end)
            ends.append(end)
            check_limit(where, "nesting", len(ends))
        else:
            n_words += (words[offset + 1] + 7) // 8 * 2
        if kind not in _TYPES:
            raise ValueError(f"an element of type {kind} in a matrix")
        offset += n_words


def _check_size(words: Sequence[int], offset: int, end: int) -> None:
    """Compare the dimensions of a matrix, which come after its flags, with its length."""
    if offset + 6 > end or words[offset + 4] != _INT32:
        return
    dimensions = words[offset + 6 : min(offset + 6 + words[offset + 5] // 4, end)]
    if words[offset + 2] & 0xFF == _SPARSE:
        _check_sparse(words, offset, end, dimensions)
        return
    n_elements = math.prod(dimensions)
    if n_elements > 4 * (end - offset):
        raise ValueError(f"a matrix of {n_elements} elements in {4 * (end - offset)} bytes")


def _check_sparse(words: Sequence[int], offset: int, end: int, dimensions: Sequence[int]) -> None:
    """Look at the indices of elements in a sparse matrix, which SciPy follows unseen."""
    contents: list[Sequence[int]] = []
    while len(contents) < 5 and offset + 2 <= end:  # flags, dimensions, name, rows, columns
        if words[offset] >> 16:
            contents.append(words[offset + 1 : offset + 1 + (words[offset] >> 18)])
            offset += 2
        else:
            n_words = words[offset + 1] // 4
            contents.append(words[offset + 2 : min(offset + 2 + n_words, end)])
            offset += 2 + (words[offset + 1] + 7) // 8 * 2
    if len(contents) < 5 or len(dimensions) != 2:
        raise ValueError("a sparse matrix that is cut off")
    rows, starts = (np.asarray(content, np.int64) for content in contents[3:])
    n_rows, n_columns = dimensions
    if (
        len(starts) != n_columns + 1
        or starts[0] != 0
        or (np.diff(starts) < 0).any()
        or starts[-1] > len(rows)
        or (rows[: starts[-1]] >= n_rows).any()
    ):
        raise ValueError("a sparse matrix with elements outside it")
