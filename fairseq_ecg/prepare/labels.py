"""Label tables: what a user has, and the files that training reads.

``y.npy``, ``label_def.csv`` and ``pos_weight.txt`` are in the formats of fairseq_signals.
"""

import csv
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fairseq_ecg.data.errors import DataError
from fairseq_ecg.prepare.atomic import replacing

RECORD = "record"
"""Column that names the record, relative to the folder of records and without extension."""

VALUES = {"0": 0, "1": 1, "False": 0, "True": 1}


@dataclass(frozen=True, eq=False)
class LabelTable:
    """Labels of recordings; the position of a recording is its ``idx`` everywhere.

    Attributes:
        records: name of each recording.
        patients: patient of each recording.
        names: of the labels.
        values: ``(n_recordings, n_labels)`` of 0 and 1, int64.
    """

    records: tuple[str, ...]
    patients: tuple[str, ...]
    names: tuple[str, ...]
    values: np.ndarray


def read_labels(path: Path, patient_column: str) -> LabelTable:
    """Read a table of labels.

    Args:
        path: CSV file with a column ``record``, a column for the patient, and one column of 0 and 1
            (or False and True) for every label.
        patient_column: name of the patient's column.

    Returns:
        The table, in the order of the file.

    Raises:
        DataError: There is no such file, a column is missing, a record occurs twice, or a value is
            not 0 or 1.
    """
    with _open_table(path) as reader:
        _require_columns(path, reader, (RECORD, patient_column))
        names = tuple(name for name in reader.fieldnames if name not in (RECORD, patient_column))
        if not names:
            raise DataError(f"{path}: no column of a label")
        line_of: dict[str, int] = {}
        patients, values = [], []
        for row in reader:
            where = f"{path}, line {reader.line_num}"
            if None in row:
                raise DataError(f"{where}: has more values than there are columns")
            if row[RECORD] in line_of:
                raise DataError(
                    f"{where}: record {row[RECORD]} is already in line {line_of[row[RECORD]]}"
                )
            if not row[patient_column]:
                raise DataError(f"{where}: no patient")
            line_of[row[RECORD]] = reader.line_num
            patients.append(row[patient_column])
            values.append([_value(row, name, where) for name in names])
    if not values:
        raise DataError(f"{path}: no recordings")
    return LabelTable(tuple(line_of), tuple(patients), names, np.array(values, dtype=np.int64))


def labels_of(recording: Path, path: Path, names: Sequence[str]) -> frozenset[str]:
    """Read the labels of one recording.

    Args:
        recording: its file, with or without extension; a record of the table is the end of it.
        path: CSV file as for ``read_labels``.
        names: columns of the labels to read.

    Returns:
        Those of ``names`` that hold.

    Raises:
        DataError: There is no such file, column or record, or a value is not 0 or 1.
    """
    stem = recording.with_suffix("") if recording.suffix in (".hea", ".mat") else recording
    parts = stem.absolute().parts
    with _open_table(path) as reader:
        _require_columns(path, reader, (RECORD, *names))
        for row in reader:
            record = Path(row[RECORD]).parts
            if parts[-len(record) :] == record:
                where = f"{path}, line {reader.line_num}"
                return frozenset(name for name in names if _value(row, name, where))
    raise DataError(f"{path}: no line for {recording}")


@contextmanager
def _open_table(path: Path) -> Iterator[csv.DictReader]:
    """Open a CSV file with a header for reading; DataError if it is not there."""
    if not path.is_file():
        raise DataError(f"{path}: no such file")
    with open(path, newline="", encoding="utf-8-sig") as file:
        yield csv.DictReader(file, restval="")


def _require_columns(path: Path, reader: csv.DictReader, columns: Sequence[str]) -> None:
    found = reader.fieldnames or []
    for column in columns:
        if column not in found:
            raise DataError(f"{path}: no column {column!r} (it has {', '.join(found)})")


def _value(row: dict[str, str], name: str, where: str) -> int:
    try:
        return VALUES[row[name].strip()]
    except KeyError:
        raise DataError(
            f"{where}: {name!r} is {row[name]!r}; a label is 0 or 1, remove other columns"
        ) from None


def write_labels(table: LabelTable, splits: Sequence[str | None], folder: Path) -> None:
    """Write ``y.npy``, ``label_def.csv`` and ``pos_weight.txt``.

    Args:
        table: the labels.
        splits: of each recording; None where it is in none and not to be counted.
        folder: to write them to.
    """
    with replacing(folder / "y.npy") as path, open(path, "wb") as file:
        np.save(file, table.values.astype(np.float64))
    rows = label_definition(table, splits)
    with (
        replacing(folder / "label_def.csv") as path,
        open(path, "w", newline="", encoding="utf-8") as file,
    ):
        writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    weights = ",".join(str(round(row["pos_weight_train"], 6)) for row in rows)
    with replacing(folder / "pos_weight.txt") as path:
        path.write_text(f"[{weights}]", encoding="utf-8")


def label_definition(table: LabelTable, splits: Sequence[str | None]) -> list[dict]:
    """Count how often each label holds.

    Args:
        table: the labels.
        splits: of each recording; None where it is not to be counted.

    Returns:
        For each label its ``name``, then for every split (in the order of the alphabet) the number
        ``pos_count_*`` and the fraction ``pos_percent_*`` of recordings where it holds, and
        ``pos_weight_*`` = (1 - p) / p, infinite for p = 0; count and fraction for ``all``.
    """
    of_split = np.array([split or "" for split in splits])
    names = sorted(set(of_split) - {""})
    members = {split: table.values[of_split == split] for split in names}
    members["all"] = table.values[of_split != ""]
    rows = []
    for i, label in enumerate(table.names):
        counts = {split: int(values[:, i].sum()) for split, values in members.items()}
        fractions = {split: counts[split] / len(values) for split, values in members.items()}
        row: dict = {"name": label}
        row |= {f"pos_count_{split}": counts[split] for split in names}
        row |= {f"pos_percent_{split}": fractions[split] for split in names}
        row |= {f"pos_weight_{split}": _odds_against(fractions[split]) for split in names}
        row |= {"pos_count_all": counts["all"], "pos_percent_all": fractions["all"]}
        rows.append(row)
    return rows


def _odds_against(fraction: float) -> float:
    return (1 - fraction) / fraction if fraction else float("inf")
