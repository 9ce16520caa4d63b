"""Anyone's own ECGs: a folder of files, a table that names them, or one array of all."""

import os
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass
from glob import glob
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import pandas as pd

from fairseq_ecg.data.names import plain_name, printable
from fairseq_ecg.data.tables import repetitions, require_columns
from fairseq_ecg.data.width import check_width
from fairseq_ecg.ecg import blocks
from fairseq_ecg.ecg.recording import DOUBTS
from fairseq_ecg.errors import DataError, as_data_error
from fairseq_ecg.formats import ECG, FORMAT_OF_SUFFIX, ecg_from_array, read_ecg
from fairseq_ecg.prepare.sources.archive import (
    add_faults,
    files_below,
    refuse_faulty,
    with_metadata,
)
from fairseq_ecg.prepare.sources.source import FAULT, FOUND, PATIENT, RESERVED, Source

PATH_COLUMNS = ("path", "record", "file", "filename")
"""Columns that may name the file, the first that there is."""

FILE = "file_"
"""Prefix of the columns that say what a file does not, and of what it says beside the table."""

READING = ("format", "leads", "sample_rate", "units", "gain")
"""What can be given of a file, for all or by a column of the table."""

ARRAY_ROW = "array_row"

BINARY = frozenset(("0", "1", "0.0", "1.0", "True", "False"))


@dataclass(eq=False)
class Generic(Source):
    """Files of any format of `fairseq_ecg.formats`.

    What a file does not say of its leads, rate and units is given, for all files or by a column of
    the table; ``<name>`` and ``<name>_column`` exclude each other.

    Args:
        raw_root: folder that paths are relative to.
        name: of the source, of its data set if no column says, and of the files made.
        table: CSV or Parquet file with a row for each record; relative to ``raw_root`` or to the
            current folder. Without one, the files below ``raw_root`` are taken.
        path_column: column of the table that names the file, relative to ``raw_root``, of a WFDB
            record with or without extension; by default the first of `PATH_COLUMNS`.
        patient_column: column that names the patient.
        dataset_column: column that names the data set.
        label_columns: columns of labels; by default those that hold nothing but 0 and 1 (or True
            and False).
        array: ``.npy`` file of shape ``(n_records, n_leads, n_samples)`` or
            ``(n_records, n_samples, n_leads)`` in place of files; row ``i`` of the table describes
            row ``i`` of the array.
        row_column: column that says the row of the array, from 0, if that is not so.
        pattern: of the files to take without a table, such as ``**/*.hea``.
        format: of the files, if neither content nor extension says it.
        leads: names of the leads in the files' order.
        sample_rate: in Hz.
        units: ``mV``, ``uV``, ``V``, ``nV`` or ``counts``.
        gain: counts of the converter per mV.
        format_column: column of the table that says the same.
        leads_column: column with names of leads, separated by commas, blanks or semicolons.
        sample_rate_column: column with the sampling rate in Hz.
        units_column: column with the unit.
        gain_column: column with the gain.
    """

    raw_root: Path
    _: KW_ONLY
    name: str = "generic"
    table: Path | str | None = None
    path_column: str | None = None
    patient_column: str | None = None
    dataset_column: str | None = None
    label_columns: Sequence[str] | None = None
    array: Path | str | None = None
    row_column: str | None = None
    pattern: str | None = None
    format: str | None = None
    leads: Sequence[str] | None = None
    sample_rate: float | None = None
    units: str | None = None
    gain: float | None = None
    format_column: str | None = None
    leads_column: str | None = None
    sample_rate_column: str | None = None
    units_column: str | None = None
    gain_column: str | None = None

    def __post_init__(self) -> None:
        self.given = {key: getattr(self, key) for key in READING}
        self.given["leads"] = ",".join(self.leads) if self.leads else None
        self.columns = {key: getattr(self, f"{key}_column") for key in READING}
        for key in READING:
            if self.given[key] is not None and self.columns[key] is not None:
                raise DataError(f"{key} is given, and the column {self.columns[key]!r} for it")
        needing = {"patient": self.patient_column, "dataset": self.dataset_column, **self.columns}
        for key, column in needing.items():
            if column is not None and self.table is None:
                raise DataError(f"column {column!r} for {key}: there is no table. Give one")

    def records(self) -> pd.DataFrame:
        """List the files.

        Returns:
            ``path``, ``save_file``, ``source``, ``dataset``, ``patient_id`` if a column names it,
            what was given of the files (``file_leads`` for instance), and the other columns of the
            table; those that are called as what is found in the signals get the prefix ``table_``.
            A record that the table lists again has a ``fault``.
        """
        if self.table is not None:
            table, where = self._read_table()
        elif self.array is not None:
            table, where = pd.DataFrame(index=range(len(self._open_array()))), ""
        else:
            table, where = self._files(), ""
        rows = {}
        if self.array is not None:
            paths = [str(self.array)] * len(table)
            rows[ARRAY_ROW] = self._array_rows(table, where)
        else:
            paths = [str(path) for path in table[self._path_column(table, where)]]
        found = {row: _fault_of_name(path) for row, path in zip(table.index, paths, strict=True)}
        faults = {row: fault for row, fault in found.items() if fault}
        paths = [
            printable(path) if fault else path
            for path, fault in zip(paths, found.values(), strict=True)
        ]
        suffix = [f"_{row}" for row in rows[ARRAY_ROW]] if rows else [""] * len(paths)
        records = {
            "path": paths,
            "save_file": [
                f"{self.name}_{_in_one_word(path, self.raw_root)}{end}.mat"
                for path, end in zip(paths, suffix, strict=True)
            ],
            "source": self.name,
            "dataset": self._column(table, self.dataset_column, where, self.name),
        }
        if self.patient_column:
            records[PATIENT] = self._column(table, self.patient_column, where, None)
        records |= rows
        for key in READING:
            if self.given[key] is not None or self.columns[key] is not None:
                records[FILE + key] = self._column(table, self.columns[key], where, self.given[key])
        used = {self.dataset_column, self.patient_column, self.row_column, *self.columns.values()}
        if self.array is None:
            used.add(self._path_column(table, where))
        others = table.drop(columns=[column for column in table if column in used])
        others = others.rename(columns=lambda name: _apart(name, (*records, FAULT)))
        listed = pd.concat([pd.DataFrame(records, index=table.index), others], axis=1)
        named_by = self.row_column if self.array is not None else self._path_column(table, where)
        if named_by:
            faults = repetitions(table, named_by, Path(where)) | faults
        return add_faults(listed, faults)

    def _files(self) -> pd.DataFrame:
        """Table of the files below the folder; a WFDB record is its header."""
        wanted = self.given["format"]
        if self.pattern is not None:
            found = glob(self.pattern, root_dir=self.raw_root, recursive=True)
        else:
            known = [suffix for suffix, name in FORMAT_OF_SUFFIX.items() if wanted in (None, name)]
            found = files_below(self.raw_root, [*known, *(f"{suffix}.gz" for suffix in known)])
        paths = []
        for path in sorted(map(PurePosixPath, found)):
            file, suffix = self.raw_root / path, path.suffix.lower()
            signals_of_header = suffix != ".hea" and file.with_suffix(".hea").is_file()
            if file.is_file() and suffix != ".dat" and not signals_of_header:
                paths.append(str(path))
        if not paths:
            raise DataError(
                f"{self.raw_root}: no file with an extension of {', '.join(FORMAT_OF_SUFFIX)}"
                + (f" that matches {self.pattern}" if self.pattern else "")
            )
        # As objects: text of pandas 3 holds no names that are not UTF-8.
        return pd.DataFrame({"path": pd.Series(paths, dtype=object)})

    def _read_table(self) -> tuple[pd.DataFrame, str]:
        path = self.raw_root / self.table
        if not path.is_file():
            path = Path(self.table)
        if not path.is_file():
            raise DataError(f"{path}: no such table, neither here nor in {self.raw_root}")
        with as_data_error(f"{path}: cannot be read as a table"):
            if path.suffix.lower() in (".parquet", ".pq"):
                table = pd.read_parquet(path)
                return table.reset_index(drop=table.index.name is None), str(path)
            check_width(path)
            table = pd.read_csv(path, dtype=str, keep_default_na=False, encoding="utf-8-sig")
            return table, str(path)

    def _path_column(self, table: pd.DataFrame, where: str) -> str:
        if self.path_column is not None:
            require_columns(where, [self.path_column], table)
            return self.path_column
        for column in PATH_COLUMNS:
            if column in table:
                return column
        raise DataError(
            f"{where}: no column {', '.join(PATH_COLUMNS)} (it has {', '.join(map(str, table))}). "
            "Say which one names the file (--path-column)"
        )

    def _column(
        self, table: pd.DataFrame, column: str | None, where: str, otherwise: Any
    ) -> pd.Series | Any:
        if column is None:
            return otherwise
        require_columns(where, [column], table)
        empty = table[column].isna() | (table[column].astype(str).str.strip() == "")
        if empty.any() and column in (self.patient_column, self.dataset_column):
            raise DataError(f"{where}, row {int(empty.to_numpy().argmax()) + 1}: no {column}")
        return table[column]

    def _open_array(self) -> np.ndarray:
        path = self.raw_root / self.array
        if not path.is_file():
            raise DataError(f"{path}: no such array")
        with as_data_error(f"{path}: is no .npy file of numbers"):
            array = np.load(path, mmap_mode="r")
        if array.ndim != 3:
            raise DataError(f"{path}: has shape {array.shape}, not (records, leads, samples)")
        return array

    def _array_rows(self, table: pd.DataFrame, where: str) -> np.ndarray:
        n_records = len(self._open_array())
        if self.row_column is None:
            if len(table) != n_records:
                raise DataError(
                    f"{where}: {len(table)} rows, but {self.array} holds {n_records} records. "
                    "Name the column that says the row of the array (--row-column)"
                )
            return np.arange(n_records)
        require_columns(where, [self.row_column], table)
        rows = pd.to_numeric(table[self.row_column], errors="coerce")
        wrong = ~(rows.ge(0) & rows.lt(n_records) & (rows % 1 == 0))
        if wrong.any():
            raise DataError(
                f"{where}, row {int(wrong.to_numpy().argmax()) + 1}: {self.row_column} is "
                f"{table[self.row_column][wrong].iloc[0]!r}, not a number from 0 to {n_records - 1}"
            )
        return rows.to_numpy(np.int64)

    def read(self, record: Mapping[str, Any]) -> ECG:
        """Read a file, or a row of the array."""
        refuse_faulty(record)
        given = {key: record.get(FILE + key) for key in READING}
        given = {key: value for key, value in given.items() if not pd.isna(value) and value != ""}
        if "leads" in given:
            given["leads"] = re.split(r"[,;\s]+", str(given["leads"]).strip())
        for key in ("sample_rate", "gain"):
            if key in given:
                given[key] = float(given[key])
        if ARRAY_ROW in record:
            row = int(record[ARRAY_ROW])
            where = f"{self.raw_root / record['path']}, row {row}"
            for key in ("leads", "sample_rate"):
                if key not in given:
                    raise DataError(f"{where}: an array does not say its {key}. Give it")
            given.pop("format", None)
            given["at_once"] = blocks.at_once()
            return ecg_from_array(self._open_array()[row], where=where, **given)
        ecg = read_ecg(
            self.raw_root / record["path"],
            at_once=blocks.at_once(),
            verify=self.verify,
            **given,
        )
        metadata = {
            _apart(key, record, FILE): value for key, value in ecg.metadata.items() if key != DOUBTS
        }
        return with_metadata(ecg, metadata)

    def labels(self, meta: pd.DataFrame) -> pd.DataFrame | None:
        """Return the label columns of the table."""
        if self.label_columns is not None:
            require_columns("the table of records", self.label_columns, meta)
            return meta[["idx", *self.label_columns]]
        last = list(meta).index("save_path")
        used = {"idx", "path", "save_file", "source", "dataset", PATIENT, ARRAY_ROW}
        columns = [
            column
            for column in list(meta)[:last]
            if column not in used
            and not column.startswith(FILE)
            and set(meta[column].astype(str)) <= BINARY
        ]
        return meta[["idx", *columns]] if columns else None


def _in_one_word(path: str, root: Path) -> str:
    """Return a path below the folder without extension, in one word."""
    if Path(path).is_relative_to(root):
        path = str(Path(path).relative_to(root))
    stem, suffix = os.path.splitext(path)
    return re.sub(
        r"[/\\\s]", "_", (stem if suffix.lower() in FORMAT_OF_SUFFIX else path).lstrip("/")
    )


def _fault_of_name(path: str) -> str | None:
    """Say why a file cannot be listed in a table, and give its name to another."""
    try:
        path.encode()
        for part in PurePosixPath(re.sub(r"[\\\s]", "_", path)).parts:
            if part not in ("/", ".."):
                plain_name(path, part, "a part of it")
    except (UnicodeEncodeError, DataError):
        return f"{printable(path)}: cannot be listed by this name. Rename the file"
    return None


def _apart(name: str, taken: Collection[str], prefix: str = "table_") -> str:
    """Return another name for a column that there is already."""
    return f"{prefix}{name}" if name in taken or name in RESERVED or FOUND.match(name) else name
