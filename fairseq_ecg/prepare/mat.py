"""Writing ``.mat`` files, the same bytes for the same content.

``scipy.io.savemat`` writes the time of day into the header and holds an array three times in
memory; what is written here is read in blocks and differs from its files in the header's text
alone (MATLAB 5.0 MAT-file format, MathWorks, "MAT-File Format").
"""

import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from fairseq_ecg.ecg.blocks import blocks_of
from fairseq_ecg.errors import DataError
from fairseq_ecg.jobs.files import open_replacing

DESCRIPTION = b"MATLAB 5.0 MAT-file"

# Class of an array and type of its elements, by dtype.
_LOGICAL = 0x0200
_CODES = {"<i8": (14, 12), "<f8": (6, 9), "<f4": (7, 7), "|b1": (9 | _LOGICAL, 2)}
_MATRIX, _INT8, _INT32, _UINT32, _UTF8 = 14, 1, 5, 6, 16
_TEXT = 4
_MOST_BYTES = 2**32 - 2**10  # with what stands before the numbers


def write_mat(path: Path, variables: Mapping[str, Any]) -> None:
    """Write a ``.mat`` file.

    Args:
        path: of the file, which is replaced where it exists.
        variables: numbers (which become int64 or float64 of shape (1, 1)), two-dimensional
            arrays of int64, float64, float32 or bool, and texts, one or a list of them (rows of
            characters, the shorter ones padded with blanks), by name; an array may be anything that
            has ``shape`` and ``dtype`` and yields columns by ``[:, start:stop]``.

    Raises:
        DataError: an array is larger than the format allows (4 GiB).
    """
    with open_replacing(path, "wb") as file:
        file.write(DESCRIPTION.ljust(116) + struct.pack("<8xH2s", 0x0100, b"IM"))
        for name, value in variables.items():
            if isinstance(value, str | list):
                _write_texts(file, name.encode(), [value] if isinstance(value, str) else value)
                continue
            array = value if hasattr(value, "dtype") and value.shape else _scalar(value)
            _write_array(file, name.encode(), array, path)


def _scalar(value: float) -> np.ndarray:
    return np.array([[value]], dtype=np.float64 if value != int(value) else np.int64)


def _write_array(file: BinaryIO, name: bytes, array: Any, path: Path) -> None:
    array_class, element_type = _CODES[np.dtype(array.dtype).newbyteorder("<").str]
    n_rows, n_columns = array.shape
    dtype = np.dtype(array.dtype).newbyteorder("<")
    n_bytes = n_rows * n_columns * dtype.itemsize
    if n_bytes > _MOST_BYTES:
        raise DataError(
            f"{path}: {n_rows} leads of {n_columns} samples are more than the 4 GiB that a .mat "
            "file can hold. Write segments only (--discard org,preprocessed)"
        )
    padding = _write_head(file, name, array_class, array.shape, element_type, n_bytes)
    for block in blocks_of(array):
        file.write(np.ascontiguousarray(block.T, dtype))
    file.write(padding)


def _write_texts(file: BinaryIO, name: bytes, texts: list[str]) -> None:
    """Write texts as rows of characters; none, or empty ones alone, are an array without rows."""
    width = max(map(len, texts), default=0)
    rows = [text.ljust(width) for text in texts] if width else []
    content = "".join(character for column in zip(*rows, strict=True) for character in column)
    encoded = content.encode()
    padding = _write_head(file, name, _TEXT, (len(rows), width), _UTF8, len(encoded))
    file.write(encoded + padding)


def _write_head(
    file: BinaryIO,
    name: bytes,
    array_class: int,
    shape: tuple[int, int],
    element_type: int,
    n_bytes: int,
) -> bytes:
    """Write what stands before the elements of an array; return what stands behind them."""
    head = struct.pack("<4I", _UINT32, 8, array_class, 0)
    head += struct.pack("<2I2i", _INT32, 8, *shape) + _element(_INT8, len(name)) + name
    head += bytes(-len(head) % 8) + _element(element_type, n_bytes)
    total = len(head) + n_bytes
    padding = bytes(-total % 8)
    file.write(struct.pack("<2I", _MATRIX, total + len(padding)) + head)
    return padding


def _element(element_type: int, n_bytes: int) -> bytes:
    """Tag of a data element; one of at most four bytes shares eight with its data."""
    return struct.pack("<2H" if n_bytes <= 4 else "<2I", element_type, n_bytes)
