"""Where the table in a text begins, and how its lines are written."""

import codecs
import csv
import io
import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import BinaryIO

from fairseq_ecg.ecg.lead_names import standard_lead
from fairseq_ecg.ecg.leads import LEADS
from fairseq_ecg.ecg.units import SECONDS_PER, is_counts, millivolts_per
from fairseq_ecg.errors import DataError, shortened
from fairseq_ecg.formats.decimals import clean, is_missing, is_number
from fairseq_ecg.formats.header_block import Block, read_block, says_something
from fairseq_ecg.formats.times import is_time
from fairseq_ecg.limits import check_limit, limit_of

NO_DELIMITER = "\x1f"
"""Between the cells of a table with a single column: nothing that is in one."""

_DELIMITERS = ("\t", ";", "|")
"""Looked for in this order, before the comma, which is a decimal sign where there is another."""
_LINES_LOOKED_AT = 1000
_MANY = 50
"""Cells of a long line that are looked at."""
_BYTES_AT_ONCE = 2**24
_COMMENT = "#"
_ONE_COMMA = re.compile(r"\s*([+-]?\d*(?:['\u00a0\u202f ]\d{3})*),(\d+(?:[eE][+-]?\d+)?)\s*")
_SINGLE_QUOTED = re.compile(r"(?:^|[,;|\t])\s*'[^']*'\s*(?:[,;|\t]|$)")
_WHOLE = re.compile(r"\s*[+-]?\d+\s*")

Line = tuple[int, str]
"""Number of a line in its file, from 1, and what is in it."""


class Text:
    """A text, whose lines can be read again and again.

    Args:
        where: names it in error messages.
        open_bytes: opens it.

    Raises:
        DataError: it is no text.
    """

    def __init__(self, where: str, open_bytes: Callable[[], BinaryIO]):
        self.where, self._open = where, open_bytes
        self.n_lines, self.encoding = 1, "utf-8-sig"
        """The number of lines, or somewhat more."""
        self.has_comma = self.has_quote = False
        decoder = codecs.getincrementaldecoder("utf-8")()
        with open_bytes() as file:
            while block := file.read(_BYTES_AT_ONCE):
                if self.n_lines == 1 and block[:2] in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE):
                    self.encoding = "utf-16"
                if b"\0" in block and self.encoding != "utf-16":
                    raise DataError(f"{where}: is no text, but read as a table. Say its format")
                self.n_lines += max(block.count(b"\n"), block.count(b"\r"))
                self.has_comma |= b"," in block
                self.has_quote |= b'"' in block or b"'" in block
                if self.encoding == "utf-8-sig":
                    try:
                        decoder.decode(block)
                    except UnicodeDecodeError:
                        self.encoding = "latin-1"  # where the micro sign is a byte of its own

    def lines(self, comments: bool = False) -> Iterator[Line]:
        """Lines that are not empty, with or without those that start with ``#``."""
        with io.TextIOWrapper(self._open(), self.encoding, "replace") as text:
            for number, line in enumerate(text, start=1):
                if line.strip() and (comments or not line.startswith(_COMMENT)):
                    yield number, line.rstrip("\r\n")


@dataclass(frozen=True)
class Layout:
    """How a table of text is written.

    Args:
        where: names the file in error messages.
        delimiter: None for blanks.
        quote: around cells that may hold the delimiter.
        n_cells: of a line.
        is_trailed: whether each line ends with a delimiter that has no cell behind it.
        names: of the columns; None where the table has no header.
        units: of the columns; None where no line says them.
        first_line: number of the first line that is below the header.
        is_by_line: whether a line is a lead: its first cell is a text, or it has many.
        block: what the lines above say.
    """

    where: str
    delimiter: str | None
    quote: str
    n_cells: int
    is_trailed: bool
    names: Sequence[str | None] | None
    units: Sequence[str | None] | None
    first_line: int
    is_by_line: bool
    block: Block

    def split(self, line: str) -> list[str]:
        """Return the cells of a line, without quotes around them."""
        return _split(self.without_end(line), self.delimiter, self.quote)

    def without_end(self, line: str) -> str:
        """Return a line without its end, if that is no cell: a delimiter, or a remark."""
        if self.delimiter is not None and f"{self.delimiter}{_COMMENT}" in line:
            line = line[: line.index(f"{self.delimiter}{_COMMENT}")]
        elif self.delimiter is not None and self.is_trailed:
            line = line.rstrip(" ").removesuffix(self.delimiter)
        return line

    def checked(self, lines: Sequence[Line]) -> list[str]:
        """Lines as they are parsed.

        Raises:
            DataError: a line has another number of cells than the first, or an open quote.
        """
        checked = []
        for number, line in lines:
            if self.quote in line:
                if line.count(self.quote) % 2:
                    raise DataError(
                        f"{self.where}, line {number}: has a quote that is not closed. Remove it"
                    )
                n_cells = len(self.split(line))
            elif self.delimiter is None:
                n_cells = len(line.split())
            else:
                n_cells = line.count(self.delimiter) + 1
            if n_cells != self.n_cells:
                line = self.without_end(line)
                n_cells = len(_split(line, self.delimiter, self.quote))
            if n_cells != self.n_cells:
                raise _wrong_length(self.where, number, n_cells, self.n_cells)
            checked.append(line)
        return checked


def _wrong_length(where: str, line: int, n_cells: int, expected: int) -> DataError:
    return DataError(
        f"{where}, line {line}: has {n_cells} cells, the first line has {expected}. The file may "
        "be cut off"
    )


def find_table(text: Text, n_leads: int | None) -> Layout:
    """Find the table in a text.

    Where the numbers begin follows from the lines further below: they have the same number of
    cells, and numbers in the same columns. The line above them, if it has as many cells and no
    numbers, names the columns; lines above that say what they say (`read_block`).

    Args:
        text: with the table.
        n_leads: number of leads where a user names them.

    Raises:
        DataError: there is no line.
    """
    where = text.where
    lines: list[Line] = []
    comments: list[Line] = []
    for line in text.lines(comments=True):
        (comments if line[1].startswith(_COMMENT) else lines).append(line)
        if len(lines) == _LINES_LOOKED_AT:
            break
    if not lines:
        raise DataError(f"{where}: holds no lines of numbers")
    below = [line for _, line in lines[len(lines) // 2 :]]
    is_single = any(map(_SINGLE_QUOTED.search, below)) and not any('"' in line for line in below)
    quote = "'" if is_single else '"'
    delimiter = _delimiter(text, [line for _, line in lines], below, quote, n_leads)
    wide = _wide(text, [*lines[:1], *lines[-1:]], delimiter, quote)
    if wide is not None:
        return wide
    rows = [_split(line, delimiter, quote) for _, line in lines]
    body = rows[len(rows) // 2 :]
    counts = Counter(map(len, body))
    n_cells = max(counts, key=lambda count: (counts[count], count == len(rows[0]), count))
    body = [row for row in body if len(row) == n_cells]
    start, numeric = _start(rows, body, n_cells)
    names, units, n_above = _header(where, lines, rows, start, numeric)
    if names is None and start == 0 and _are_column_numbers(rows[0]):
        names, start, n_above = rows[0], 1, 0
    is_trailed = _is_trailed(body, names, n_leads)
    if is_trailed:
        n_cells, numeric = n_cells - 1, numeric[:-1]
        names, units = names and names[:n_cells], units and units[:n_cells]
    above = [line for _, line in lines[:n_above]]
    first_line = lines[start][0] if start < len(lines) else lines[-1][0] + 1
    above += [line for number, line in comments if number < first_line]
    if names is None:
        names = _commented_names(comments, first_line, delimiter, quote, n_cells)
    block = _block(where, above, names, n_cells, delimiter, body)
    if block.has_counts and start < len(lines):
        start += 1
        first_line = lines[start][0] if start < len(lines) else first_line + 1
    is_by_line = (
        names is None
        and block.names is None
        and n_cells > 2
        and not numeric[0]
        and all(numeric[1:])
    )
    return Layout(
        where,
        delimiter,
        quote,
        n_cells,
        is_trailed,
        names if block.names is None else block.names,
        units if block.names is None else block.units,
        first_line,
        is_by_line,
        block,
    )


def _wide(text: Text, ends: list[Line], delimiter: str | None, quote: str) -> Layout | None:
    """Layout of a table with more columns than there can be leads, of which the lines are."""
    n_cells = len(ends[-1][1].split()) if delimiter is None else ends[-1][1].count(delimiter) + 1
    if n_cells <= limit_of("channels"):
        return None
    first = ends[0][1].split(delimiter, _MANY)[:_MANY]
    if _is_words([clean(cell) for cell in first]):
        check_limit(text.where, "channels", n_cells)
    return Layout(
        text.where, delimiter, quote, n_cells, False, None, None, ends[0][0], True, Block()
    )


def _split(line: str, delimiter: str | None, quote: str) -> list[str]:
    if delimiter is not None and quote in line:
        cells = next(
            csv.reader([line], delimiter=delimiter, quotechar=quote, skipinitialspace=True)
        )
    else:
        cells = line.split(delimiter)
    return [clean(cell) for cell in cells]


def _delimiter(
    text: Text, lines: list[str], below: list[str], quote: str, n_leads: int | None
) -> str | None:
    """Return what is between the cells of lines; None for blanks."""

    def is_usual(mark: str) -> bool:
        return 2 * sum(mark in line for line in below) >= len(below)

    for mark in _DELIMITERS:
        if is_usual(mark):
            return mark
    has_blanks = 2 * sum(len(line.split()) > 1 for line in below) >= len(below)
    if not is_usual(","):
        if any("," in line for line in below) and not has_blanks:
            return NO_DELIMITER if _is_one_column(text, lines, n_leads) else ","
        # For a single column anything will do that is not in it.
        return None if has_blanks and not is_number(below[-1]) else NO_DELIMITER
    if has_blanks and _n_numbers(below, None, quote) > _n_numbers(below, ",", quote):
        return None
    return NO_DELIMITER if _is_one_column(text, lines, n_leads) else ","


def _n_numbers(lines: Sequence[str], delimiter: str | None, quote: str) -> float:
    """Part of the cells that are numbers."""
    cells = [cell for line in lines for cell in _split(line, delimiter, quote)]
    return sum(map(is_number, cells)) / len(cells)


def _is_one_column(text: Text, lines: Sequence[str], n_leads: int | None) -> bool:
    """Whether commas are decimal signs of a single column, and not between two of whole numbers.

    What is behind the comma is never signed then. It is certain where there is a zero in front of
    more, a sign in front of a zero or of some of the numbers, or lines with and without a comma.
    """
    start = len(lines)
    while start and (_ONE_COMMA.fullmatch(lines[start - 1]) or _WHOLE.fullmatch(lines[start - 1])):
        start -= 1
    if start == len(lines):
        return False
    if start:
        # The header is the last line, or that of the names above one of units.
        if any(map(_names_two, lines[0 if start == 2 else start - 1 : start])):
            return False
        if "," not in lines[start - 1]:
            return True
    has_comma = has_none = is_signed = False
    for _, line in islice(text.lines(), start, None):
        match = _ONE_COMMA.fullmatch(line)
        if match is None:
            if not _WHOLE.fullmatch(line):
                return False
            has_none = True
            continue
        has_comma = True
        whole, fraction = match.groups()
        is_signed |= whole[:1] in ("+", "-")
        if (fraction[0] == "0" and len(fraction) > 1) or whole in ("", "-", "+", "-0"):
            return True
    if start and says_something(lines[start - 1]):
        return True
    if n_leads is not None:
        return n_leads == 1
    return has_comma and (has_none or is_signed)


def _names_two(line: str) -> bool:
    cells = _split(line, ",", '"')
    return len(cells) == 2 and not says_something(line) and not any(map(is_number, cells))


def _start(rows: list[list[str]], body: list[list[str]], n_cells: int) -> tuple[int, list[bool]]:
    """Which line is the first of numbers, and which columns hold them."""
    numeric = []
    for index in range(n_cells):
        cells = [row[index] for row in body if not is_missing(row[index])]
        n_numbers = sum(map(_is_value, cells))
        numeric.append(2 * n_numbers >= len(cells))

    def is_of_numbers(row: list[str]) -> bool:
        if len(row) != n_cells or not any(numeric):
            return False
        return all(
            is_missing(cell) or _is_value(cell)
            for cell, is_one in zip(row, numeric, strict=True)
            if is_one
        )

    indices = (index for index, row in enumerate(rows) if is_of_numbers(row))
    default = next((p + 1 for p, row in enumerate(rows) if len(row) == n_cells), len(rows))
    return next(indices, default), numeric


def _header(
    where: str, lines: list[Line], rows: list[list[str]], start: int, numeric: list[bool]
) -> tuple[list[str] | None, list[str] | None, int]:
    """Names and units above the numbers, and how many lines are above these."""
    n_cells = len(numeric)
    region = rows[:start]
    fits = [len(row) == n_cells and _is_words(row) for row in region]
    if not region:
        return None, None, 0
    _check_first_numbers(where, lines, region, fits, numeric)
    is_said = [says_something(lines[index][1]) for index in range(start)]
    if not fits[-1] or is_said[-1]:
        if fits[0] and not is_said[0] and start == 2 and n_cells > 1:
            if len(rows[1]) != n_cells:
                raise _wrong_length(where, lines[1][0], len(rows[1]), n_cells)
            raise DataError(
                f"{where}, line {lines[1][0]}: is neither a line of numbers nor one of units. "
                "Correct or remove it"
            )
        return None, None, start
    if start > 1 and fits[-2] and not is_said[-2] and (start == 2 or _are_units(region[-1])):
        return region[-2], region[-1], start - 2
    return region[-1], None, start - 1


def _check_first_numbers(
    where: str, lines: list[Line], region: list[list[str]], fits: list[bool], numeric: list[bool]
) -> None:
    """Refuse lines below a header that begin as those of numbers do, and hold something else."""
    index = len(region)
    while index:
        row = region[index - 1]
        if len(row) != len(numeric) or is_missing(row[0]) or not _is_value(row[0]):
            break
        index -= 1
    if 0 < index < len(region) and fits[index - 1]:
        for cell, name, is_one in zip(region[index], region[index - 1], numeric, strict=True):
            if is_one and not (is_missing(cell) or _is_value(cell)):
                raise no_number(where, lines[index][0], cell, name)


def _is_value(cell: str) -> bool:
    """Whether a cell is a sample or a time."""
    return is_number(cell) or is_time(cell)


def no_number(where: str, line: int, cell: object, column: str) -> DataError:
    """Return the error of a cell of a signal or of times that is no number.

    Args:
        where: names the file.
        line: number of the line in it.
        cell: what is there.
        column: its name.
    """
    shown = shortened(cell, 60)
    return DataError(f"{where}, line {line}: {shown} in {column[:60]} is no number")


def _is_words(row: list[str]) -> bool:
    """Whether a line may be a header: cells that are not empty, and none of them a number."""
    cells = row[1:] or row
    return any(cells) and not any(map(is_number, cells))


def _are_units(row: list[str]) -> bool:
    """Whether half of the cells of a line are units."""
    units = [cell.strip("()[]").lower() for cell in row if not is_missing(cell)]
    known = [
        unit in SECONDS_PER
        or millivolts_per(unit) is not None
        or is_counts(unit)
        or unit.split(" ")[-1] in SECONDS_PER
        or unit.startswith("hh:mm")
        for unit in units
    ]
    return 2 * sum(known) >= len(units) > 0


def _are_column_numbers(cells: list[str]) -> bool:
    """Whether a line is the header that pandas writes for columns without names."""
    numbers = cells if cells[0] else cells[1:]
    counted = [str(i) for i in range(len(numbers) + 1)]
    return len(numbers) > 2 and numbers in (counted[:-1], counted[1:])


def _is_trailed(body: list[list[str]], names: Sequence[str] | None, n_leads: int | None) -> bool:
    """Whether lines end with a delimiter behind their last cell."""
    n_cells = len(body[0])
    if n_cells < 2 or any(row[-1] for row in body):
        return False
    return n_leads != n_cells if names is None else not names[-1]


def _commented_names(
    comments: list[Line], first_line: int, delimiter: str | None, quote: str, n_cells: int
) -> list[str] | None:
    """Names in the last comment above the numbers, as NumPy writes a header."""
    for number, line in reversed(comments):
        if number < first_line:
            names = _split(line.lstrip(f"{_COMMENT} "), delimiter, quote)
            are_names = any(standard_lead(name) in LEADS for name in names)
            return names if len(names) == n_cells and are_names and _is_words(names) else None
    return None


def _block(
    where: str,
    above: list[str],
    names: list[str] | None,
    n_cells: int,
    delimiter: str | None,
    body: list[list[str]],
) -> Block:
    """What the lines above the numbers say; a number alone is the rate (BRAVEHEART)."""
    decimal = "," if delimiter != "," and any("," in cell for cell in body[-1]) else "."
    if len(above) == 1 and n_cells > 1 and is_number(above[0]) and not is_missing(above[0]):
        rate = float(clean(above[0]).replace(",", "."))
        if limit_of("lowest_rate") <= rate <= limit_of("highest_rate"):
            return Block(rate, is_of_rate_alone=True)
    return read_block(where, above, names, n_cells, decimal)
