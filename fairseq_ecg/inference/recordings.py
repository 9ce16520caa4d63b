"""Recordings, however a user has them: arrays, files, folders, tables, manifests, stores."""

import logging
import os
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np
import torch

from fairseq_ecg.data.manifest import read_cmsc_manifest, read_manifest
from fairseq_ecg.data.names import printable
from fairseq_ecg.data.recording import read_mat
from fairseq_ecg.data.regular import require_file
from fairseq_ecg.data.segment_files import SEGMENT_FILE, recording_of_segment
from fairseq_ecg.data.sources.files import record_name
from fairseq_ecg.data.store import Store, is_store
from fairseq_ecg.data.store.layout import DESCRIPTION, is_url
from fairseq_ecg.data.width import check_width
from fairseq_ecg.ecg.lead_names import OTHER_LEADS, standard_leads
from fairseq_ecg.ecg.leads import LEADS
from fairseq_ecg.ecg.preprocessing import Preprocessing
from fairseq_ecg.errors import DataError, as_data_error, damage_as_data_error
from fairseq_ecg.formats import (
    ECG,
    FORMAT_OF_SUFFIX,
    ecg_from_array,
    read_ecg,
    standard_lead,
)
from fairseq_ecg.formats.channels import Given
from fairseq_ecg.formats.location import Location
from fairseq_ecg.inference.prepared import (
    PreparedFiles,
    PreparedInStore,
    is_prepared,
    is_segment,
    names_record,
    variables_of,
)
from fairseq_ecg.inference.segmented import SegmentedRecording
from fairseq_ecg.jobs.files import is_unfinished

if TYPE_CHECKING:
    import pandas as pd

logger = logging.getLogger(__name__)

PATH = "path"
"""Column of a table that names the file of each recording."""

TABLES = (".csv", ".tsv", ".parquet")

IN_FOLDERS = tuple(set(FORMAT_OF_SUFFIX) - {".dat", ".txt", ".xlsx"})
"""Extensions of files that are taken for recordings where only their folder is named. A WFDB record
is found by its header."""

_LONGEST_HEADER = 2**20
"""Characters of a line that can be the header of a table of paths."""


class Source(Protocol):
    """Where the samples of one recording come from.

    Attributes:
        files: that it is made of, as far as they lie on this machine.
    """

    files: Sequence[Path]

    def read(self) -> ECG:
        """Read the recording in mV, or as :meth:`PreparedInStore.read` says.

        Raises:
            DataError: it cannot be read.
        """

    def segmented(self, preprocessing: Preprocessing, **policies: str) -> SegmentedRecording:
        """Read the segments that a network with this preprocessing is given.

        Args:
            preprocessing: of the network.
            policies: see :meth:`Preprocessing.segments`.

        Raises:
            DataError: it cannot be read or used.
        """


@dataclass(frozen=True, eq=False)
class NamedRecording:
    """A recording that is read when it is its turn.

    Attributes:
        name: of the recording in tables: the path of a file as it was given, or the position of
            an array; one that is there again has a number behind it. What cannot be written or
            would steer a terminal is escaped (:func:`fairseq_ecg.data.names.printable`). The
            segments ``<recording>_<number>.mat`` of one recording have the name
            ``<recording>.mat``.
        source: reads it.
    """

    name: str | int | None
    source: Source

    def read(self) -> ECG:
        """Read the recording in mV, see :meth:`Source.read`.

        Raises:
            DataError: whatever fails.
        """
        with self._boundary():
            return self.source.read()

    def segmented(self, preprocessing: Preprocessing, **policies: str) -> SegmentedRecording:
        """Read the segments for a network, see :meth:`Source.segmented`.

        Raises:
            DataError: whatever fails, here or when the segments are gone through.
        """
        with self._boundary():
            found = self.source.segmented(preprocessing, **policies)
        return replace(found, segments=_Segments(self, found.segments))

    def _boundary(self) -> AbstractContextManager[None]:
        name = f"recording {self.name}" if isinstance(self.name, int) else self.name
        return as_data_error(f"{name}: cannot be read")


@dataclass(frozen=True, eq=False)
class _Segments:
    """Segments of a recording; whatever making one of them raises is its error."""

    recording: NamedRecording
    segments: Iterable[torch.Tensor]

    def __iter__(self) -> Iterator[torch.Tensor]:
        with self.recording._boundary():
            yield from self.segments


@dataclass(frozen=True)
class Description:
    """What the user says about recordings that do not say it themselves.

    Args:
        sample_rate: in Hz.
        leads: name of each row.
        units: of the samples.
        gain: counts of the converter per mV.
        format: of files, see :func:`fairseq_ecg.formats.read_ecg`.
        split: of stores, and of folders of manifests; None: a store as a whole, and no manifest.
        verify: refuse files that there is reason to doubt, see the same function.

    Raises:
        DataError: the rate is no positive number, or the leads are no list of names.
    """

    sample_rate: float | None = None
    leads: Sequence[str] | None = None
    units: str | None = None
    gain: float | None = None
    format: str | None = None
    split: str | None = None
    verify: bool = False

    def __post_init__(self) -> None:
        if self.leads is not None and not isinstance(self.leads, str):
            object.__setattr__(self, "leads", tuple(self.leads))
        Given(self.leads, self.sample_rate, self.units, self.gain)


@dataclass(frozen=True, eq=False)
class _InMillivolts:
    """A source that says what it holds in mV.

    Args:
        read: returns the recording.
        files: that it is made of.
    """

    read: Callable[[], ECG]
    files: Sequence[Path] = ()

    def segmented(self, preprocessing: Preprocessing, **policies: str) -> SegmentedRecording:
        return SegmentedRecording.of_ecg(self.read(), preprocessing, **policies)


def _given(ecg: ECG) -> ECG:
    return ecg


def _refused(error: DataError) -> ECG:
    raise error


def _read_array_file(path: str, row: int | None, description: Description) -> ECG:
    """Read an ``.npy`` file of one recording, or of ``(N, leads, samples)`` one, and no more."""
    require_file(path)
    with damage_as_data_error(path, ".npy file"):
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    if row is not None:
        array, path = array[row], f"{path}, recording {row}"
    return _ecg_of_array(np.array(array), description, path)


def _unusable(error: DataError) -> _InMillivolts:
    """Return what stands for something that was found where a recording should be."""
    return _InMillivolts(partial(_refused, error))


def _of_array(array: np.ndarray, description: Description) -> _InMillivolts:
    where = f"array of shape {array.shape}"
    return _InMillivolts(partial(_ecg_of_array, array, description, where))


def _measured(path: str, description: Description) -> _InMillivolts:
    """Return the source in a file that says what was measured."""
    given = {name: value for name, value in vars(description).items() if name != "split"}
    return _InMillivolts(partial(read_ecg, path, **given))


@dataclass(frozen=True, eq=False)
class _OfFile:
    """A file that is not opened before it is its turn."""

    path: str
    description: Description

    @property
    def files(self) -> Sequence[Path]:
        stem = os.path.splitext(self.path)[0]
        return sorted(
            {Path(f"{stem}{suffix}") for suffix in (".hea", ".dat", ".mat")} | {Path(self.path)}
        )

    def _found(self) -> Source:
        variables = variables_of(self.path)
        if is_prepared(variables):
            return PreparedFiles([self.path])
        path = self.path
        if names_record(variables):
            path = record_name(read_mat(path, path, required=("ecg_path",)), path)
        return _measured(path, self.description)

    def read(self) -> ECG:
        return self._found().read()

    def segmented(self, preprocessing: Preprocessing, **policies: str) -> SegmentedRecording:
        return self._found().segmented(preprocessing, **policies)


def recordings_in(source, description: Description) -> list[NamedRecording]:
    """List the recordings in whatever holds them.

    Args:
        source: an array of one recording or, with a third axis in front, of several of the same
            length; an :class:`ECG`; a DataFrame with a column for each lead; the path of a file
            that ``read_ecg`` reads, of an ``.npy`` file of one or several recordings, of a folder,
            of a manifest, of a store, or of a table (CSV, TSV, Parquet) with a column ``path``;
            such a table as DataFrame; what this function returned; or a list of any of these.
        description: what they do not say themselves.

    Returns:
        The recordings in order; those of a folder in the order of their paths. Nothing of their
        samples is read. Prepared segments are put together to recordings, which have the position
        of their first.

    Raises:
        DataError: nothing is there, or an array cannot be understood.
    """
    recordings, seen = [], Counter()
    for number, recording in enumerate(_grouped(_recordings_in(source, description))):
        name = number if recording.name is None else recording.name
        if isinstance(name, str):
            name = printable(name)
        seen[name] += 1
        if seen[name] > 1:
            name = f"{name} ({seen[name]})"
        recordings.append(NamedRecording(name, recording.source))
    if not recordings:
        raise DataError(f"no recordings in {source if isinstance(source, str | Path) else 'it'}")
    return recordings


def _grouped(recordings: Iterator[NamedRecording]) -> Iterator[NamedRecording]:
    """Put segments that lie in files of their own together to recordings.

    Whether files with numbers at their ends are segments, the first of a folder says.
    """
    found: dict[str | int, NamedRecording] = {}  # by the path of the whole, or by position
    members: dict[str | int, dict[int, str]] = {}
    of_segments: dict[str, bool] = {}
    for key, recording in enumerate(recordings):
        path = recording.source.path if isinstance(recording.source, _OfFile) else ""
        match, folder = SEGMENT_FILE.search(path), os.path.dirname(path)
        if match and folder not in of_segments:
            of_segments[folder] = is_segment(variables_of(path))
        if match and of_segments[folder]:
            whole, number = recording_of_segment(path), int(match[1])
            if number not in members.setdefault(whole, {}):
                members[whole][number] = path
                key = whole
        found.setdefault(key, recording)
    for key, recording in found.items():
        if key in members:
            numbers = sorted(members[key])
            source = PreparedFiles([members[key][number] for number in numbers], numbers)
            yield NamedRecording(recording_of_segment(str(recording.name)), source)
        else:
            yield recording


def _recordings_in(source, description: Description) -> Iterator[NamedRecording]:
    if isinstance(source, NamedRecording):
        yield source
    elif isinstance(source, ECG):
        yield NamedRecording(source.where, _InMillivolts(partial(_given, source)))
    elif isinstance(source, str | os.PathLike):
        yield from _at_path(os.fspath(source), description)
    elif is_frame(source):
        names = standard_leads([str(name) for name in source.columns])
        leads = [
            column for column, name in zip(source.columns, names, strict=True) if name in LEADS
        ]
        if leads and PATH not in source.columns:
            named = replace(description, leads=tuple(map(str, leads)))
            yield NamedRecording(None, _of_array(source[leads].to_numpy().T, named))
        else:
            yield from recordings_in_table(source, "the table", None, description)
    elif isinstance(source, list | tuple) and not _is_array(source):
        for item in source:
            yield from _recordings_in(item, description)
    else:
        for signal in _signals(source):
            yield NamedRecording(None, _of_array(signal, description))


def is_frame(source: object) -> bool:
    """Return whether something is a DataFrame, of which there are none without pandas."""
    pandas = sys.modules.get("pandas")
    return pandas is not None and isinstance(source, pandas.DataFrame)


def _is_array(items: Sequence) -> bool:
    """Return whether a list is an array written out, and not one of recordings."""
    while isinstance(items, list | tuple) and items:
        items = items[0]
    return isinstance(items, int | float)


def _at_path(path: str, description: Description) -> Iterator[NamedRecording]:
    if os.path.isdir(path):
        if is_store(path):
            yield from _in_store(path, description)
        elif description.split is not None:
            yield from _in_manifest(os.path.join(path, f"{description.split}.tsv"), description)
        else:
            files = _files_in(Path(path))
            if not files:
                raise DataError(f"no recordings in the folder {path}")
            for file in files:
                yield from _in_file(str(file), description)
    elif is_url(path) and Location.of(f"{path.rstrip('/')}/{DESCRIPTION}").exists():
        yield from _in_store(path, description)
    elif description.split is not None:
        raise DataError(f"{path}: is no store and no folder of manifests, it has no splits")
    else:
        yield from _in_file(path, description)


def _in_file(path: str, description: Description) -> Iterator[NamedRecording]:
    """Yield what a file lists, or the recording in it; what is neither is an error in its turn."""
    try:
        with as_data_error(f"{path}: cannot be read"):
            yield from _listed_in(path, description)
    except DataError as error:
        yield NamedRecording(path, _unusable(error))


def _listed_in(path: str, description: Description) -> Iterator[NamedRecording]:
    lower = path.lower()
    is_there = os.path.exists(path)
    if is_there:
        require_file(path)
    if lower.endswith(".tsv") and _is_manifest(path):
        yield from _in_manifest(path, description)
        return
    if lower.endswith(TABLES) and is_there:
        table = read_table(path)
        if table is not None:
            yield from recordings_in_table(table, path, os.path.dirname(path), description)
            return
    shape = _shape(path) if lower.endswith(".npy") else ()
    if not shape:
        yield NamedRecording(path, _OfFile(path, description))
        return
    for row in range(shape[0]) if len(shape) > 2 and 0 not in shape else [None]:
        name = path if row is None else f"{path}[{row}]"
        read = partial(_read_array_file, path, row, description)
        yield NamedRecording(name, _InMillivolts(read, (Path(path),)))


def _shape(path: str) -> tuple[int, ...]:
    """Return the shape of an ``.npy`` file on this machine; of none axes if it cannot be read."""
    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)
        return array.shape if array.dtype.itemsize else ()
    except Exception:  # the error comes when the recording is read
        return ()


def _first_lines(path: str) -> list[list[str]]:
    """Return the first three lines of a table, as far as they are there, in columns."""
    try:
        with open(path, encoding="utf-8-sig") as file:
            lines = [file.readline(_LONGEST_HEADER) for _ in range(3)]
    except (OSError, UnicodeDecodeError):
        return []
    return [line.rstrip("\n").split("\t") for line in lines if line]


def _is_cmsc(rows: Sequence[Sequence[str]]) -> bool:
    return [len(row) for row in rows] == [1, 4]


def _is_manifest(path: str) -> bool:
    header, *rows = _first_lines(path) or [[]]
    if PATH in header:
        return False
    if _is_cmsc(rows) or not rows or not rows[0][1:2] or not rows[0][1].isdecimal():
        return _is_cmsc(rows)
    has_root = len([cell for cell in header if cell]) == 1  # and not the names of leads
    return len(rows[0]) == 2 or (len(rows[0]) == 3 and has_root and rows[0][2].isdecimal())


def _in_manifest(path: str, description: Description) -> Iterator[NamedRecording]:
    """Yield every segment of a manifest by itself; of a CMSC manifest, those of its pairs."""
    # Prepared files, and the records that they name, say everything themselves.
    description = Description(verify=description.verify)
    is_cmsc = _is_cmsc(_first_lines(path)[1:])
    manifest = read_cmsc_manifest(path) if is_cmsc else read_manifest(path)
    for index in range(len(manifest)):
        for name in manifest.names(index):
            yield NamedRecording(name, _OfFile(os.path.join(manifest.root, name), description))


def _in_store(path: str, description: Description) -> Iterator[NamedRecording]:
    store = Store(path, description.verify)
    segments = store.segments(description.split)
    rows_of: dict[str, dict[int, int]] = {}
    for row, name in enumerate(segments.paths.to_pylist()):
        match = SEGMENT_FILE.search(name)
        recording = recording_of_segment(name) if match else name
        # A file that several splits list has a row for each; one of them will do.
        rows_of.setdefault(recording, {}).setdefault(int(match[1]) if match else 0, row)
    for name, numbered in rows_of.items():
        numbers = sorted(numbered)
        rows = np.array([numbered[number] for number in numbers])
        yield NamedRecording(name, PreparedInStore(store, segments, rows, numbers))


def _files_in(folder: Path) -> list[Path]:
    """Find the recordings in a folder; a WFDB record is its header."""
    found = [
        path
        for path in folder.rglob("*")
        if path.name.lower().removesuffix(".gz").endswith(IN_FOLDERS) and path.is_file()
    ]
    files = sorted(path for path in found if not is_unfinished(path.name))
    if len(files) < len(found):
        logger.warning(
            "%s: %d files are left out that a run which was ended left there (.unfinished-*); "
            "remove them",
            *(folder, len(found) - len(files)),
        )
    headers = {path.with_suffix("") for path in files if path.suffix.lower() == ".hea"}
    return [
        path
        for path in files
        if path.suffix.lower() == ".hea" or path.with_suffix("") not in headers
    ]


def read_table(path: str) -> "pd.DataFrame | None":
    """Read a table of paths; None if it has no column of paths and so is a recording itself.

    Raises:
        DataError: it is damaged, or too wide.
    """
    import pandas as pd

    with damage_as_data_error(path, "table"):
        if path.lower().endswith(".parquet"):
            return pd.read_parquet(path)
        separator = "\t" if path.lower().endswith(".tsv") else ","
        with open(path, encoding="utf-8-sig", errors="replace") as file:
            lines = iter(lambda: file.readline(_LONGEST_HEADER), "")
            header = next((line for line in lines if line.strip()), "")
        if PATH not in [cell.strip(' "\r\n') for cell in header.split(separator)]:
            return None
        check_width(path, separator)
        return pd.read_csv(path, sep=separator)


def recordings_in_table(
    table: "pd.DataFrame",
    where: str,
    folder: str | None,
    description: Description,
    column: str = PATH,
) -> Iterator[NamedRecording]:
    """Yield the recording of every row.

    Args:
        table: of paths.
        where: names it in messages.
        folder: of the table, where paths start that are not absolute; None: it is from no file.
        description: what the recordings do not say themselves.
        column: of the paths.

    Raises:
        DataError: there is no such column, or no row.
    """
    if column not in table.columns:
        raise DataError(
            f"{where}: no column {column!r} (it has {', '.join(map(str, table.columns))}). Name "
            "the file of each recording there"
        )
    if table.empty:
        raise DataError(f"{where}: no recordings, the table has no rows")
    for row, path in enumerate(table[column], start=1):
        line = f"{where}, row {row}"
        if not isinstance(path, str | os.PathLike) or not os.fspath(path):
            yield NamedRecording(line, _unusable(DataError(f"{line}: no path")))
        elif folder is not None and is_url(path):
            fault = (
                f"{line}: {path} is a URL, which is not fetched for a table that names it. Name "
                "URLs in the command, or give the table as a DataFrame"
            )
            yield NamedRecording(path, _unusable(DataError(fault)))
        else:
            path = os.fspath(path)
            yield NamedRecording(path, _OfFile(os.path.join(folder or "", path), description))


def _signals(source) -> Iterator[np.ndarray]:
    """Yield the recordings of an array, of a tensor or of nested lists."""
    if hasattr(source, "detach"):
        source = source.detach().cpu().float().numpy()
    if isinstance(source, np.ma.MaskedArray):
        source = source.astype(np.float64).filled(np.nan)
    try:
        array = np.asarray(source)
    except ValueError as error:  # rows of different lengths
        raise DataError("no array of numbers with rows of one length") from error
    if array.ndim == 3:
        yield from array
    else:
        yield array


def _ecg_of_array(array: np.ndarray, description: Description, where: str) -> ECG:
    """Name the rows of an array, turned upright if its leads are columns."""
    if description.sample_rate is None:
        raise DataError(f"{where}: say its sampling rate, sample_rate=500 for instance")
    leads = LEADS if description.leads is None else description.leads
    unknown = [
        lead
        for lead in dict.fromkeys(leads)
        if (name := standard_lead(lead)) not in LEADS and name.upper() not in OTHER_LEADS
    ]
    if unknown:
        raise DataError(
            f"{where}: unknown lead {', '.join(unknown)}; the leads are {', '.join(LEADS)}"
        )
    units = description.units
    if units is None and description.gain is None:
        units = "mV"
    scale = {"units": units, "gain": description.gain}
    rate = description.sample_rate
    return ecg_from_array(array, leads=leads, sample_rate=rate, **scale, where=where)
