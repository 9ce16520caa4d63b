"""What archives have in common: where they were unpacked, their tables, names, and faults."""

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from fairseq_ecg.data.names import path_below
from fairseq_ecg.data.width import check_width
from fairseq_ecg.ecg import blocks
from fairseq_ecg.ecg.recording import DOUBTS
from fairseq_ecg.ecg.resampling import resample_by_spline
from fairseq_ecg.errors import DataError, as_data_error
from fairseq_ecg.formats import ECG, read_ecg
from fairseq_ecg.jobs.progress import progress_bar
from fairseq_ecg.limits import check_rate
from fairseq_ecg.prepare.sources.source import FAULT, Source

UNITS = "mv"
"""What fairseq_signals writes into the column ``units``; signals are converted to it."""

WGET = "physionet.org/files/*/*"
"""Where archives lie that were fetched by the command that PhysioNet names."""


def unpacked(raw_root: Path, marker: str) -> Path:
    """Find the folder that holds ``marker``: the one given, or the archive's own in it.

    Args:
        raw_root: folder that the user gives.
        marker: file or folder by which the archive is known.

    Returns:
        The folder of ``marker``; ``raw_root`` where there is none.

    Raises:
        DataError: ``raw_root`` is no folder, or holds several archives.
    """
    if not raw_root.is_dir():
        raise DataError(f"{raw_root}: no such folder. Give the folder of the archive")
    if (raw_root / marker).exists():
        return raw_root
    with os.scandir(raw_root) as entries:
        inside = [raw_root / entry.name for entry in entries if entry.is_dir()]
    found = sorted(path for path in (*inside, *raw_root.glob(WGET)) if (path / marker).exists())
    if len(found) > 1:
        names = ", ".join(str(path.relative_to(raw_root)) for path in found)
        raise DataError(f"{raw_root}: {marker} is in several folders ({names}). Give one of them")
    return found[0] if found else raw_root


def read_table(path: Path, columns: Sequence[str] = (), **options: Any) -> pd.DataFrame:
    """Read a CSV file of an archive.

    Args:
        path: the file, packed or not.
        columns: that it must have.
        options: of ``pandas.read_csv``.

    Returns:
        The table.

    Raises:
        DataError: there is no such file, it cannot be read, or lacks a column.
    """
    with _damage_of(path):
        table = pd.read_csv(path, **options)
    _require_columns(path, table, columns)
    return table


def read_pieces(
    path: Path, columns: Sequence[str] = (), *, rows: int, **options: Any
) -> Iterator[pd.DataFrame]:
    """Read a large CSV file of an archive as `read_table` does, ``rows`` of it at a time.

    Yields:
        The table in pieces, at least one; a progress bar shows how many rows were read.
    """
    with (
        _damage_of(path),
        progress_bar(None, path.name, " rows", show=True, unit_scale=True) as bar,
        pd.read_csv(path, chunksize=rows, **options) as pieces,
    ):
        for piece in pieces:
            _require_columns(path, piece, columns)
            yield piece
            bar.update(len(piece))


@contextmanager
def _damage_of(path: Path) -> Iterator[None]:
    """Turn what pandas fails with into a DataError."""
    if not path.is_file():
        raise DataError(f"{path}: no such file. It is part of the archive: download it")
    with as_data_error(f"{path}: not a readable table"):
        check_width(path)
        yield


def _require_columns(path: Path, table: pd.DataFrame, columns: Sequence[str]) -> None:
    missing = [column for column in columns if column not in table]
    if missing:
        raise DataError(
            f"{path}: no column {', '.join(missing)} (it has {', '.join(map(str, table))})"
        )


def natural(path: str) -> list[list[tuple[int, int, str]]]:
    """Key that sorts paths folder by folder, numbers in names as numbers: ``a2`` before ``a10``."""
    return [
        [
            (0, int(part), part) if part.isdecimal() else (1, 0, part)
            for part in re.findall(r"\d+|\D+", name)
        ]
        for name in path.split("/")
    ]


def files_below(folder: Path, suffixes: Sequence[str]) -> Iterator[str]:
    """Yield the files below a folder, also behind links, hidden ones left out, in no order.

    Args:
        folder: where to look.
        suffixes: ends of the names that count, in lower case.

    Yields:
        Paths relative to ``folder``.
    """
    for parent, folders, names in os.walk(folder, followlinks=True):
        folders[:] = [
            name for name in folders if not name.startswith(".") and not _leads_back(parent, name)
        ]
        for name in names:
            if name.lower().endswith(tuple(suffixes)) and not name.startswith("."):
                yield (Path(parent) / name).relative_to(folder).as_posix()


def _leads_back(parent: str, name: str) -> bool:
    """Whether a folder is a link to one that it is in."""
    path = os.path.join(parent, name)
    return os.path.islink(path) and Path(parent).resolve().is_relative_to(Path(path).resolve())


def file_names(paths: pd.Series, prefix: str = "", below: str = "") -> pd.Series:
    """Names of the ``.mat`` files of records.

    fairseq_signals takes away what all paths begin with, so that a name depends on which other
    records there are. Here that is fixed: it is what the paths of the whole archive begin with.

    Args:
        paths: of the records, relative to the archive, without extension.
        prefix: that all names get.
        below: what all paths of the whole archive begin with.

    Returns:
        For ``files/p1000/a b`` below ``files/``, ``p1000_a_b.mat`` with the prefix before it.
    """
    names = paths.str.removeprefix(below).str.replace(r"[/ ]", "_", regex=True)
    return prefix + names + ".mat"


def add_faults(records: pd.DataFrame, faults: Mapping[Any, str]) -> pd.DataFrame:
    """Mark records that cannot be used; `refuse_faulty` refuses them.

    Args:
        records: with a column ``save_file``.
        faults: why, by label of the row.

    Returns:
        The table, with column ``fault`` if there are any. Where such a record would have the file
        of another one, the name ends in ``_again1``, ``_again2`` and so on.
    """
    if not faults:
        return records
    again = records.groupby("save_file").cumcount()
    stems = records["save_file"].str.removesuffix(".mat")
    renamed = stems + "_again" + again.astype(str) + ".mat"
    faulty = pd.Series(faults, dtype=object).reindex(records.index)
    return records.assign(
        save_file=records["save_file"].mask((again > 0) & faulty.notna(), renamed), fault=faulty
    )


def refuse_faulty(record: Mapping[str, Any]) -> None:
    """Raise DataError if a record has a fault.

    Args:
        record: its row of the table of records.
    """
    if isinstance(record.get(FAULT), str):
        raise DataError(record[FAULT])


def read_record(record: Mapping[str, Any], path: Path, verify: bool) -> ECG:
    """Read a WFDB record of an archive.

    Args:
        record: its row of the table of records.
        path: of its header, with or without ``.hea``.
        verify: see ``read_ecg``.

    Returns:
        The recording with what its header says as ``metadata``.

    Raises:
        DataError: it has a fault, or cannot be read.
    """
    refuse_faulty(record)
    return read_ecg(path, format="wfdb", at_once=blocks.at_once(), verify=verify)


def patient_metadata(comments: Sequence[str]) -> dict[str, Any]:
    """Read age and sex of a header's comments, ``<age>: 60`` or ``Age: 60``.

    Args:
        comments: lines of them.

    Returns:
        ``age`` (years; the text, where it is no number) and ``sex`` (female 1, male 0), None where
        the comments lack it.
    """
    fields = [line.partition(":") for line in comments]
    values = {key.strip("<> ").lower(): value.strip() for key, _, value in fields}
    age = values.get("age") or None
    return {
        "age": int(age) if age is not None and age.isdecimal() else age,
        "sex": {"f": 1, "m": 0}.get(values.get("sex", "")[:1].lower()),
    }


def with_metadata(ecg: ECG, metadata: Mapping[str, Any]) -> ECG:
    """Replace what a recording is said to be, but not reasons to doubt it."""
    return replace(ecg, metadata={**metadata, **({DOUBTS: ecg.doubts} if ecg.doubts else {})})


def drop_empty_columns(meta: pd.DataFrame) -> pd.DataFrame:
    """Drop columns in which no record has a value (fairseq_signals does for WFDB sources)."""
    return meta if meta.empty else meta.dropna(axis="columns", how="all")


class TabledWFDBArchive(Source):
    """An archive of WFDB records whose tables say what the comments of the headers say."""

    def read(self, record: Mapping[str, Any]) -> ECG:
        """Read a record, without the comments of its header."""
        path = path_below(str(self.raw_root), record["path"], "a record", "the archive")
        ecg = read_record(record, self.raw_root / path, self.verify)
        return with_metadata(ecg, {"units": UNITS})

    def describe(self, meta: pd.DataFrame) -> pd.DataFrame:
        """Drop empty columns."""
        return drop_empty_columns(meta)


class SegmentedArchive(Source):
    """An archive of recordings of which files at one rate are made as its own program makes them.

    Args:
        raw_root: folder of the archive.
        sample_rate: of the files in Hz.
        resample: whether recordings of another rate are resampled, by `resample_by_spline`;
            without it they are skipped.

    Raises:
        DataError: there can be no such rate.
    """

    makes_segments = True

    def __init__(self, raw_root: Path, *, sample_rate: float, resample: bool):
        super().__init__(raw_root)
        if not sample_rate > 0:
            raise DataError(f"a sampling rate of {sample_rate} Hz: give one above 0")
        check_rate("--sample-rate", sample_rate)
        self.sample_rate = sample_rate
        self.resample = resample

    def fingerprint(self) -> dict[str, Any]:
        """See `Source.fingerprint`."""
        return {"sample_rate": self.sample_rate, "resample": self.resample}

    def at_rate(self, ecg: ECG) -> np.ndarray:
        """Return the samples of a recording at the rate of the files.

        Args:
            ecg: in memory.

        Returns:
            ``(n_leads, n_samples)`` in mV.

        Raises:
            DataError: the recording has another rate, or a sample without a value.
        """
        if ecg.sample_rate != self.sample_rate and not self.resample:
            raise DataError(
                f"{ecg.where}: skipped, it has {ecg.sample_rate:g} Hz and not the desired sampling "
                f"rate of {self.sample_rate:g} Hz. Give --resample to the step 'records'"
            )
        if not np.isfinite(ecg.signal).all():
            raise DataError(
                f"{ecg.where}: skipped for a nan value, a sample that the record says is missing. "
                "Download the record again, or leave it out"
            )
        return resample_by_spline(ecg.signal, ecg.sample_rate, self.sample_rate)
