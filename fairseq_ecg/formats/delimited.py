"""CSV, TSV and other tables in text, one recording each."""

import io
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import cast

import numpy as np
import pandas as pd

from fairseq_ecg.ecg.lead_names import standard_lead
from fairseq_ecg.ecg.leads import LEADS
from fairseq_ecg.ecg.recording import with_notes
from fairseq_ecg.ecg.units import SECONDS_PER, millivolts_per, split_unit
from fairseq_ecg.errors import DataError, damage_as_data_error
from fairseq_ecg.formats.arrays import as_rows
from fairseq_ecg.formats.channels import RATE_TOLERANCE, Channel, Given, ParsedRecord
from fairseq_ecg.formats.chunks import LazyArray, StoredArray
from fairseq_ecg.formats.decimals import (
    MISSING,
    Evidence,
    NumberFormat,
    is_missing,
    is_number,
    number_formats,
)
from fairseq_ecg.formats.location import Location
from fairseq_ecg.formats.table_layout import NO_DELIMITER, Layout, Line, Text, find_table, no_number
from fairseq_ecg.formats.times import TIME_NAMES, Times, is_time, rate_of
from fairseq_ecg.limits import check_limit

_ROW_NUMBERS = {
    *("", "index", "idx", "sample", "samples", "sample #", "sample_index", "n", "#", "nseq"),
}
_AMBIGUOUS = {"min", "mins", "minute", "minutes", "hour", "hours"}
"""Units of time that are the names of other columns, the least value for instance."""
_LINES_AT_ONCE = 2**17
_LONGEST_NAME = 100
"""Characters of the name of a column; the rest is cut off."""
_NAMES_OF_BRAVEHEART = ("I", "II", "III", "aVR", "aVF", "aVL", *LEADS[6:])
_LAWS_LOOKED_AT = 20_000
_LAWS_TOLERANCE = 0.02
"""Of the limb leads: by how much they may miss Einthoven's and Goldberger's laws."""


def read_delimited(location: Location, given: Given, at_once: int | None = None) -> ParsedRecord:
    """Read a table with a column for each lead, or a line for each.

    A header names the leads, a second line of it their units, and a column of times gives the
    rate; lines above it may say all that (`header_block`). Empty cells are samples without value;
    lines that start with ``#`` are no samples. Columns of texts are left out, and named in
    ``metadata["left_out"]``. A table of more lines than ``at_once`` is parsed a part at a time into
    a temporary file of numbers.
    """
    if at_once is None:
        content = location.read()
        text = Text(str(location), lambda: io.BytesIO(content))
    else:
        file = location.local()
        text = Text(str(location), lambda: file.path.open("rb"))
    return read_table(text, given, at_once)


def read_table(text: Text, given: Given, at_once: int | None = None) -> ParsedRecord:
    """Read a table in a text, see `read_delimited`."""
    layout = find_table(text, given.n_leads)
    if layout.is_by_line:
        return _by_line(text, layout, given.n_leads)
    formats = _formats(text, layout)
    columns = _Columns(layout, formats)
    is_long = at_once is not None and text.n_lines > at_once
    rows = _Rows(len(columns.kept), is_long)
    for part in _parts(text, layout):
        rows.add(columns.numbers(_parse(layout, part, formats), [number for number, _ in part]))
    if not rows.n_rows:
        raise DataError(f"{text.where}: holds a header, but no samples")
    stored = rows.array()
    if layout.names is not None or columns.has_times:
        return columns.record(list(stored.T))
    rate, names, unit = layout.block.rate, None, layout.block.unit
    if layout.block.is_of_rate_alone and _are_of_braveheart(stored):
        names, unit = _NAMES_OF_BRAVEHEART, "mV"
    channels = as_rows(stored, len(names) if names else given.n_leads, text.where)
    return ParsedRecord(
        [Channel(row, names[i] if names else None, unit, rate) for i, row in enumerate(channels)]
    )


def _parts(text: Text, layout: Layout) -> Iterator[list[Line]]:
    """Lines of the table, below its header, many at a time."""
    lines = (line for line in text.lines() if line[0] >= layout.first_line)
    while part := list(islice(lines, _LINES_AT_ONCE)):
        yield part


def _parse(
    layout: Layout, part: Sequence[Line], formats: Mapping[int, NumberFormat]
) -> pd.DataFrame:
    """Take lines apart; columns of numbers alone become numbers where pandas can read them."""
    decimals = {each.decimal for each in formats.values()} or {"."}
    if len(decimals) > 1:
        return _cells(layout, part, dtype=str)
    return _cells(layout, part, decimal=decimals.pop())


def _cells(layout: Layout, part: Sequence[Line], **options: object) -> pd.DataFrame:
    lines = layout.checked(part)
    with damage_as_data_error(layout.where, "table of numbers"):
        cells = pd.read_csv(
            io.StringIO("\n".join(lines)),
            sep=r"\s+" if layout.delimiter is None else layout.delimiter,
            quotechar=layout.quote,
            header=None,
            na_values=sorted(MISSING),
            skipinitialspace=True,
            skip_blank_lines=False,
            float_precision="round_trip",
            low_memory=False,  # a column is of one kind
            **options,
        )
        if cells.shape != (len(lines), layout.n_cells):
            raise ValueError(f"{cells.shape} cells in {len(lines)} lines of {layout.n_cells}")
    return cells


def _formats(text: Text, layout: Layout) -> dict[int, NumberFormat]:
    """How the numbers of each column are written: read from all lines, as long as it matters."""
    columns = range(layout.n_cells)
    if not _has_foreign_comma(text, layout):
        return {}
    evidence = {column: Evidence() for column in columns}
    for part in _parts(text, layout):
        if any("," in line for _, line in part):
            cells = _cells(layout, part, dtype=str)
            for column in columns:
                evidence[column].add(cells[column].dropna().unique())
        found = evidence.values()
        if all(each.is_settled for each in found) and any(each.examples for each in found):
            break
    names = {column: _name(layout, column) for column in columns}
    return number_formats(layout.where, evidence, names)


def _has_foreign_comma(text: Text, layout: Layout) -> bool:
    """Whether there may be commas in cells."""
    return text.has_comma and (layout.delimiter != "," or text.has_quote)


def _name(layout: Layout, column: int) -> str:
    name = layout.names[column] if layout.names else None
    return name or f"column {column + 1}"


class _Rows:
    """Rows of numbers that are collected, in memory or in a temporary file.

    Args:
        n_columns: of each row.
        is_long: whether a file takes them.
    """

    def __init__(self, n_columns: int, is_long: bool):
        self._n_columns = n_columns
        self._file = tempfile.TemporaryFile() if is_long else None  # noqa: SIM115 (while it is read)
        self._parts: list[np.ndarray] = []
        self.n_rows = 0

    def add(self, numbers: np.ndarray) -> None:
        self.n_rows += len(numbers)
        if self._file is None:
            self._parts.append(numbers)
        else:
            self._file.write(np.ascontiguousarray(numbers).data)

    def array(self) -> np.ndarray | StoredArray:
        """All rows, ``(n_rows, n_columns)`` float64."""
        if self._file is None:
            return np.concatenate(self._parts)
        file, n_columns, n_rows = self._file, self._n_columns, self.n_rows

        def read(key: tuple[slice | int, ...]) -> np.ndarray:
            start, stop, _ = cast(slice, key[0]).indices(n_rows)
            file.seek(start * n_columns * 8)
            rows = np.frombuffer(file.read((stop - start) * n_columns * 8))
            return rows.reshape(-1, n_columns)[:, key[1]]

        return StoredArray(read, (n_rows, n_columns), np.dtype(np.float64))


def _by_line(text: Text, layout: Layout, n_leads: int | None) -> ParsedRecord:
    """Read a table with a line for each lead, which may start with its name."""
    lines = [line for part in _parts(text, layout) for line in part]
    check_limit(text.where, "channels", len(lines))
    rows = [layout.split(line) for line in layout.checked(lines)]
    has_names = not is_number(rows[0][0]) and not is_missing(rows[0][0])
    format = NumberFormat()
    if _has_foreign_comma(text, layout):
        evidence = Evidence()
        for row in rows:
            evidence.add(set(row[has_names:]))
        format = number_formats(text.where, {0: evidence}, {0: "the table"})[0]
    samples = []
    for (number, _), row in zip(lines, rows, strict=True):
        values, wrong = format.numbers(_column(row[has_names:], format.decimal))
        if wrong.any():
            cell = row[has_names + int(np.argmax(wrong))]
            raise no_number(text.where, number, cell, row[0])
        samples.append(values)
    unit, rate = layout.block.unit, layout.block.rate
    if has_names:
        named = [split_unit(row[0]) for row in rows]
        return ParsedRecord(
            [
                Channel(values, name, own or unit, rate)
                for values, (name, own) in zip(samples, named, strict=True)
            ]
        )
    leads = as_rows(np.array(samples), n_leads, text.where)
    return ParsedRecord([Channel(values, None, unit, rate) for values in leads])


def _column(cells: Sequence[str], decimal: str) -> pd.Series:
    """Cells as numbers if pandas can read all of them, or else as texts."""
    parsed = pd.read_csv(
        io.StringIO("".join(f"{cell}\n" for cell in cells)),
        sep=NO_DELIMITER,
        header=None,
        na_values=sorted(MISSING),
        skip_blank_lines=False,
        float_precision="round_trip",
        decimal=decimal,
    )[0]
    return parsed if pd.api.types.is_numeric_dtype(parsed) else pd.Series(cells, dtype=object)


def _are_of_braveheart(rows: np.ndarray | StoredArray) -> bool:
    """Whether the order of the leads is that of BRAVEHEART, by the laws that limb leads follow."""
    if rows.shape[1] != len(LEADS):
        return False
    part = (slice(0, _LAWS_LOOKED_AT), slice(0, 6))
    limbs = rows.read(part) if isinstance(rows, StoredArray) else rows[part]
    one, two, three, avr, avf, avl = limbs.T
    missed = three - two + one, avr + (one + two) / 2, avf - two + one / 2, avl - one + two / 2
    size = np.nanstd([one, two])
    return bool(size > 0 and np.nanstd(missed) <= _LAWS_TOLERANCE * size)


@dataclass
class _Column:
    """A column of a table that is read.

    Args:
        position: among all columns.
        name: None where the table has no header.
        unit: None where it says none.
        seconds_per_unit: of a column of times; None of others.
        times: reads times that are texts.
        fault: of a column that holds texts, why it is no signal.
    """

    position: int
    name: str | None
    unit: str | None
    seconds_per_unit: float | None
    times: Times | None = None
    fault: DataError | None = None

    @property
    def is_signal(self) -> bool:
        """Whether it has to hold numbers: it is a lead, or a voltage."""
        return (
            self.name is None
            or standard_lead(self.name) in LEADS
            or (self.unit is not None and millivolts_per(self.unit) is not None)
        )


class _Columns:
    """Columns of a table: signals, times, and others.

    What the columns hold is known from their names, of times without name from their cells, and of
    signals that are no leads by whether they hold numbers alone.
    """

    def __init__(self, layout: Layout, formats: Mapping[int, NumberFormat]):
        self._layout, self._formats = layout, formats
        self._has_begun = False
        self._of_texts: list[_Column] = []
        self.kept: list[_Column] = []
        """Those that are read."""
        names = layout.names if layout.names is not None else [None] * layout.n_cells
        for position, name in enumerate(names):
            name, unit = (None, None) if name is None else split_unit(name[:_LONGEST_NAME])
            stated = layout.units[position] if layout.units is not None else None
            if stated is not None:
                unit = stated.strip("()[]").strip()
            seconds = _seconds_per(position, name, unit)
            is_named = name is not None and name.lower() not in _ROW_NUMBERS
            # Without a name, it is no signal where the lines above name the others.
            if seconds is not None or is_named or layout.names is None:
                self.kept.append(_Column(position, name, unit, seconds))

    @property
    def has_times(self) -> bool:
        """Whether there is a column of times."""
        return any(column.seconds_per_unit is not None for column in self.kept)

    def numbers(self, cells: pd.DataFrame, lines: Sequence[int]) -> np.ndarray:
        """Numbers of the columns, ``(n_lines, n_columns)`` float64; times in s.

        Args:
            cells: of a part of the table.
            lines: number of each line in the file.
        """
        if not self._has_begun:
            self._has_begun = True
            self._find_times(cells)
        values = np.full((len(cells), len(self.kept)), np.nan)
        for i, column in enumerate(self.kept):
            if column.fault is None:
                values[:, i] = self._numbers(column, cells[column.position], lines)
        return values

    def _numbers(self, column: _Column, cells: pd.Series, lines: Sequence[int]) -> np.ndarray:
        numbers, wrong = np.empty(0), np.ones(1, bool)
        if pd.api.types.is_numeric_dtype(cells):
            numbers, wrong = cells.to_numpy(np.float64), np.zeros(0, bool)
        elif column.times is None:
            format = self._formats.get(column.position, NumberFormat())
            numbers, wrong = format.numbers(cells.astype(object))
        is_of_times, are_texts = column.seconds_per_unit is not None, bool(wrong.any())
        if is_of_times and (column.times is not None or (are_texts and wrong.all())):
            column.times = column.times or Times(self._layout.where)
            return column.times.encode(cells)
        if are_texts:
            row, name = int(np.argmax(wrong)), _name(self._layout, column.position)
            fault = no_number(self._layout.where, lines[row], cells.iloc[row], name)
            if is_of_times or column.is_signal:
                raise fault
            column.fault = fault
            self._of_texts.append(column)
        return numbers if column.seconds_per_unit is None else numbers * column.seconds_per_unit

    def _find_times(self, cells: pd.DataFrame) -> None:
        """Take a column of texts for times where all of them are, and no other is one."""
        if self.has_times:
            return
        for column in self.kept:
            texts = cells[column.position]
            if all(isinstance(text, str) and is_time(text) for text in texts):
                column.seconds_per_unit = 1.0
                return

    def record(self, samples: Sequence[np.ndarray | LazyArray]) -> ParsedRecord:
        """Make channels of columns, of which all lines were seen."""
        where, block = self._layout.where, self._layout.block
        columns = list(zip(self.kept, samples, strict=True))
        rates = [
            rate_of(where, numbers, column.times)
            for column, numbers in columns
            if column.seconds_per_unit is not None
        ]
        rate = rates[-1] if rates else None
        if block.rate is not None:
            # Times may be rounded so much that a few of them give the rate no better.
            tolerance = max(RATE_TOLERANCE, 2 / max(samples[0].size - 1, 1))
            if rate is not None and abs(rate - block.rate) > tolerance * block.rate:
                raise DataError(
                    f"{where}: says a sampling rate of {block.rate:g} Hz, and its times mean "
                    f"{rate:.6g} Hz. Remove the one that is wrong"
                )
            rate = block.rate
        channels = [
            Channel(numbers, column.name, column.unit or block.unit, rate)
            for column, numbers in columns
            if column.seconds_per_unit is None and column.fault is None
        ]
        if not channels and self._of_texts:
            raise DataError(f"{where}: holds no signals. {self._of_texts[0].fault}")
        left_out = [f"{column.name}" for column in self._of_texts]
        return ParsedRecord(channels, with_notes({}, left_out))


def _seconds_per(position: int, name: str | None, unit: str | None) -> float | None:
    """Seconds of a unit of a column of times; None for other columns."""
    folded, of_time = (name or "").lower(), (unit or "").lower()
    if folded in SECONDS_PER and (position == 0 or folded not in _AMBIGUOUS):
        return SECONDS_PER[folded]
    number, _, of_number = of_time.rpartition(" ")
    if of_number in SECONDS_PER and is_number(number):  # the interval of row numbers
        return float(number.replace(",", ".")) * SECONDS_PER[of_number]
    if of_time in SECONDS_PER:
        return SECONDS_PER[of_time]
    return 1.0 if folded in TIME_NAMES else None
