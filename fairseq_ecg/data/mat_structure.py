"""Checking a ``.mat`` file before SciPy reads it, which believes what damaged ones say.

It crashes on types that do not exist, and allocates whatever a matrix says that it holds.

The layout is that of "MAT-File Format" (MathWorks), level 5: a header of 128 bytes, then elements,
each a tag of type and length and its content; a matrix is made of elements. Files of other levels
are not looked at.
"""

import mmap
import struct
import zlib
from math import prod

HEADER_BYTES = 128
BYTE_ORDERS = {b"\0\1IM": "<", b"\1\0MI": ">"}
"""By how the header of level 5 ends, with its version."""

_TAG_BYTES = 8
_START_BYTES = 24
"""Of a matrix: its flags, and the tag of its dimensions."""
_INT32, _MATRIX, _COMPRESSED = 5, 14, 15
_SPARSE = 5
"""Class of matrices that hold fewer elements than they have."""
_TYPES = frozenset((*range(1, 8), 9, 12, 13, _MATRIX, _COMPRESSED, 16, 17, 18))


def check_structure(content: bytes | memoryview | mmap.mmap) -> None:
    """Look at every tag of a ``.mat`` file; its numbers are not read, unless they are compressed.

    Args:
        content: of the file.

    Raises:
        ValueError: An element is of a type that does not exist, or a matrix of more elements than
            it has bytes.
        zlib.error: What is compressed is damaged.
    """
    order = BYTE_ORDERS.get(bytes(content[124:HEADER_BYTES]))
    if order is None:
        return
    unpack_from = struct.Struct(f"{order}II").unpack_from
    unpack_start = struct.Struct(f"{order}6I").unpack_from
    place = HEADER_BYTES
    ends = [len(content)]  # of the matrices that are open
    while ends:
        if place + _TAG_BYTES > ends[-1]:
            place = max(place, ends.pop())
            continue
        kind, n_bytes = unpack_from(content, place)
        begin = place + _TAG_BYTES
        if kind >> 16:  # short: the content lies in the tag
            kind, n_bytes = kind & 0xFFFF, 0
        if kind not in _TYPES:
            raise ValueError(f"an element of type {kind} at byte {place}")
        if kind == _MATRIX:
            if n_bytes >= _START_BYTES and begin + _START_BYTES <= ends[-1]:
                *_, flags, _, dims_kind, dims_bytes = unpack_start(content, begin)
                dims = content[
                    begin + _START_BYTES : begin + min(_START_BYTES + dims_bytes, n_bytes)
                ]
                dims = struct.unpack(f"{order}{len(dims) // 4}I", dims[: len(dims) // 4 * 4])
                if dims_kind == _INT32 and flags & 0xFF != _SPARSE and prod(dims) > n_bytes:
                    raise ValueError(f"a matrix of {prod(dims)} elements in {n_bytes} bytes")
            ends.append(min(begin + n_bytes, ends[-1]))
            place = begin
        elif kind == _COMPRESSED:
            zlib.decompress(content[begin : begin + n_bytes])  # a checksum is at its end
            place = begin + n_bytes
        else:
            place = begin + n_bytes + -n_bytes % 8
