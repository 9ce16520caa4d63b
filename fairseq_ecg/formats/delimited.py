"""CSV, TSV and other tables in text, one recording each."""

import codecs
import io
import math
import re
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, islice

import numpy as np
import pandas as pd

from fairseq_ecg.data.errors import DataError, damage_as_data_error
from fairseq_ecg.data.leads import LEADS
from fairseq_ecg.formats.arrays import as_rows
from fairseq_ecg.formats.channels import Channel, Content, Given
from fairseq_ecg.formats.leads import standard_lead
from fairseq_ecg.formats.location import LocalFile, Location
from fairseq_ecg.formats.stretches import Later, StoredArray
from fairseq_ecg.formats.units import SECONDS_PER, split_unit

_DELIMITERS = ("\t", ";", "|", ",")
"""Looked for in this order: a comma may be a decimal sign where there is another delimiter."""
_DECIMAL_COMMA = re.compile(r"^[+-]?\d*,\d+(?:[eE][+-]?\d+)?$")
_TIMES = {"time", "t", "timestamp", "timestamps", "elapsed time", "elapsed_time", "datetime"}
_ROW_NUMBERS = {"", "index", "idx", "sample", "samples", "sample #", "sample_index", "n", "#"}
_SLOWEST = 20.0
"""Hz; a slower time column is not in the unit that it seems to be in."""
_UNEVEN = 0.8
"""Of the step between samples: how much longer or shorter a step may be. Times that were rounded
to less than a step are within it, a missing sample is not."""
_LINES_AT_ONCE = 2**17
_BYTES_AT_ONCE = 2**24


@dataclass(frozen=True)
class _Style:
    """How a table of text is written.

    Args:
        delimiter: None for blanks.
        decimal: sign before fractions.
        n_cells: of a line.
        names: of the columns; None where the table has no header.
        units: of the columns; None where no line tells them.
        n_header: lines of the header.
    """

    delimiter: str | None
    decimal: str
    n_cells: int
    names: list[str] | None
    units: list[str] | None
    n_header: int


@dataclass(frozen=True, eq=False)
class _Table:
    """Lines of a table of text, below its header.

    Args:
        cells: numbers where a column holds nothing else.
        first_line: number in the file of the first line, from 1.
        names: of the columns; None where the table has no header.
    """

    cells: pd.DataFrame
    first_line: int
    names: list[str] | None


def read_delimited(location: Location, given: Given, at_once: int | None = None) -> Content:
    """Read a table with a column for each lead, or a line for each.

    A header names the leads, a second line of it their units, and a column of times gives the
    rate. Empty cells are samples without value; lines that start with ``#`` are skipped. A table of
    more lines than ``at_once`` is parsed a part at a time into a temporary file of numbers.
    """
    where = str(location)
    if at_once is not None:
        file = location.local()
        n_lines, encoding = _measure(file, where)
        if n_lines > at_once:
            return _read_long(file, where, given, encoding)
    lines = list(_lines(io.StringIO(_text(location), newline=None)))
    style = _style(where, lines[:3])
    table = _parse(where, lines[style.n_header :], style)
    if style.names is not None:
        columns = _Columns(style)
        values = columns.numbers(where, table)
        return columns.content(where, list(values.T))
    if style.n_cells > 2 and _is_text(table.cells[0]):
        values = _numbers(where, table, range(1, style.n_cells))
        names = table.cells[0].map(str)
        return Content(
            [
                Channel(row, *split_unit(_unquoted(name)))
                for name, row in zip(names, values, strict=True)
            ]
        )
    n_leads = None if given.leads is None else len(given.leads)
    values = _numbers(where, table, range(style.n_cells))
    return Content([Channel(row) for row in as_rows(values, n_leads, where)])


def _read_long(file: LocalFile, where: str, given: Given, encoding: str) -> Content:
    """Read a table of many lines, which has a column for each lead."""
    numbers = tempfile.TemporaryFile()  # noqa: SIM115 (as long as somebody may read it)
    n_rows = 0
    with open(file.path, encoding=encoding) as text:
        lines = _lines(text)
        beginning = list(islice(lines, 3))
        style = _style(where, beginning)
        lines = chain(beginning[style.n_header :], lines)
        columns = None if style.names is None else _Columns(style)
        while part := list(islice(lines, _LINES_AT_ONCE)):
            table = _parse(where, part, style)
            if columns is None:
                values = _numbers(where, table, range(style.n_cells))
            else:
                values = columns.numbers(where, table)
            numbers.write(np.ascontiguousarray(values).data)
            n_rows += len(part)
    n_columns = style.n_cells if columns is None else len(columns.places)

    def read(key: tuple[slice | int, ...]) -> np.ndarray:
        start, stop, _ = key[0].indices(n_rows)
        numbers.seek(start * n_columns * 8)
        rows = np.frombuffer(numbers.read((stop - start) * n_columns * 8))
        return rows.reshape(-1, n_columns)[:, key[1]]

    stored = StoredArray(read, (n_rows, n_columns), np.dtype(np.float64))
    if columns is not None:
        return columns.content(where, list(stored.T))
    n_leads = None if given.leads is None else len(given.leads)
    return Content([Channel(row) for row in as_rows(stored, n_leads, where)])


def _text(location: Location) -> str:
    content = location.read()
    _refuse_binary(content, str(location))
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError:
        return content.decode("latin-1")  # where the micro sign is a byte of its own


def _refuse_binary(content: bytes, where: str) -> None:
    if b"\0" in content:
        raise DataError(f"{where}: is no text, but read as a table. Say its format")


def _measure(file: LocalFile, where: str) -> tuple[int, str]:
    """Count the lines of a text, and tell its encoding."""
    n_lines, encoding = 1, "utf-8-sig"
    decoder = codecs.getincrementaldecoder("utf-8")()
    with open(file.path, "rb") as text:
        while block := text.read(_BYTES_AT_ONCE):
            _refuse_binary(block, where)
            n_lines += max(block.count(b"\n"), block.count(b"\r"))
            if encoding == "utf-8-sig":
                try:
                    decoder.decode(block)
                except UnicodeDecodeError:
                    encoding = "latin-1"  # where the micro sign is a byte of its own
    return n_lines, encoding


def _lines(text: Iterable[str]) -> Iterator[tuple[int, str]]:
    """Number, from 1, and content of each line that is neither empty nor a comment."""
    for number, line in enumerate(text, start=1):
        if line.strip() and not line.startswith("#"):
            yield number, line.rstrip("\r\n")


def _style(where: str, lines: Sequence[tuple[int, str]]) -> _Style:
    """Tell from the first lines how a table is written."""
    if not lines:
        raise DataError(f"{where}: holds no lines of numbers")
    blanks = None if len(lines[-1][1].split()) > 1 else ","  # for a single column anything will do
    delimiter = next((mark for mark in _DELIMITERS if mark in lines[0][1]), blanks)
    rows = [_split(line, delimiter) for _, line in lines]
    decimal = "," if any(_DECIMAL_COMMA.match(cell) for row in rows for cell in row) else "."
    names = units = None
    if _is_words(rows[0][1:] or rows[0], decimal) or _are_column_numbers(rows[0]):
        names = rows[0]
        if len(rows) > 1 and _is_words(rows[1], decimal):
            units = rows[1]
    n_header = (names is not None) + (units is not None)
    style = _Style(delimiter, decimal, len(rows[0]), names, units, n_header)
    _check_lengths(where, lines, style)
    return style


def _parse(where: str, lines: Sequence[tuple[int, str]], style: _Style) -> _Table:
    """Take lines apart."""
    if not lines:
        raise DataError(f"{where}: holds a header, but no samples")
    _check_lengths(where, lines, style)
    with damage_as_data_error(where, "table of numbers"):
        cells = pd.read_csv(
            io.StringIO("\n".join(line for _, line in lines)),
            sep=r"\s+" if style.delimiter is None else style.delimiter,
            header=None,
            decimal=style.decimal,
            skipinitialspace=True,
            skip_blank_lines=False,
            float_precision="round_trip",
        )
    return _Table(cells, lines[0][0], style.names)


def _check_lengths(where: str, lines: Sequence[tuple[int, str]], style: _Style) -> None:
    for number, line in lines:
        if style.delimiter is None:
            n_cells = len(_split(line, None))
        else:
            n_cells = line.count(style.delimiter) + 1
        if n_cells != style.n_cells:
            raise DataError(
                f"{where}, line {number}: has {n_cells} cells, the first line has {style.n_cells}. "
                "The file may be cut off"
            )


def _split(line: str, delimiter: str | None) -> list[str]:
    return [_unquoted(cell) for cell in line.split(delimiter)]


def _unquoted(cell: str) -> str:
    return cell.strip().strip("'\"").strip()


def _is_words(cells: list[str], decimal: str) -> bool:
    """Whether a line belongs to the header: cells that are not empty, and none of them a number."""

    def is_number(cell: str) -> bool:
        try:
            float(cell.replace(decimal, "."))
        except ValueError:
            return False
        return True

    return any(cells) and not any(map(is_number, cells))


def _are_column_numbers(cells: list[str]) -> bool:
    """Whether a line is the header that pandas writes for columns without names."""
    numbers = cells if cells[0] else cells[1:]
    counted = [str(i) for i in range(len(numbers) + 1)]
    return len(numbers) > 2 and numbers in (counted[:-1], counted[1:])


def _is_text(column: pd.Series) -> bool:
    return not pd.api.types.is_numeric_dtype(column)


def _numbers(where: str, table: _Table, columns: range | list[int]) -> np.ndarray:
    """Return ``(n_lines, n_columns)`` float64; text among them is an error that names its line."""
    chosen = table.cells[list(columns)]
    for place, column in chosen.items():
        if not _is_text(column):
            continue
        wrong = pd.to_numeric(column, errors="coerce").isna() & column.notna()
        row = int(np.argmax(wrong.to_numpy()))
        name = f"column {place + 1}" if table.names is None else table.names[place]
        raise DataError(
            f"{where}, line {table.first_line + row}: {column.iloc[row]!r} in {name} is no number"
        )
    return chosen.to_numpy(np.float64)


class _Columns:
    """Named columns of a table: signals, times, and others.

    What the columns hold is told by their names, and of signals that are no leads by whether they
    hold numbers alone.
    """

    def __init__(self, style: _Style):
        self._times: list[int] = []
        self._origins: dict[int, pd.Timestamp] = {}
        self._texts: set[int] = set()
        named = [split_unit(name) for name in style.names]
        if style.units is not None:
            named = [(name, unit) for (name, _), unit in zip(named, style.units, strict=True)]
        self._named = []
        self.places: list[int] = []
        """Columns that are read."""
        for place, (name, unit) in enumerate(named):
            if name.lower() in SECONDS_PER:
                unit = name
            if name.lower() in _TIMES or (unit or "").lower() in SECONDS_PER:
                self._times.append(len(self.places))
            elif name.lower() in _ROW_NUMBERS:
                continue
            self.places.append(place)
            self._named.append((name, unit))

    def numbers(self, where: str, table: _Table) -> np.ndarray:
        """Numbers of the columns in `places`, ``(n_lines, n_columns)`` float64; times in s."""
        values = np.full((len(table.cells), len(self.places)), np.nan)
        for i, (place, (name, unit)) in enumerate(zip(self.places, self._named, strict=True)):
            cells = table.cells[place]
            if i in self._times:
                values[:, i] = self._seconds(where, i, cells, unit)
            elif _is_text(cells) and standard_lead(name) not in LEADS:
                self._texts.add(i)
            else:
                values[:, i] = _numbers(where, table, [place])[:, 0]
        return values

    def content(self, where: str, columns: Sequence[np.ndarray | Later]) -> Content:
        """Make channels of columns, of which all lines were seen."""
        rates = [_rate(where, columns[i]) for i in self._times]
        return Content(
            [
                Channel(samples, name, unit, rates[-1] if rates else None)
                for i, (samples, (name, unit)) in enumerate(zip(columns, self._named, strict=True))
                if i not in self._times and i not in self._texts
            ]
        )

    def _seconds(self, where: str, i: int, times: pd.Series, unit: str | None) -> np.ndarray:
        if not _is_text(times):
            return times.to_numpy(np.float64) * SECONDS_PER.get((unit or "s").lower(), 1.0)
        texts = times.map(lambda text: _unquoted(str(text)).strip("[]"))
        try:
            if texts.str.fullmatch(r"[\d:.]+").all():  # 0:00.004 is a minute and seconds
                parts = texts.str.split(":", expand=True).astype(np.float64).to_numpy()
                return parts @ 60.0 ** np.arange(parts.shape[1])[::-1]
            moments = pd.to_datetime(texts)
            return (
                (moments - self._origins.setdefault(i, moments.iloc[0]))
                .dt.total_seconds()
                .to_numpy()
            )
        except (ValueError, TypeError) as error:
            raise DataError(f"{where}: its times, such as {texts.iloc[0]!r}, are none") from error


def _rate(where: str, seconds: np.ndarray | Later) -> float:
    """Sampling rate in Hz from the times of samples, which have to be evenly spaced."""
    n_samples = seconds.size
    if n_samples < 2:
        raise DataError(f"{where}: a single time gives no sampling rate. Give sample_rate")
    (first,), (last,) = seconds[:1], seconds[n_samples - 1 : n_samples]
    step = (last - first) / (n_samples - 1)
    if not (math.isfinite(step) and step > 0):
        raise DataError(f"{where}: its times do not increase. Remove the column of times")
    for start in range(0, n_samples - 1, _LINES_AT_ONCE):
        part = seconds[start : min(start + _LINES_AT_ONCE + 1, n_samples)]
        places = first + step * np.arange(start + 1, start + len(part))
        even = (np.abs(np.diff(part) - step) <= step * _UNEVEN) & (np.abs(part[1:] - places) < step)
        if not even.all():
            raise DataError(
                f"{where}: its times are not evenly spaced (sample {start + np.argmin(even) + 1}). "
                "Cut the recording at its gaps, or remove the column of times"
            )
    if 1 / step < _SLOWEST:
        raise DataError(
            f"{where}: its times mean {1 / step:.4g} Hz. Write their unit into the header, such "
            "as 'time (ms)', or remove the column"
        )
    return 1 / step
