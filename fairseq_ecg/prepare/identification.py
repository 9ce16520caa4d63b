"""Manifests for the identification of patients by their ECGs."""

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from fairseq_ecg.errors import DataError
from fairseq_ecg.prepare.manifests import (
    HEADERS,
    common_root,
    read_segments,
    segment_of,
    write_lines,
)


def write_identification_manifests(
    split_files: Sequence[Path],
    dest: Path,
    *,
    patient_column: str,
    valid_fraction: float = 0.2,
    seed: int = 1,
    root: Path | None = None,
) -> dict[str, int]:
    """Write ``<dest>/identify/{train,valid_gallery,valid_probe}.tsv``.

    Each patient with two recordings or more is drawn for validation with the probability
    ``valid_fraction``: the first segment of the first recording goes to the gallery, that of the
    second to the probes. All segments of all others are for training. Rows are path, length and
    number of the patient, from 0 in training and from 0 in validation, in the order in which
    patients first occur.

    Args:
        split_files: tables of segments: ``path``, ``sample_size`` and ``patient_column``. Patients
            of different tables are different.
        dest: folder for the folder ``identify``.
        patient_column: names the patient.
        valid_fraction: of the patients, from 0 to 1.
        seed: of the drawing.
        root: what relative paths are relative to; the folder of their table if None.

    Returns:
        The number of patients by the name of the manifest.

    Raises:
        DataError: A table is missing or is not as it should be, or a file is no segment.
    """
    if not 0 <= valid_fraction <= 1:
        raise DataError(f"fraction {valid_fraction}: give a number from 0 to 1")
    tables = []
    for number, table in enumerate(split_files):
        for part in read_segments([table], [patient_column], root):
            named = [segment_of(path, table) for path in part["path"]]
            stems, segments = zip(*named, strict=True)
            patients = [(number, patient) for patient in part[patient_column]]
            tables.append(part.assign(patient=patients, stem=stems, segment=segments))
    if not tables:
        raise DataError(f"{', '.join(map(str, split_files))}: no segments")
    table = pd.concat(tables, ignore_index=True)
    table["patient"], patients = pd.factorize(table["patient"])

    recordings = table.sort_values("segment", kind="stable").drop_duplicates("stem").sort_index()
    recordings["position"] = recordings.groupby("patient").cumcount()
    several = recordings.groupby("patient").size().sort_index().to_numpy() > 1
    drawn = np.random.default_rng(seed).random(len(patients)) < valid_fraction
    in_valid = drawn & several

    of_valid = recordings[in_valid[recordings["patient"]]]
    members = {
        "train": table[~in_valid[table["patient"]]],
        "valid_gallery": of_valid[of_valid["position"] == 0],
        "valid_probe": of_valid[of_valid["position"] == 1].sort_values("patient"),
    }
    number_of = np.where(in_valid, np.cumsum(in_valid), np.cumsum(~in_valid)) - 1
    common = common_root(table["path"])
    for name, rows in members.items():
        path = dest / "identify" / f"{name}.tsv"
        write_lines(path, [HEADERS["plain"](common)], _rows(rows, len(common), number_of))
    return {name: rows["patient"].nunique() for name, rows in members.items()}


def _rows(table: pd.DataFrame, start: int, number_of: np.ndarray) -> Iterable[str]:
    columns = (table["path"], table["sample_size"], number_of[table["patient"]])
    for path, n_samples, patient in zip(*columns, strict=True):
        yield f"{path[start:]}\t{n_samples}\t{patient}"
