"""Columns of times: from how people and devices write them to seconds, and to the sampling rate."""

import datetime
import math
import re

import numpy as np
import pandas as pd

from fairseq_ecg.errors import DataError
from fairseq_ecg.formats.chunks import LazyArray
from fairseq_ecg.formats.decimals import clean

TIME_NAMES = {
    "time", "t", "timestamp", "timestamps", "elapsed time", "elapsed_time", "datetime",
    "time and date", "date and time", "time date", "date time", "date_time", "sample interval",
    "zeit", "zeitstempel", "uhrzeit", "temps", "horodatage", "heure", "tiempo", "hora", "tempo",
    "ora", "tijd", "tid", "aika", "czas", "cas", "idő", "zaman", "время", "時間", "时间", "시간",
}  # fmt: skip
"""Names of columns of times, in lower case."""

_DATE = r"(?P<{0}1>\d{{1,4}})[./-](?P<{0}2>\d{{1,2}})[./-](?P<{0}3>\d{{1,4}})"
_MOMENT = re.compile(
    rf"(?:{_DATE.format('before')}(?:[T,;_]\s*|\s+))?"
    r"(?:(?P<hour>\d{1,6}):)?(?P<minute>\d{1,2}):(?P<second>\d{1,2})(?:[.,:](?P<fraction>\d+))?"
    r"\s*(?P<half>[ap]\.?m\.?)?\s*(?P<zone>Z|UTC|GMT|(?:UTC|GMT)?[+-]\d{2}:?\d{2})?"
    rf"(?:[T,;_]?\s*{_DATE.format('behind')})?",
    re.IGNORECASE,
)
_DAY, _HOUR = 86_400, 3_600
_SPAN = 10 * _DAY
"""Between the numbers of two dates: dates are distinguished however the zone shifts their hours."""

_SLOWEST = 20.0
"""Hz; a slower time column is not in the unit that it seems to be in."""
_UNEVEN = 0.8
"""Of the step between samples: how much longer or shorter a step may be. Times that were rounded
to less than a step are within it, a missing sample is not."""
_AT_ONCE = 2**17


def is_time(cell: str) -> bool:
    """Whether a cell is a time of day, an elapsed time or a date with a time."""
    return _MOMENT.fullmatch(_bare(cell)) is not None


def _bare(cell: str) -> str:
    return clean(cell).strip("[]").strip()


class Times:
    """Texts of a column of times, a part after another.

    Which number of a date is the day follows from all dates; times of day go on over midnight.

    Args:
        where: names the file in error messages.
    """

    def __init__(self, where: str):
        self._where = where
        self._dates: dict[tuple[str, str, str], int] = {}
        self._first: int | None = None
        self._last: int | None = None
        self._over = 0
        self._origin: pd.Timestamp | None = None

    def encode(self, cells: pd.Series) -> np.ndarray:
        """Return numbers, ``(n_cells,)`` float64, that `decode` turns into seconds.

        Raises:
            DataError: a cell is no time.
        """
        texts = [_bare(str(cell)) for cell in cells]
        matches = [_MOMENT.fullmatch(text) for text in texts]
        found = [match for match in matches if match is not None]
        if self._origin is None and len(found) == len(matches):
            return np.array([self._seconds(match) for match in found])
        wrong = next((i for i, match in enumerate(matches) if match is None), 0)
        try:  # names of months, and whatever else pandas knows
            moments = pd.to_datetime(pd.Series(texts), format="mixed", utc=True)
        except (ValueError, TypeError) as error:
            raise self._no_time(texts[wrong]) from error
        if self._first is not None or moments.isna().any():
            raise self._no_time(texts[wrong])
        self._origin = self._origin if self._origin is not None else moments.iloc[0]
        return (moments - self._origin).dt.total_seconds().to_numpy()

    def _no_time(self, text: str) -> DataError:
        return DataError(f"{self._where}: its times, such as {text[:60]!r}, are none")

    def _seconds(self, match: re.Match) -> float:
        """Seconds since the first time, on the days of their dates as if all were one."""
        hour = int(match["hour"] or 0)
        if match["half"]:
            hour = hour % 12 + (12 if match["half"][0] in "pP" else 0)
        nanoseconds = int(f"{match['fraction'] or '':0<9}"[:9])
        whole = hour * _HOUR + int(match["minute"]) * 60 + int(match["second"])
        now = (whole - _zone(match["zone"])) * 10**9 + nanoseconds
        for side in ("before", "behind"):
            if match[f"{side}1"]:
                date = match[f"{side}1"], match[f"{side}2"], match[f"{side}3"]
                number = self._dates.setdefault(date, len(self._dates))
                if hour > 24 or abs(_zone(match["zone"])) > 14 * _HOUR:
                    raise self._no_time(match.string)
                break
        else:  # times of day start again at midnight, minutes and seconds with the hour
            number, period = 0, (_DAY if match["hour"] else _HOUR) * 10**9
            if self._last is not None and now - self._last < -period / 2:
                self._over += period
            self._last, now = now, now + self._over
        if self._first is None:
            self._first = now
        return number * _SPAN + (now - self._first) / 1e9

    def decode(self, numbers: np.ndarray) -> np.ndarray:
        """Return seconds, after all parts were encoded."""
        if not self._dates:
            return numbers
        days = np.array(self._days(), np.float64)
        which = np.round(numbers / _SPAN).astype(np.int64)
        return numbers - which * _SPAN + (days[which] - days[0]) * _DAY

    def _days(self) -> list[int]:
        """Number of each date's day: those dates are right that are closest together."""
        found = []
        for order in ("day", "month"):
            try:
                days = [_ordinal(date, order) for date in self._dates]
            except ValueError:
                continue
            if days == sorted(days):
                found.append((days[-1] - days[0], days))
        if not found:
            date = "/".join(next(iter(self._dates)))
            raise DataError(f"{self._where}: its dates, such as {date}, are none, or go back")
        return min(found, key=lambda each: each[0])[1]


def _zone(zone: str | None) -> int:
    """Seconds that a zone is ahead of UTC."""
    digits = re.sub(r"[^\d]", "", zone or "")
    seconds = int(digits[:2]) * _HOUR + int(digits[2:]) * 60 if digits else 0
    return -seconds if "-" in (zone or "") else seconds


def _ordinal(date: tuple[str, str, str], order: str) -> int:
    first, second, third = map(int, date)
    if len(date[0]) > 2:
        return datetime.date(first, second, third).toordinal()
    year = third + 2000 if third < 100 else third
    day, month = (first, second) if order == "day" else (second, first)
    return datetime.date(year, month, day).toordinal()


def rate_of(where: str, seconds: np.ndarray | LazyArray, times: Times | None = None) -> float:
    """Sampling rate in Hz from the times of samples.

    Args:
        where: names the file in error messages.
        seconds: of the samples.
        times: decodes them; None where they are seconds.

    Raises:
        DataError: there are fewer than two, or they are not evenly spaced.
    """
    decode = np.asarray if times is None else times.decode
    n_samples = seconds.size
    if n_samples < 2:
        raise DataError(f"{where}: a single time gives no sampling rate. Give sample_rate")
    (first,), (last,) = decode(seconds[:1]), decode(seconds[n_samples - 1 : n_samples])
    step = (last - first) / (n_samples - 1)
    if not (math.isfinite(step) and step > 0):
        raise DataError(f"{where}: its times do not increase. Remove the column of times")
    for start in range(0, n_samples - 1, _AT_ONCE):
        part = decode(seconds[start : min(start + _AT_ONCE + 1, n_samples)])
        expected = first + step * np.arange(start + 1, start + len(part))
        even = np.abs(np.diff(part) - step) <= step * _UNEVEN
        even &= np.abs(part[1:] - expected) < step
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
