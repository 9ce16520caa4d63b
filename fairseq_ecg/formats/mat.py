"""MATLAB files: those of fairseq_signals, those of PhysioNet challenges, and any other."""

import io
from typing import Any, BinaryIO

import numpy as np

from fairseq_ecg.data.errors import damage_as_data_error
from fairseq_ecg.data.recording import read_mat as read_variables
from fairseq_ecg.formats.channels import Content, Given
from fairseq_ecg.formats.hdf5 import SIGNATURE, stored_data_set
from fairseq_ecg.formats.location import LocalFile, Location
from fairseq_ecg.formats.mat_files import part_long_matrices
from fairseq_ecg.formats.stretches import StoredArray
from fairseq_ecg.formats.variables import content_of
from fairseq_ecg.formats.wfdb import read_wfdb

_USER_BLOCK = 512
"""Bytes before the HDF5 file that MATLAB 7.3 writes."""


def read_mat(location: Location, given: Given, at_once: int | None = None) -> Content:
    """Read a ``.mat`` file of any version.

    Challenge records (a variable ``val``, and a WFDB header beside the file) are read as WFDB.
    """
    where = str(location)
    local = None if at_once is None else location.local()
    with location.open() as file:
        if SIGNATURE in file.read(_USER_BLOCK + len(SIGNATURE)):
            file.seek(0)
            variables = _read_version_73(where, file, local, at_once or 0)
        else:
            stored: dict[str, StoredArray] = {}
            content: BinaryIO = file
            content.seek(0)
            if local is not None:
                rest, stored = part_long_matrices(local, where, at_once)
                content = io.BytesIO(rest)
            variables = read_variables(
                content, where, required=(), optional=None, remedy="Get or write it again"
            )
            variables |= stored
    variables = {name: value for name, value in variables.items() if not name.startswith("__")}
    header = location.beside(f"{location.stem}.hea")
    if "val" in variables and header.exists():
        return read_wfdb(header, given, at_once)
    return content_of(where, variables, given)


def _read_version_73(
    where: str, file: Any, local: LocalFile | None, at_once: int
) -> dict[str, Any]:
    """Read the variables of a MATLAB 7.3 file, an HDF5 file with the axes reversed."""
    import h5py

    with damage_as_data_error(where, "MATLAB 7.3 file"), h5py.File(file) as mat:
        variables = {}
        for name, variable in mat.items():
            if isinstance(variable, h5py.Dataset):
                is_long = local is not None and max(variable.shape or (0,)) > at_once
                variables[name] = (
                    stored_data_set(local, variable, where).T if is_long else _value(mat, variable)
                )
        return variables


def _value(mat: Any, variable: Any) -> Any:
    """Return numbers in MATLAB's shape, a text, or a list of what a cell array holds."""
    kind = variable.attrs.get("MATLAB_class", b"")
    if kind == b"char":
        return "".join(map(chr, np.asarray(variable).ravel()))
    if kind == b"cell":
        return [_value(mat, mat[reference]) for reference in np.asarray(variable).ravel()]
    return np.asarray(variable).T
