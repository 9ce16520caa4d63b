"""Arrays: in memory, in a cell of a table, in ``.npy`` files."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from fairseq_ecg.data.errors import DataError, damage_as_data_error
from fairseq_ecg.formats.channels import Channel, Content, Given, to_ecg
from fairseq_ecg.formats.ecg import ECG
from fairseq_ecg.formats.location import Location

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
) -> ECG:
    """Make an ECG of numbers that somebody has in memory.

    Args:
        values: ``(n_leads, n_samples)`` or ``(n_samples, n_leads)`` real, ``(n_samples,)`` of one
            lead, or nested sequences of that shape, such as a cell of a Parquet table; the number
            of ``leads`` tells which.
        leads: their names, in order.
        sample_rate: in Hz.
        units: of the values (``mV``, ``uV``, ``V``, ``nV``, ``counts``), of all leads or of each.
        gain: counts per mV, of all leads or of each.
        where: names the array in error messages.

    Returns:
        The ECG in mV.

    Raises:
        DataError: the values are no ECG with these leads, or neither units nor gain are given.
    """
    given = Given(leads, sample_rate, units, gain)
    rows = as_rows(values, len(given.leads), where)
    return to_ecg(where, Content([Channel(row) for row in rows]), given)


def as_rows(values: Any, n_leads: int | None, where: str) -> np.ndarray:
    """Turn an array so that rows are leads.

    Args:
        values: array or nested sequences, with any number of axes of length 1 in front.
        n_leads: number of leads; None where nobody knows.
        where: names the file in error messages.

    Returns:
        ``(n_leads, n_samples)`` real.

    Raises:
        DataError: it cannot be told which axis is which, or there is no such array.
    """
    shape = getattr(values, "shape", ())
    if sum(length > 1 for length in shape) > 2:  # before a data set of HDF5 is read
        raise DataError(_several(where, shape))
    array = _as_array(values, where)
    while array.ndim > 2 and array.shape[0] == 1:
        array = array[0]
    if array.ndim == 1:
        array = array[None]
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


def _as_array(values: Any, where: str) -> np.ndarray:
    try:
        array = np.asarray(values)
        if array.dtype == object:  # rows of a table's cell that are arrays themselves
            array = np.stack([np.asarray(row, dtype=np.float64) for row in array])
    except (TypeError, ValueError) as error:
        raise DataError(f"{where}: is no array of numbers with rows of one length") from error
    if array.dtype.kind not in "fiu":
        raise DataError(f"{where}: holds {array.dtype}, not real numbers")
    return array


def read_npy(location: Location, given: Given) -> Content:
    """Read a ``.npy`` file; leads, rate and units must be given."""
    where = str(location)
    with location.open() as file, damage_as_data_error(where, ".npy file"):
        array = np.load(file, allow_pickle=False)
    n_leads = None if given.leads is None else len(given.leads)
    return Content([Channel(row) for row in as_rows(array, n_leads, where)])
