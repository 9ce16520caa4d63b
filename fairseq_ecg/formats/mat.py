"""MATLAB files: those of fairseq_signals, those of PhysioNet challenges, and any other."""

import io
from collections.abc import Iterator
from typing import Any, BinaryIO

import numpy as np

from fairseq_ecg.data.recording import read_mat as read_variables
from fairseq_ecg.errors import DataError
from fairseq_ecg.formats.channels import Given, ParsedRecord
from fairseq_ecg.formats.chunks import StoredArray
from fairseq_ecg.formats.hdf5 import (
    SIGNATURE,
    DataSet,
    address,
    check_data_set,
    is_data_set,
    objects,
    open_hdf5,
    stored_data_set,
)
from fairseq_ecg.formats.location import LocalFile, Location
from fairseq_ecg.formats.mat_files import part_long_matrices
from fairseq_ecg.formats.variables import DESCRIBES, Path, parse_variables
from fairseq_ecg.formats.wfdb import read_wfdb
from fairseq_ecg.limits import check_limit

_IN_ITSELF = object()
"""In place of what is read from a cell meanwhile."""
_USER_BLOCK = 512
"""Bytes before the HDF5 file that MATLAB 7.3 writes."""


def read_mat(location: Location, given: Given, at_once: int | None = None) -> ParsedRecord:
    """Read a ``.mat`` file of any version.

    Fields of structs are variables as well. Challenge records (a variable ``val``, and a WFDB
    header beside the file) are read as WFDB.
    """
    where = str(location)
    header = location.beside(f"{location.stem}.hea")
    local = None if at_once is None else location.local()
    with location.open() as file:
        if SIGNATURE in file.read(_USER_BLOCK + len(SIGNATURE)):
            file.seek(0)
            with open_hdf5(file, where, "MATLAB 7.3 file") as mat:
                if "val" in mat and header.exists():
                    return read_wfdb(header, given, at_once)
                variables = _Version73(where, mat, local, at_once or 0).variables()
                return parse_variables(where, dict(variables), given)
        stored: dict[str, StoredArray] = {}
        stream: BinaryIO = file
        stream.seek(0)
        if local is not None:
            rest, stored = part_long_matrices(local, where, at_once or 0)
            stream = io.BytesIO(rest)
        read = read_variables(
            stream, where, required=(), optional=None, remedy="Get or write it again"
        )
    loaded = {name: read[name] for name in read if not name.startswith("__")} | stored
    if "val" in loaded and header.exists():
        return read_wfdb(header, given, at_once)
    return parse_variables(where, dict(_fields(where, (), loaded)), given)


def _fields(where: str, path: Path, values: dict[str, Any]) -> Iterator[tuple[Path, Any]]:
    """Path and value of each variable, those in structs included."""
    check_limit(where, "nesting", len(path))
    for name, value in values.items():
        names = getattr(value, "dtype", np.dtype(float)).names
        if names and value.size == 1:
            fields = value.item()
            yield from _fields(where, (*path, name), dict(zip(names, fields, strict=True)))
        else:
            yield (*path, name), value


class _Version73:
    """Variables of a MATLAB 7.3 file, an HDF5 file with the axes reversed.

    Args:
        where: names the file in error messages.
        mat: the open file.
        local: the file itself, of which data sets longer than ``at_once`` become lazy arrays.
        at_once: in samples.
    """

    def __init__(self, where: str, mat: Any, local: LocalFile | None, at_once: int):
        self._where, self._mat, self._local, self._at_once = where, mat, local, at_once
        self._cells: dict[int, Any] = {}

    def variables(self) -> Iterator[tuple[Path, Any]]:
        """Path and value of each variable, those in structs included, as `_fields` has them."""
        for path, item in objects(self._where, self._mat):
            if not is_data_set(item) or path[0].startswith("#"):  # what cells refer to
                continue
            if self._local is not None and max(item.shape or (0,)) > self._at_once:
                yield path, stored_data_set(self._local, item, self._where).T
            else:
                yield path, self._value(item, path[-1].lower() in DESCRIBES)

    def _value(self, item: Any, is_asked_for: bool, depth: int = 0) -> Any:
        """Return numbers in MATLAB's shape, texts, or a list of what a cell array holds."""
        kind = item.attrs.get("MATLAB_class", b"")
        if not is_asked_for or kind not in (b"char", b"cell"):
            return DataSet(item, self._where, is_reversed=True)
        if item.attrs.get("MATLAB_empty"):
            return []
        check_data_set(item, self._where)
        check_limit(self._where, "columns", item.size)
        if kind == b"char":
            letters = np.atleast_2d(np.asarray(item).T)
            return ["".join(map(chr, row)) for row in letters]
        return [self._held(reference, depth + 1) for reference in np.asarray(item).ravel()]

    def _held(self, reference: Any, depth: int) -> Any:
        """Return what a cell holds. Many may hold the same, and damaged ones themselves."""
        check_limit(self._where, "nesting", depth)
        item = self._mat[reference]
        key = address(item)
        if key not in self._cells:
            check_limit(self._where, "objects", len(self._cells))
            self._cells[key] = _IN_ITSELF
            self._cells[key] = self._value(item, True, depth)
        if self._cells[key] is _IN_ITSELF:
            raise DataError(f"{self._where}: has a cell array that holds itself. Write it again")
        return self._cells[key]
