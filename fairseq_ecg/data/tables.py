"""The CSV tables that one step of the preparation hands to the next.

Cells are read as the text they are and written back as that text: a step changes no number that it
only passes on.
"""

import csv
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from fairseq_ecg.data.width import check_width
from fairseq_ecg.errors import DataError, as_data_error
from fairseq_ecg.jobs.files import open_replacing

ROWS_AT_ONCE = 50_000
"""Rows of a table that are in memory at once where it need not fit."""

TRUTH = {
    "true": True,
    "t": True,
    "1": True,
    "1.0": True,
    "false": False,
    "f": False,
    "0": False,
    "0.0": False,
}
"""What texts of a yes-or-no column mean, in lower case."""


def columns_of(path: Path) -> list[str]:
    """Read the names of a table's columns.

    Args:
        path: CSV file, possibly compressed.

    Returns:
        The names, in the order of the file.

    Raises:
        DataError: There is no such file, or it is no table.
    """
    return list(_read(path, nrows=0).columns)


def require_columns(table: Path | str, columns: Sequence[str], found: Sequence[str]) -> None:
    """Refuse a table that lacks a column.

    Args:
        table: its path, or what it is, for the message.
        columns: that are needed.
        found: that the table has.

    Raises:
        DataError: One of ``columns`` is not in ``found``.
    """
    for column in columns:
        if column not in found:
            raise DataError(f"{table}: no column {column!r} (it has {', '.join(map(str, found))})")


def read_table(path: Path, columns: Sequence[str]) -> pd.DataFrame:
    """Read columns of a table.

    Args:
        path: CSV file, possibly compressed.
        columns: to read, each once.

    Returns:
        These columns in this order, as text; NaN where a cell is empty or says that it has no
        value.

    Raises:
        DataError: There is no such file, it is no table, or it lacks a column.
    """
    require_columns(path, columns, columns_of(path))
    return _read(path, usecols=list(columns), dtype=str)[list(columns)]


def read_in_parts(
    path: Path, columns: Sequence[str] | None = None, *, typed: bool = False
) -> Iterator[pd.DataFrame]:
    """Read a table that need not fit in memory.

    Args:
        path: CSV file, possibly compressed.
        columns: to read, each once; all if None.
        typed: give numbers and truth values as such, and empty cells as NaN, in place of text.
            Rows with more values than there are columns are then found whatever is read.

    Yields:
        Tables of at most ``ROWS_AT_ONCE`` rows. Their index counts the rows of the file.

    Raises:
        DataError: There is no such file, it is no table, or it lacks a column.
    """
    found = columns_of(path)
    columns = found if columns is None else list(columns)
    require_columns(path, columns, found)
    options: dict[str, Any] = {"dtype": str, "na_filter": False}
    if typed:
        options = {"float_precision": "round_trip"}
    elif columns != found:
        options["usecols"] = columns
    with _read(path, chunksize=ROWS_AT_ONCE, **options) as parts, _no_table(path):
        for part in parts:
            if not isinstance(part.index, pd.RangeIndex):
                raise DataError(f"{path}, line 2: has more values than there are columns")
            yield part[columns]


@contextmanager
def writing(path: Path, columns: Sequence[str]) -> Iterator[Callable[[pd.DataFrame], None]]:
    """Write a table part by part.

    Args:
        path: CSV file; it appears when all is written.
        columns: of the header.

    Yields:
        A function that appends the rows of a part, whose columns are ``columns`` in their order.
    """
    with open_replacing(path, newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(columns)

        def append(part: pd.DataFrame) -> None:
            # What DataFrame.to_csv writes of text and whole numbers, several times as quickly.
            present = part.astype(object).where(part.notna(), "")
            writer.writerows(zip(*(present[column] for column in columns), strict=True))

        yield append


def truth_of(values: pd.Series) -> pd.Series:
    """Read yes-or-no values, or their text.

    Args:
        values: of any type.

    Returns:
        True, False, or NaN where a value is neither.
    """
    meaning = {value: TRUTH.get(str(value).strip().lower()) for value in values.unique()}
    return values.map(meaning)


def whole_numbers(values: pd.Series, where: str) -> np.ndarray:
    """Read numbers that count or name something; ``3.0`` is 3.

    Args:
        values: numbers, or their text; the index counts the rows of the file.
        where: names file and column in error messages.

    Returns:
        ``(N,)`` int64.

    Raises:
        DataError: A value is missing, negative, or no whole number.
    """
    numbers = pd.to_numeric(values, errors="coerce")
    wrong = ~(numbers.ge(0) & (numbers % 1 == 0)).to_numpy()
    if wrong.any():
        row = int(wrong.argmax())
        raise DataError(
            f"{where}, line {line_of(values.index[row])}: {values.iloc[row]!r} is no whole number"
        )
    return numbers.to_numpy(np.int64)


def line_of(row: int) -> int:
    """Return the line of a file that holds a row, both counted as people do: the header is 1."""
    return int(row) + 2


def repetitions(table: pd.DataFrame, column: str, where: Path) -> dict[Any, str]:
    """Find what a table lists again.

    Args:
        table: read from ``where``, rows numbered from 0.
        column: that identifies a row.
        where: names the file.

    Returns:
        Of every row but the first with the same value: what is wrong, by label of the row.
    """
    again = table[table[column].duplicated()]
    if again.empty:
        return {}
    first = table.drop_duplicates(column).reset_index().set_index(column)["index"]
    return {
        row: f"{where}, line {line_of(row)}: {column} {value} is already in line "
        f"{line_of(first[value])}"
        for row, value in again[column].items()
    }


def _read(path: Path, **options):
    try:
        with _no_table(path, FileNotFoundError, pd.errors.EmptyDataError):
            check_width(path)
            return pd.read_csv(path, encoding="utf-8-sig", **options)
    except FileNotFoundError:
        raise DataError(f"{path}: no such file") from None
    except pd.errors.EmptyDataError:
        raise DataError(f"{path}: the file is empty, a header was expected") from None


def _no_table(path: Path, *but: type[Exception]) -> AbstractContextManager[None]:
    return as_data_error(f"{path}: cannot be read as a table", but=but)
