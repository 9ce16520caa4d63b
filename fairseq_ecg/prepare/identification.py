"""Manifests for the identification of patients by their ECGs."""

import random
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from fairseq_ecg.data.tables import columns_of
from fairseq_ecg.errors import DataError
from fairseq_ecg.prepare.manifests import (
    HEADERS,
    common_root,
    read_segments,
    segment_of,
    write_lines,
)

STRATEGIES = ("recordings", "files")


def write_identification_manifests(
    split_files: Sequence[Path],
    dest: Path,
    *,
    patient_column: str,
    strategy: str = "recordings",
    valid_fraction: float = 0.2,
    seed: int = 1,
    root: Path | None = None,
) -> dict[str, int]:
    """Write ``<dest>/identify/{train,valid_gallery,valid_probe}.tsv``.

    Rows are path, length and number of the patient, from 0 in training and from 0 in validation, in
    the order in which patients first occur.

    Args:
        split_files: tables of segments: ``path``, ``sample_size`` and ``patient_column``. Patients
            of different tables are different.
        dest: folder for the folder ``identify``.
        patient_column: names the patient.
        strategy: ``recordings``: each patient with two recordings or more is drawn for validation
            with the probability ``valid_fraction``: the first segment of the first recording goes
            to the gallery, that of the second to the probes. All segments of all others are for
            training, in the order of the tables.

            ``files``, as fairseq_signals does: each patient is drawn, the first file goes to the
            gallery, the second to the probes, whichever recordings they are of, and a patient who
            is drawn and has one file is in no manifest. All files of all others are for training,
            one patient after the other.
        valid_fraction: of the patients, from 0 to 1.
        seed: of the drawing, by NumPy's PCG64 or, of ``files``, Python's ``random``.
        root: what relative paths are relative to; the folder of their table if None.

    Returns:
        The number of patients by the name of the manifest.

    Raises:
        DataError: A table is missing or is not as it should be, or a file is no segment.
    """
    if strategy not in STRATEGIES:
        raise DataError(f"strategy {strategy!r}: choose one of {', '.join(STRATEGIES)}")
    if not 0 <= valid_fraction <= 1:
        raise DataError(f"fraction {valid_fraction}: give a number from 0 to 1")
    tables = []
    for number, path in enumerate(split_files):
        by_recording = strategy == "recordings"
        named = ["save_file"] if by_recording and "save_file" in columns_of(path) else []
        for part in read_segments([path], [patient_column, *named], root):
            patients = [(number, patient) for patient in part[patient_column]]
            part = part.assign(patient=patients)
            tables.append(_with_recordings(part, path) if by_recording else part)
    if not tables:
        raise DataError(f"{', '.join(map(str, split_files))}: no segments")
    table = pd.concat(tables, ignore_index=True)
    table["patient"], patients = pd.factorize(table["patient"])

    divide = _by_recordings if strategy == "recordings" else _by_files
    table, of_patient, drawn = divide(table, len(patients), valid_fraction, seed)
    several = of_patient.groupby("patient").size().sort_index().to_numpy() > 1
    in_valid = drawn & several
    in_train = ~in_valid if strategy == "recordings" else ~drawn

    position = of_patient.groupby("patient").cumcount()
    of_valid = in_valid[of_patient["patient"]]
    members = {
        "train": table[in_train[table["patient"]]],
        "valid_gallery": of_patient[of_valid & (position == 0)],
        "valid_probe": of_patient[of_valid & (position == 1)].sort_values("patient"),
    }
    number_of = np.where(in_valid, np.cumsum(in_valid), np.cumsum(in_train)) - 1
    common = common_root(table["path"])
    for name, rows in members.items():
        path = dest / "identify" / f"{name}.tsv"
        write_lines(path, [HEADERS["plain"](common)], _rows(rows, len(common), number_of))
    return {name: rows["patient"].nunique() for name, rows in members.items()}


def _with_recordings(part: pd.DataFrame, table: Path) -> pd.DataFrame:
    """Add the recording and the number of each segment; a file may be a recording of its own."""
    names = part["path"].str.rpartition("/")[2]
    is_whole = names == part["save_file"] if "save_file" in part else [False] * len(part)
    named = [
        (path, 0) if whole else segment_of(path, table)
        for path, whole in zip(part["path"], is_whole, strict=True)
    ]
    stems, segments = zip(*named, strict=True)
    return part.assign(stem=stems, segment=segments)


def _by_recordings(
    table: pd.DataFrame, n_patients: int, fraction: float, seed: int
) -> tuple[pd.DataFrame, pd.DataFrame, np.ndarray]:
    """Return the segments, the first one of each recording, and which patients are drawn."""
    first = table.sort_values("segment", kind="stable").drop_duplicates("stem").sort_index()
    return table, first, np.random.default_rng(seed).random(n_patients) < fraction


def _by_files(
    table: pd.DataFrame, n_patients: int, fraction: float, seed: int
) -> tuple[pd.DataFrame, pd.DataFrame, np.ndarray]:
    """Return the files, one patient after the other, all of them, and which patients are drawn."""
    state = random.Random(seed)
    drawn = np.array([state.random() <= fraction for _ in range(n_patients)])
    table = table.sort_values("patient", kind="stable")
    return table, table, drawn


def _rows(table: pd.DataFrame, start: int, number_of: np.ndarray) -> Iterable[str]:
    columns = (table["path"], table["sample_size"], number_of[table["patient"]])
    for path, n_samples, patient in zip(*columns, strict=True):
        yield f"{path[start:]}\t{n_samples}\t{patient}"
