"""Tables of results as CSV, Parquet, JSON or NumPy arrays, written part by part."""

import csv
import json
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from fairseq_ecg.data.cells import as_cells, cell
from fairseq_ecg.errors import DataError
from fairseq_ecg.formats.stores import npy_header
from fairseq_ecg.inference.results import Table
from fairseq_ecg.jobs.files import open_replacing, replacing

if TYPE_CHECKING:
    import pandas as pd

CSV, TSV, PARQUET, JSON, NPY = ".csv", ".tsv", ".parquet", ".json", ".npy"

Tables = Callable[[], Iterator[Table]]
"""Yields the parts of a table, as often as it is called."""


def check_file_format(path: Path, *, arrays: bool) -> None:
    """Raise DataError where the extension is not one that can be written.

    Args:
        path: file to be written.
        arrays: whether ``.npy`` is one.
    """
    formats = [CSV, TSV, PARQUET, *([NPY] if arrays else []), JSON]
    if path.suffix.lower() not in formats:
        raise DataError(f"{path}: of no known format. Let its name end with {', '.join(formats)}")


def write_table(path: Path, tables: Tables, n_keys: int) -> list[Path]:
    """Write a table in the file format that the extension says.

    JSON is a list of objects, one for each row; a number that is NaN or infinite is null there.
    Texts of CSV and TSV are written by `fairseq_ecg.data.cells.cell`. As an array its values are
    float32 ``(rows, columns)``, and the columns that say what a row is go to ``<name>.rows.csv``
    beside it.

    Args:
        path: file to write.
        tables: the table in parts, at least one, all with the same columns.
        n_keys: how many of the first columns say what a row is.

    Returns:
        The files that were written.
    """
    suffix = path.suffix.lower()
    if suffix == NPY:
        rows = path.with_suffix(".rows.csv")
        _write_text(rows, (table.iloc[:, :n_keys] for table in _frames(tables())), ",")
        _write_array(path, lambda: (table.iloc[:, n_keys:] for table in _frames(tables())))
        return [path, rows]
    if suffix == PARQUET:
        _write_parquet(path, _frames(tables()))
    elif suffix == JSON:
        _write_json(path, _frames(tables()))
    else:
        _write_text(path, tables(), "\t" if suffix == TSV else ",")
    return [path]


def _frames(tables: Iterable[Table]) -> "Iterator[pd.DataFrame]":
    import pandas as pd

    return map(pd.DataFrame, tables)


def _write_text(path: Path, tables: Iterable[Table], separator: str) -> None:
    with open_replacing(path, newline="") as file:
        for number, table in enumerate(tables):
            if isinstance(table, Mapping):
                writer = csv.writer(file, delimiter=separator, lineterminator="\n")
                if not number:
                    writer.writerow(map(cell, table))
                writer.writerows(zip(*map(_texts, table.values()), strict=True))
                continue
            table = as_cells(table)
            table.to_csv(file, sep=separator, index=False, header=not number, lineterminator="\n")


def _texts(values: Sequence) -> Sequence[str]:
    """Write the values of a column as pandas does."""
    array = np.asarray(values)
    if array.dtype.kind in "OU":
        return [cell(value) for value in values]
    return np.where(array == array, array.astype(str), "")


def _write_parquet(path: Path, tables: "Iterable[pd.DataFrame]") -> None:
    import pyarrow as pa
    import pyarrow.parquet

    with replacing(path) as unfinished:
        writer = None
        try:
            for table in tables:
                part = pa.Table.from_pandas(table, preserve_index=False)
                if writer is None:
                    writer = pyarrow.parquet.ParquetWriter(unfinished, part.schema)
                writer.write_table(part.cast(writer.schema))
        finally:
            if writer is not None:
                writer.close()


def _write_json(path: Path, tables: "Iterable[pd.DataFrame]") -> None:
    with open_replacing(path, encoding="utf-8") as file:
        separator = "[\n"
        for table in tables:
            for row in table.to_dict("records"):
                values = {str(name): _plain(value) for name, value in row.items()}
                file.write(separator + json.dumps(values, ensure_ascii=False))
                separator = ",\n"
        file.write("[]\n" if separator == "[\n" else "\n]\n")


def _plain(value: Any) -> Any:
    """Return a cell as JSON has it."""
    value = value.item() if isinstance(value, np.generic) else value
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _write_array(path: Path, tables: "Callable[[], Iterator[pd.DataFrame]]") -> None:
    shapes = [table.shape for table in tables()]
    shape = (sum(rows for rows, _ in shapes), shapes[0][1])
    with open_replacing(path, "wb") as file:
        file.write(npy_header(shape, np.dtype(np.float32)))
        for table in tables():
            file.write(table.to_numpy(np.float32).tobytes())
