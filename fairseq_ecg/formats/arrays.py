"""Arrays: in memory, in a cell of a table, in ``.npy`` files."""

import math
import os
from collections.abc import Sequence
from typing import Any, BinaryIO

import numpy as np

from fairseq_ecg.ecg.recording import ECG
from fairseq_ecg.errors import DataError, as_data_error, damage_as_data_error
from fairseq_ecg.formats.channels import Channel, Given, ParsedRecord, to_ecg
from fairseq_ecg.formats.chunks import StoredArray
from fairseq_ecg.formats.location import LocalFile, Location
from fairseq_ecg.limits import check_limit

_NAME_THEM = (
    "Give leads, the names of its leads in their order ('I', 'II', ... for the standard one)"
)


def ecg_from_array(
    values: Any,
    *,
    leads: Sequence[str],
    sample_rate: float,
    units: str | Sequence[str] | None = None,
    gain: float | Sequence[float] | None = None,
    where: str = "array",
    at_once: int | None = None,
) -> ECG:
    """Make an ECG of numbers in memory.

    Args:
        values: ``(n_leads, n_samples)`` or ``(n_samples, n_leads)`` real, ``(n_samples,)`` of one
            lead, or nested sequences of that shape, such as a cell of a Parquet table; the number
            of ``leads`` says which.
        leads: their names, in order.
        sample_rate: in Hz.
        units: of the values (``mV``, ``uV``, ``V``, ``nV``, ``counts``), of all leads or of each.
        gain: counts per mV, of all leads or of each.
        where: names the array in error messages.
        at_once: as in `read_ecg`: of a longer one, a map of a file for instance, ``signal`` is
            made of ``values`` as it is asked for.

    Returns:
        The ECG in mV.

    Raises:
        DataError: the values are no ECG with these leads, or neither units nor gain are given.
    """
    given = Given(leads, sample_rate, units, gain)
    with as_data_error(f"{where}: cannot be read"):
        rows = as_rows(values, len(leads), where)
        return to_ecg(where, ParsedRecord([Channel(row) for row in rows]), given, at_once)


def as_rows(values: Any, n_leads: int | None, where: str) -> np.ndarray | StoredArray:
    """Turn an array so that rows are leads.

    Args:
        values: array, `StoredArray` or nested sequences, with any number of axes of length 1 in
            front.
        n_leads: number of leads; None where it is unknown.
        where: names the file in error messages.

    Returns:
        ``(n_leads, n_samples)`` real; of what is stored, stored.

    Raises:
        DataError: it is not clear which axis is which, or there is no such array.
    """
    shape = getattr(values, "shape", ())
    if 0 in shape:
        raise DataError(f"{where}: holds no signals, its shape is {shape}")
    if sum(length > 1 for length in shape) > 2:  # before a data set of HDF5 is read
        raise DataError(_several(where, shape))
    array = _as_array(values, where)
    if array.ndim != 2:
        raise DataError(_several(where, array.shape))
    if n_leads is None:
        raise DataError(f"{where}: has shape {array.shape} and no names of leads. {_NAME_THEM}")
    rows, columns = array.shape
    if rows == columns == n_leads:
        raise DataError(
            f"{where}: {rows} leads of {columns} samples or the other way round? Store more "
            "samples, or a format that names its leads"
        )
    if n_leads not in (rows, columns):
        raise DataError(
            f"{where}: has shape {array.shape}, but {n_leads} leads are named. {_NAME_THEM}"
        )
    return array if rows == n_leads else array.T


def _several(where: str, shape: tuple[int, ...]) -> str:
    return (
        f"{where}: has shape {shape}; one recording is (leads, samples). Give the recordings of a "
        "larger array one by one"
    )


def _as_array(values: Any, where: str) -> np.ndarray | StoredArray:
    """Return what is to be a matrix of real numbers, without axes of length 1 in front."""
    try:
        array = values if isinstance(values, StoredArray) else np.asarray(values)
        if isinstance(array, np.ndarray) and array.dtype == object:
            # Rows of a table's cell, or of MATLAB's, are arrays themselves.
            rows = array.ravel() if 1 in array.shape else array
            array = np.stack([np.squeeze(np.asarray(row, dtype=np.float64)) for row in rows])
    except DataError:
        raise
    except (TypeError, ValueError) as error:
        raise DataError(f"{where}: is no array of numbers with rows of one length") from error
    if array.dtype.kind not in "fiu":
        names = array.dtype.names
        kind = f"a table of {len(names)} columns" if names else f"{array.dtype}"
        raise DataError(f"{where}: holds {kind}, not real numbers")
    if isinstance(array, StoredArray):
        return array.as_matrix()
    while array.ndim > 2 and array.shape[0] == 1:
        array = array[0]
    return array[None] if array.ndim == 1 else array


def read_npy(location: Location, given: Given, at_once: int | None = None) -> ParsedRecord:
    """Read a ``.npy`` file; leads, rate and units must be given."""
    where = str(location)
    if at_once is None:
        with location.open() as file, damage_as_data_error(where, ".npy file"):
            check_npy(file, where, file.seek(0, os.SEEK_END))
            file.seek(0)
            array = np.load(file, allow_pickle=False)
    else:
        array = stored_npy(location.local(), where)
    return ParsedRecord([Channel(row) for row in as_rows(array, given.n_leads, where)])


def check_npy(file: BinaryIO, where: str, n_bytes: int) -> tuple[int, ...]:
    """Look at the header of a ``.npy`` file, before as much memory is taken as it says.

    Args:
        file: open for reading; only its header is read.
        where: names it in error messages.
        n_bytes: of the file.

    Returns:
        Shape of the array.

    Raises:
        ValueError: it is no such file, holds no array, or less than its header says.
        DataError: it says more than is plausible.
    """
    file.seek(0)
    version = np.lib.format.read_magic(file)
    header = np.lib.format.read_array_header_1_0
    if version != (1, 0):
        header = np.lib.format.read_array_header_2_0
    shape, _, dtype = header(file)
    if any(length < 0 for length in shape):
        raise ValueError(f"a shape of {shape}")
    size = math.prod(shape) * dtype.itemsize
    check_limit(where, "bytes", size)
    if not dtype.hasobject and size > n_bytes - file.tell():
        raise ValueError(f"{n_bytes - file.tell()} of {size} bytes of {shape} are there")
    return shape


def stored_npy(file: LocalFile, where: str) -> np.ndarray | StoredArray:
    """Open a ``.npy`` file without reading its numbers.

    Args:
        file: on this machine.
        where: names it in error messages.

    Returns:
        The array as it is stored; an array in memory where it is empty.

    Raises:
        DataError: it is no such file, or damaged.
    """
    with damage_as_data_error(where, ".npy file"), open(file.path, "rb") as opened:
        check_npy(opened, where, os.path.getsize(file.path))

    def mapped() -> np.ndarray:
        with damage_as_data_error(where, ".npy file"):
            return np.load(file.path, mmap_mode="r", allow_pickle=False)

    array = mapped()
    # Mapped anew for each part: what a map has shown stays in the process until it is closed.
    return StoredArray(lambda key: np.array(mapped()[key]), array.shape, array.dtype)
