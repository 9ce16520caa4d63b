"""Checking a ``.mat`` file before SciPy reads it, which believes what damaged ones say.

It crashes on types that do not exist, and allocates whatever a matrix says that it holds.

The layout is that of "MAT-File Format" (MathWorks), level 5: a header of 128 bytes, then elements,
each a tag of type and length and its content; a matrix is made of elements. Files of other levels
are not looked at.
"""

import mmap
import struct
import sys
import zlib
from array import array
from collections.abc import Sequence

HEADER_BYTES = 128
BYTE_ORDERS = {b"\0\1IM": "<", b"\1\0MI": ">"}
"""By how the header of level 5 ends, with its version."""

MATRIX, COMPRESSED = 14, 15
"""Types of elements that hold others."""

_INT32 = 5
_TYPES = frozenset((*range(1, 8), 9, 12, 13, MATRIX, 16, 17, 18))

_SPARSE = 5
"""Class of matrices that hold fewer elements than they have."""


def check_structure(content: bytes | mmap.mmap) -> None:
    """Look at every tag of a ``.mat`` file; its numbers are not read, unless they are compressed.

    Args:
        content: of the file.

    Raises:
        ValueError: An element is of a type that does not exist, or a matrix of more elements than
            it has bytes.
        zlib.error: What is compressed is damaged.
    """
    order = BYTE_ORDERS.get(content[124:HEADER_BYTES])
    if order is None:
        return
    view, unpack_from = memoryview(content), struct.Struct(f"{order}II").unpack_from
    place = HEADER_BYTES
    while place + 8 <= len(view):
        kind, n_bytes = unpack_from(view, place)
        body = view[place + 8 : place + 8 + n_bytes]
        if kind == COMPRESSED:
            zlib.decompress(body)  # a checksum is at its end
        elif kind == MATRIX:
            _check_matrix(_words(body, order))
        else:
            raise ValueError(f"an element of type {kind} at byte {place}")
        place += 8 + n_bytes


def _words(body: memoryview, order: str) -> Sequence[int]:
    """Return the content of a matrix, 32 bits at a time: indexing takes a tenth of unpacking."""
    words = body[: len(body) // 4 * 4].cast("I")
    if order == ("<" if sys.byteorder == "little" else ">"):
        return words
    swapped = array("I", words)
    swapped.byteswap()
    return swapped


def _check_matrix(words: Sequence[int]) -> None:
    """Look at the elements of a matrix, and at those of the matrices in it, one after another."""
    _check_size(words, 0, len(words))
    ends = [len(words)]
    place = 0
    while ends:
        if place + 2 > ends[-1]:
            place = max(place, ends.pop())
            continue
        kind, n_words = words[place], 2
        if kind >> 16:  # short: the content lies in the tag
            kind &= 0xFFFF
        elif kind == MATRIX:
            end = min(place + 2 + (words[place + 1] + 3) // 4, ends[-1])
            _check_size(words, place + 2, end)
            ends.append(end)
        else:
            n_words += (words[place + 1] + 7) // 8 * 2
        if kind not in _TYPES:
            raise ValueError(f"an element of type {kind} in a matrix")
        place += n_words


def _check_size(words: Sequence[int], place: int, end: int) -> None:
    """Compare the dimensions of a matrix, which come after its flags, with its length."""
    if place + 6 > end or words[place + 4] != _INT32 or words[place + 2] & 0xFF == _SPARSE:
        return
    n_elements = 1
    for i in range(place + 6, min(place + 6 + words[place + 5] // 4, end)):
        n_elements *= words[i]
    if n_elements > 4 * (end - place):
        raise ValueError(f"a matrix of {n_elements} elements in {4 * (end - place)} bytes")
