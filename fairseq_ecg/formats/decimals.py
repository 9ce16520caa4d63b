"""How numbers are written in a text: the sign before fractions, and between thousands."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from fairseq_ecg.errors import DataError

MISSING = frozenset(["", "-", "--", "nan", "na", "n/a", "#n/a", "null", "none", "<na>"])
"""What stands in place of a sample without value, in lower case."""

_GAPS = "'\N{RIGHT SINGLE QUOTATION MARK}\N{NO-BREAK SPACE}\N{NARROW NO-BREAK SPACE} "
"""Between thousands; not more than one of them in a number."""
_SIGN, _EXPONENT = r"[+-]?", r"(?:[eE][+-]?\d+)?"
_WHOLE = re.compile(rf"{_SIGN}\d+{_EXPONENT}")
_GAPPED = re.compile(rf"({_SIGN}\d{{1,3}})([{_GAPS}])\d{{3}}(?:\2\d{{3}})*(?:[.,]\d*)?")
_NUMBER_LIKE = re.compile(
    rf"{_SIGN}(?:\d[\d.,]*|[.,]\d+){_EXPONENT}|{_GAPPED.pattern}|{_SIGN}inf(?:inity)?",
    re.IGNORECASE,
)


def _patterns(decimal: str, other: str) -> dict[str, re.Pattern]:
    decimal, other = re.escape(decimal), re.escape(other)
    return {
        "either": re.compile(rf"{_SIGN}[1-9]\d{{0,2}}{decimal}\d{{3}}"),
        "fraction": re.compile(rf"{_SIGN}(?:\d+{decimal}\d*|{decimal}\d+){_EXPONENT}"),
        "grouped": re.compile(
            rf"{_SIGN}\d{{1,3}}(?:(?:{other}\d{{3}})+{decimal}\d*|(?:{other}\d{{3}}){{2,}})"
        ),
    }


_WITH = {".": _patterns(".", ","), ",": _patterns(",", ".")}
"""By decimal sign: numbers that may have the other meaning, with a fraction, with thousands."""


@dataclass(frozen=True)
class NumberFormat:
    """How the numbers of a column are written.

    Args:
        decimal: sign before fractions.
        thousands: sign between groups of three digits; None where there is none.
    """

    decimal: str = "."
    thousands: str | None = None

    def numbers(self, cells: pd.Series) -> tuple[np.ndarray, np.ndarray]:
        """Turn texts into numbers.

        Args:
            cells: texts, or numbers already.

        Returns:
            The numbers, ``(n_cells,)`` float64 with NaN for samples without value, and where a
            cell is no number.
        """
        if pd.api.types.is_numeric_dtype(cells):
            return cells.to_numpy(np.float64), np.zeros(len(cells), bool)
        known = {cell: self._number(cell) for cell in cells.unique()}
        numbers = [known[cell] for cell in cells]
        wrong = np.array([number is None for number in numbers])
        return np.array([np.nan if number is None else number for number in numbers]), wrong

    def _number(self, cell: Any) -> float | None:
        if not isinstance(cell, str):
            return float(cell) if pd.notna(cell) else np.nan
        text = _without_gaps(clean(cell))
        if text.lower() in MISSING:
            return np.nan
        if self.thousands is not None and (
            _WITH[self.decimal]["grouped"].fullmatch(text)
            or _WITH[self.thousands]["either"].fullmatch(text)
        ):
            text = text.replace(self.thousands, "")
        if self.decimal in text and _WITH[self.decimal]["fraction"].fullmatch(text):
            return float(text.replace(self.decimal, "."))
        is_number = _WHOLE.fullmatch(text) or text.lower().lstrip("+-") in ("inf", "infinity")
        return float(text) if is_number else None


def clean(cell: str) -> str:
    """Return the text of a cell, without blanks and quotes around it, with an ASCII minus."""
    return cell.strip().strip("'\"").strip().replace("\N{MINUS SIGN}", "-")


def _without_gaps(text: str) -> str:
    """Return a number without signs between its thousands that are neither point nor comma."""
    return re.sub(f"[{_GAPS}]", "", text) if _GAPPED.fullmatch(text) else text


def is_number(cell: str) -> bool:
    """Whether a cell is a number in any way of writing it; no value is none."""
    return _NUMBER_LIKE.fullmatch(clean(cell)) is not None


def is_missing(cell: str) -> bool:
    """Whether a cell stands for a sample without value."""
    return clean(cell).lower() in MISSING


@dataclass
class Evidence:
    """What the cells of a column say of how its numbers are written.

    Args:
        examples: a cell for each decimal sign that is certain.
        either: decimal signs that may as well be between thousands.
        has_whole: whether there are numbers of up to three digits alone.
        has_long: whether there are four digits in a row, with nothing between thousands.
    """

    examples: dict[str, str] = field(default_factory=dict)
    either: set[str] = field(default_factory=set)
    has_whole: bool = False
    has_long: bool = False

    @property
    def is_settled(self) -> bool:
        """Whether what the commas are is certain."""
        return bool(self.examples) or "," not in self.either

    def add(self, cells: Iterable[str]) -> None:
        """Look at texts."""
        for cell in cells:
            text = _without_gaps(clean(cell))
            for decimal, patterns in _WITH.items():
                if patterns["either"].fullmatch(text):
                    self.either.add(decimal)
                elif patterns["fraction"].fullmatch(text) or patterns["grouped"].fullmatch(text):
                    self.examples.setdefault(decimal, cell)
            if _WHOLE.fullmatch(text):
                is_long = len(text.lstrip("+-")) > 3
                self.has_long |= is_long
                self.has_whole |= not is_long


def number_formats(
    where: str, evidence: Mapping[int, Evidence], names: Mapping[int, str]
) -> dict[int, NumberFormat]:
    """Decide how the numbers of each column are written.

    A comma with three digits behind it may be either sign. What other cells of its column say
    counts first, then other columns. Where nothing does, it is between thousands if there are
    numbers of up to three digits without one, and none of more.

    Args:
        where: names the file in error messages.
        evidence: by column.
        names: of columns, for error messages.

    Raises:
        DataError: a column has both decimal points and decimal commas.
    """
    everywhere = {decimal for found in evidence.values() for decimal in found.examples}
    has_long = any(found.has_long for found in evidence.values())
    formats = {}
    for column, found in evidence.items():
        if len(found.examples) > 1:
            shown = " and ".join(repr(clean(cell)) for cell in found.examples.values())
            raise DataError(
                f"{where}: {names[column]} has decimal points and decimal commas ({shown}). Write "
                "its numbers in one way"
            )
        decimal = next(iter(found.examples), None)
        if decimal is None and len(everywhere) == 1:
            (decimal,) = everywhere
        elif decimal is None:
            is_comma = "," in found.either and (has_long or not found.has_whole)
            decimal = "," if is_comma else "."
        formats[column] = NumberFormat(decimal, {".": ",", ",": "."}[decimal])
    return formats
