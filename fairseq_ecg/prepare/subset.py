"""Smaller training sets, for experiments on how much data is needed."""

import shutil
from pathlib import Path

import pandas as pd

from fairseq_ecg.data.tables import read_table
from fairseq_ecg.errors import DataError
from fairseq_ecg.jobs.files import replacing
from fairseq_ecg.prepare.manifests import Lines, manifests_in, read_lines, segment_of, write_lines


def write_subset(
    manifest_dir: Path,
    fraction: float,
    save_dir: Path,
    *,
    seed: int = 1,
    meta_splits: Path | None = None,
    patient_column: str | None = None,
) -> dict[str, int]:
    """Write manifests with a part of the training recordings, each with all its segments.

    ``train.tsv``, plain or CMSC, becomes smaller; the other manifests are copied. Which recordings
    are drawn depends on the seed and on which there are, and a larger fraction holds a smaller one.

    Args:
        manifest_dir: folder of manifests, ``train.tsv`` among them.
        fraction: of the recordings (or patients) to keep, above 0 and at most 1.
        save_dir: folder to write to, which must not exist.
        seed: of the drawing.
        meta_splits: recordings with the column ``patient_column``; given with it, patients are
            drawn in place of recordings.
        patient_column: names the patient.

    Returns:
        The number of lines by the name of the manifest.

    Raises:
        DataError: The fraction is none, a manifest or table is not as it should be, or
            ``save_dir`` exists.
    """
    if not 0 < fraction <= 1:
        raise DataError(f"fraction {fraction}: give a number above 0 and at most 1")
    if (meta_splits is None) != (patient_column is None):
        raise DataError("to draw patients give both the table of recordings and its patient column")
    if save_dir.exists():
        raise DataError(f"{save_dir}: exists already. Remove it or choose another folder")
    paths = manifests_in(manifest_dir)
    train = read_lines(manifest_dir / "train.tsv")
    recordings = pd.Series(_recordings(train))
    units = recordings
    if meta_splits is not None:
        units = _patients_of(recordings, meta_splits, patient_column, train.path)
    distinct = pd.Series(sorted(units.unique()))
    drawn = distinct.sample(frac=fraction, random_state=seed)
    if drawn.empty:
        raise DataError(f"{train.path}: {fraction} of {len(distinct)} is none; choose more")
    counts = {}
    for path in paths:
        if path.name != "train.tsv":
            with replacing(save_dir / path.name) as copy:
                shutil.copyfile(path, copy)
            counts[path.stem] = len(read_lines(path).rows)
    kept = units.isin(drawn)
    rows = (row for row, is_kept in zip(train.rows, kept, strict=True) if is_kept)
    counts["train"] = write_lines(save_dir / "train.tsv", train.header, rows)
    return dict(sorted(counts.items()))


def _recordings(lines: Lines) -> list[str]:
    """Return the recording of each row, a path without segment number and extension."""
    if lines.is_cmsc:
        return [stem for stem, *_ in lines.columns(4)]
    return [segment_of(name, lines.path)[0] for name, _ in lines.columns(2)]


def _patients_of(
    recordings: pd.Series, meta_splits: Path, column: str, manifest: Path
) -> pd.Series:
    """Return the patient of each recording, which is known by the name of its file."""
    meta = read_table(meta_splits, ["save_file", column]).dropna()
    patients = dict(zip(meta["save_file"].str.removesuffix(".mat"), meta[column], strict=True))
    names = recordings.str.rpartition("/")[2]
    missing = names[~names.isin(patients)]
    if len(missing):
        raise DataError(f"{manifest}: {meta_splits} has no {column} for {missing.iloc[0]}.mat")
    return names.map(patients)
