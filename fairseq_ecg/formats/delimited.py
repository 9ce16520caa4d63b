"""CSV, TSV and other tables in text, one recording each."""

import io
import math
import re
from dataclasses import dataclass

import numpy as np
import pandas as pd

from fairseq_ecg.data.errors import DataError, damage_as_data_error
from fairseq_ecg.data.leads import LEADS
from fairseq_ecg.formats.arrays import as_rows
from fairseq_ecg.formats.channels import Channel, Content, Given
from fairseq_ecg.formats.leads import standard_lead
from fairseq_ecg.formats.location import Location
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


@dataclass(frozen=True, eq=False)
class _Table:
    """A table of text, its header apart.

    Args:
        cells: of the lines below the header; numbers where a column holds nothing else.
        first_line: number in the file of the first of them, from 1.
        names: of the columns; None where the table has no header.
        units: of the columns; None where no line tells them.
    """

    cells: pd.DataFrame
    first_line: int
    names: list[str] | None
    units: list[str] | None


def read_delimited(location: Location, given: Given) -> Content:
    """Read a table with a column for each lead, or a line for each.

    A header names the leads, a second line of it their units, and a column of times gives the
    rate. Empty cells are samples without value; lines that start with ``#`` are skipped.
    """
    where = str(location)
    table = _parse(where, _text(location))
    if table.names is not None:
        return _columns(where, table)
    if table.cells.shape[1] > 2 and _is_text(table.cells[0]):
        values = _numbers(where, table, range(1, table.cells.shape[1]))
        names = table.cells[0].map(str)
        return Content(
            [
                Channel(row, *split_unit(_unquoted(name)))
                for name, row in zip(names, values, strict=True)
            ]
        )
    n_leads = None if given.leads is None else len(given.leads)
    values = _numbers(where, table, range(table.cells.shape[1]))
    return Content([Channel(row) for row in as_rows(values, n_leads, where)])


def _text(location: Location) -> str:
    content = location.read()
    if b"\0" in content:
        raise DataError(f"{location}: is no text, but read as a table. Say its format")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError:
        return content.decode("latin-1")  # where the micro sign is a byte of its own


def _parse(where: str, text: str) -> _Table:
    lines = [
        (number, line)
        for number, line in enumerate(text.splitlines(), start=1)
        if line.strip() and not line.startswith("#")
    ]
    if not lines:
        raise DataError(f"{where}: holds no lines of numbers")
    blanks = None if len(lines[-1][1].split()) > 1 else ","  # for a single column anything will do
    delimiter = next((mark for mark in _DELIMITERS if mark in lines[0][1]), blanks)
    rows = [_split(line, delimiter) for _, line in lines[:3]]
    for number, line in lines:
        n_cells = len(_split(line, delimiter)) if delimiter is None else line.count(delimiter) + 1
        if n_cells != len(rows[0]):
            raise DataError(
                f"{where}, line {number}: has {n_cells} cells, the first line has {len(rows[0])}. "
                "The file may be cut off"
            )
    decimal = "," if any(_DECIMAL_COMMA.match(cell) for row in rows for cell in row) else "."
    names = units = None
    if _is_words(rows[0][1:] or rows[0], decimal) or _are_column_numbers(rows[0]):
        names, lines = rows[0], lines[1:]
        if len(rows) > 1 and _is_words(rows[1], decimal):
            units, lines = rows[1], lines[1:]
    if not lines:
        raise DataError(f"{where}: holds a header, but no samples")
    with damage_as_data_error(where, "table of numbers"):
        cells = pd.read_csv(
            io.StringIO("\n".join(line for _, line in lines)),
            sep=r"\s+" if delimiter is None else delimiter,
            header=None,
            decimal=decimal,
            skipinitialspace=True,
            skip_blank_lines=False,
            float_precision="round_trip",
        )
    return _Table(cells, lines[0][0], names, units)


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


def _columns(where: str, table: _Table) -> Content:
    """Make channels of named columns."""
    channels: list[Channel] = []
    rate = None
    named = [split_unit(name) for name in table.names]
    if table.units is not None:
        named = [(name, unit) for (name, _), unit in zip(named, table.units, strict=True)]
    for place, (name, unit) in enumerate(named):
        if name.lower() in SECONDS_PER:
            unit = name
        if name.lower() in _TIMES or (unit or "").lower() in SECONDS_PER:
            rate = _rate(where, table.cells[place], unit)
        elif name.lower() not in _ROW_NUMBERS and (
            not _is_text(table.cells[place]) or standard_lead(name) in LEADS
        ):
            samples = _numbers(where, table, [place])[:, 0]
            channels.append(Channel(samples, name, unit))
    return Content(
        [Channel(channel.samples, channel.name, channel.unit, rate) for channel in channels]
    )


def _rate(where: str, times: pd.Series, unit: str | None) -> float:
    """Sampling rate in Hz from the times of samples, which have to be evenly spaced."""
    seconds = _seconds(where, times, unit)
    if len(seconds) < 2:
        raise DataError(f"{where}: a single time gives no sampling rate. Give sample_rate")
    step = (seconds[-1] - seconds[0]) / (len(seconds) - 1)
    if not (math.isfinite(step) and step > 0):
        raise DataError(f"{where}: its times do not increase. Remove the column of times")
    steps = np.diff(seconds)
    places = seconds[0] + step * np.arange(1, len(seconds))
    even = (np.abs(steps - step) <= step * _UNEVEN) & (np.abs(seconds[1:] - places) < step)
    if not even.all():
        raise DataError(
            f"{where}: its times are not evenly spaced (sample {np.argmin(even) + 1}). Cut the "
            "recording at its gaps, or remove the column of times"
        )
    if 1 / step < _SLOWEST:
        raise DataError(
            f"{where}: its times mean {1 / step:.4g} Hz. Write their unit into the header, such "
            "as 'time (ms)', or remove the column"
        )
    return 1 / step


def _seconds(where: str, times: pd.Series, unit: str | None) -> np.ndarray:
    if not _is_text(times):
        return times.to_numpy(np.float64) * SECONDS_PER.get((unit or "s").lower(), 1.0)
    texts = times.map(lambda text: _unquoted(str(text)).strip("[]"))
    try:
        if texts.str.fullmatch(r"[\d:.]+").all():  # 0:00.004 is a minute and seconds
            parts = texts.str.split(":", expand=True).astype(np.float64).to_numpy()
            return parts @ 60.0 ** np.arange(parts.shape[1])[::-1]
        moments = pd.to_datetime(texts)
    except (ValueError, TypeError) as error:
        raise DataError(f"{where}: its times, such as {texts.iloc[0]!r}, are none") from error
    return (moments - moments.iloc[0]).dt.total_seconds().to_numpy()
