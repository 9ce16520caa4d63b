"""Recordings in whatever form a user has them."""

import os
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from fairseq_ecg.data.errors import DataError
from fairseq_ecg.data.leads import LEADS
from fairseq_ecg.formats import (
    ECG,
    FORMAT_OF_SUFFIX,
    ecg_from_array,
    read_ecg,
    standard_lead,
)

PATH = "path"
"""Column of a table that names the file of each recording."""

TABLES = (".csv", ".tsv", ".parquet")

IN_FOLDERS = tuple(set(FORMAT_OF_SUFFIX) - {".dat", ".txt"})
"""Extensions of files that are taken for recordings where only their folder is named. A WFDB record
is found by its header."""


@dataclass(frozen=True, eq=False)
class NamedRecording:
    """A recording that is read when it is its turn.

    Attributes:
        name: of the recording in tables: the path of a file as it was given, or the position of
            an array; one that is there again has a number behind it.
        read: reads it; raises DataError if it cannot be read.
    """

    name: str | int | None
    read: Callable[[], ECG]


@dataclass(frozen=True)
class Description:
    """What the user says about recordings whose form does not say it.

    Args:
        sample_rate: in Hz.
        leads: name of each row.
        units: of the samples.
        gain: counts of the converter per mV.
        format: of files, see :func:`fairseq_ecg.formats.read_ecg`.
    """

    sample_rate: float | None = None
    leads: Sequence[str] | None = None
    units: str | None = None
    gain: float | None = None
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
    recordings, seen = [], Counter()
    for number, recording in enumerate(_recordings_in(source, description)):
        name = number if recording.name is None else recording.name
        seen[name] += 1
        if seen[name] > 1:
            name = f"{name} ({seen[name]})"
        recordings.append(NamedRecording(name, recording.read))
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
        return read_ecg(
            path,
            format=description.format,
            leads=description.leads,
            sample_rate=description.sample_rate,
            units=description.units,
            gain=description.gain,
        )

    return NamedRecording(path, read)


def _files_in(folder: Path) -> Iterator[Path]:
    """Find the recordings in a folder; a WFDB record is its header."""
    files = sorted(
        path
        for path in folder.rglob("*")
        if path.name.lower().removesuffix(".gz").endswith(IN_FOLDERS) and path.is_file()
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
    array = np.asarray(source)
    if array.ndim == 3:
        yield from array
    else:
        yield array


def _ecg_of_array(array: np.ndarray, description: Description) -> ECG:
    """Name the rows of an array, turned upright if its leads are columns."""
    where = f"array of shape {array.shape}"
    if description.sample_rate is None:
        raise DataError(f"{where}: say its sampling rate, sample_rate=500 for instance")
    leads = LEADS if description.leads is None else description.leads
    unknown = [lead for lead in leads if standard_lead(lead) not in LEADS]
    if unknown:
        raise DataError(
            f"{where}: unknown lead {', '.join(unknown)}; the leads are {', '.join(LEADS)}"
        )
    units = description.units
    if units is None and description.gain is None:
        units = "mV"
    return ecg_from_array(
        array,
        leads=leads,
        sample_rate=description.sample_rate,
        units=units,
        gain=description.gain,
        where=where,
    )
