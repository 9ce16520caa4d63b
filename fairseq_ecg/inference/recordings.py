"""Recordings in whatever form a user has them."""

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from fairseq_ecg.data.errors import DataError
from fairseq_ecg.data.leads import LEADS
from fairseq_ecg.formats import ECG
from fairseq_ecg.formats.leads import standard_lead
from fairseq_ecg.formats.units import millivolts_per

PATH = "path"
"""Column of a table that names the file of each recording."""

TABLES = (".csv", ".tsv", ".parquet")


@dataclass(frozen=True, eq=False)
class NamedRecording:
    """A recording that is read when it is its turn.

    Attributes:
        name: of the recording in tables: the path of a file as it was given, or the position of
            an array.
        read: reads it; raises DataError if it cannot be read.
    """

    name: str | int
    read: Callable[[], ECG]


@dataclass(frozen=True)
class Description:
    """What the user says about recordings whose form does not say it.

    Args:
        sample_rate: in Hz.
        leads: name of each row.
        units: of the samples.
        format: of files, see :func:`fairseq_ecg.formats.read_ecg`.
    """

    sample_rate: float | None = None
    leads: Sequence[str] | None = None
    units: str | None = None
    format: str | None = None


def recordings_in(source, description: Description) -> list[NamedRecording]:
    """List the recordings in whatever holds them.

    Args:
        source: an array of one recording or, with a third axis in front, of several of the same
            length; an :class:`ECG`; the path of a file that ``read_ecg`` reads, of a folder, or of
            a table (CSV, TSV, Parquet) with a column ``path``; such a table as DataFrame; or a list
            of any of these.
        description: what they do not say themselves.

    Returns:
        The recordings in order; those of a folder in the order of their paths.

    Raises:
        DataError: nothing is there, or an array cannot be understood.
    """
    found = list(_recordings_in(source, description))
    recordings = [
        NamedRecording(number, recording.read) if recording.name is None else recording
        for number, recording in enumerate(found)
    ]
    if not recordings:
        raise DataError(f"no recordings in {source if isinstance(source, str | Path) else 'it'}")
    return recordings


def _recordings_in(source, description: Description) -> Iterator[NamedRecording]:
    if isinstance(source, ECG):
        yield NamedRecording(source.where, lambda: source)
    elif isinstance(source, str | os.PathLike):
        yield from _at_path(os.fspath(source), description)
    elif isinstance(source, pd.DataFrame):
        yield from _in_table(source, "the table", "", description)
    elif isinstance(source, list | tuple) and not _is_array(source):
        for item in source:
            yield from _recordings_in(item, description)
    else:
        for signal in _signals(source):
            yield NamedRecording(None, lambda signal=signal: _ecg_of_array(signal, description))


def _is_array(items: Sequence) -> bool:
    """Tell whether a list is an array written out, and not one of recordings."""
    while isinstance(items, list | tuple) and items:
        items = items[0]
    return isinstance(items, int | float)


def _at_path(path: str, description: Description) -> Iterator[NamedRecording]:
    if os.path.isdir(path):
        for file in _files_in(Path(path)):
            yield _file(str(file), description)
    elif path.lower().endswith(TABLES) and os.path.isfile(path):
        table = _read_table(path)
        if table is None:
            yield _file(path, description)
        else:
            yield from _in_table(table, path, os.path.dirname(path), description)
    else:
        yield _file(path, description)


def _file(path: str, description: Description) -> NamedRecording:
    def read() -> ECG:
        from fairseq_ecg.formats import read_ecg

        return read_ecg(
            path,
            format=description.format,
            leads=description.leads,
            sample_rate=description.sample_rate,
            units=description.units,
        )

    return NamedRecording(path, read)


def _files_in(folder: Path) -> Iterator[Path]:
    """Find the recordings in a folder; a WFDB record is its header."""
    from fairseq_ecg.formats import EXTENSIONS

    files = sorted(
        path
        for path in folder.rglob("*")
        if path.is_file() and path.name.lower().removesuffix(".gz").endswith(tuple(EXTENSIONS))
    )
    headers = {path.with_suffix("") for path in files if path.suffix.lower() == ".hea"}
    for path in files:
        if path.suffix.lower() == ".hea" or path.with_suffix("") not in headers:
            yield path


def _read_table(path: str) -> pd.DataFrame | None:
    """Read a table of paths; None if it has no column of paths and so is a recording itself."""
    if path.lower().endswith(".parquet"):
        return pd.read_parquet(path)
    separator = "\t" if path.lower().endswith(".tsv") else ","
    try:
        header = pd.read_csv(path, sep=separator, nrows=0).columns
        return pd.read_csv(path, sep=separator) if PATH in header else None
    except (pd.errors.ParserError, pd.errors.EmptyDataError, UnicodeDecodeError):
        return None


def _in_table(
    table: pd.DataFrame, where: str, folder: str, description: Description
) -> Iterator[NamedRecording]:
    """Yield the recording of every row; paths that are not absolute start at ``folder``."""
    if PATH not in table.columns:
        raise DataError(
            f"{where}: no column {PATH!r} (it has {', '.join(map(str, table.columns))}). Name the "
            "file of each recording there"
        )
    for row, path in enumerate(table[PATH]):
        if not isinstance(path, str | os.PathLike) or not os.fspath(path):
            raise DataError(f"{where}, row {row + 1}: no path")
        recording = _file(os.path.join(folder, path), description)
        yield NamedRecording(os.fspath(path), recording.read)


def _signals(source) -> Iterator[np.ndarray]:
    """Yield the recordings of an array, of a tensor or of nested lists."""
    if hasattr(source, "detach"):
        source = source.detach().cpu().float().numpy()
    try:
        array = np.asarray(source)
    except ValueError:  # rows of different length
        array = np.empty(0, dtype=object)
    if array.dtype.kind not in "fiu" or not 1 <= array.ndim <= 3:
        raise DataError(
            f"an array of {array.dtype} with {array.ndim} axes is no ECG. Give real numbers, "
            "(leads, samples) or (recordings, leads, samples), or a list of such arrays"
        )
    if array.ndim == 3:
        yield from array
    else:
        yield array.reshape(1, -1) if array.ndim == 1 else array


def _ecg_of_array(array: np.ndarray, description: Description) -> ECG:
    """Name the rows of an array, turned upright if its leads are columns."""
    where = f"array of shape {array.shape}"
    if description.sample_rate is None:
        raise DataError(f"{where}: say its sampling rate, sample_rate=500 for instance")
    leads = tuple(LEADS if description.leads is None else map(standard_lead, description.leads))
    if len(set(leads)) < len(leads):
        raise DataError(f"{where}: leads {', '.join(leads)} name one twice")
    unknown = [lead for lead in leads if lead not in LEADS]
    if unknown:
        raise DataError(
            f"{where}: unknown lead {', '.join(unknown)}; the leads are {', '.join(LEADS)}"
        )
    is_upright, is_turned = (size == len(leads) for size in array.shape)
    if is_upright and is_turned:
        raise DataError(f"{where}: leads cannot be told from samples; give more samples")
    if not is_upright and not is_turned:
        given = "the twelve standard ones" if description.leads is None else ", ".join(leads)
        raise DataError(
            f"{where}: no axis has as many leads as there are names ({given}). Name the leads of "
            "its rows by leads=['I', 'II', ...]"
        )
    factor = millivolts_per(description.units or "mV")
    if factor is None:
        raise DataError(f"units={description.units!r}: choose from mV, uV, nV and V")
    signal = array if is_upright else array.T
    if factor != 1.0 or signal.dtype.kind != "f":
        signal = signal * factor
    return ECG(where, signal, leads, float(description.sample_rate))
