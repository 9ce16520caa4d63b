"""ECG paper: which lead is where, in mm. What draws it, here or in a browser, asks this module."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import ceil

import numpy as np

from fairseq_ecg.ecg.arrangement import arrange, derive_limb_leads
from fairseq_ecg.ecg.leads import LEADS
from fairseq_ecg.errors import DataError
from fairseq_ecg.formats import ECG, standard_lead

MM_PER_SECOND = 25.0
SPEEDS = (25.0, 50.0)
GAINS = (10.0, 5.0, 2.5)
"""In mm/mV: the usual one, and what is taken when deflections would leave their row."""

SHOWN_SECONDS = 10.0
LONGEST_SECONDS = 120.0
"""That fit on one picture; 3 m of paper."""

LARGEST = 25.0
"""Deflections in mm stay below this where a gain allows it; so far are the outer rows from the
edge."""
ROW_HEIGHTS = ((4, 30.0), (7, 25.0), (12, 20.0))
"""Height of a row in mm up to a number of rows; the last one holds for more."""

TRACE_LEFT = 15.0
"""Where the first sample is on the paper, right of the calibration pulse, in mm."""
PULSE_SECONDS = 0.2
"""The pulse is 1 mV high, and as wide as this time is at 25 mm/s."""

BACKGROUND = "#fffdfc"
FINE_GRID = "#f9dfdc"
COARSE_GRID = "#efb8b3"
TRACE = "#15171c"
SALIENCY_RAMP = (BACKGROUND, "#bfe6ee", "#5fb4d3", "#3f6fc4", "#4b2a9b")
"""From the least salient moment of a recording to the most; a hue that the grid does not have."""


@dataclass(frozen=True)
class Strip:
    """A piece of one lead on the paper.

    Attributes:
        lead: its name.
        row: from the top, from 0.
        start: of the piece, in seconds from the start of what is shown.
        stop: likewise.
    """

    lead: str
    row: int
    start: float
    stop: float


@dataclass(frozen=True)
class Layout:
    """Which leads stand where.

    Args:
        columns: leads of each column from the top; columns share the time, one after the other.
        rhythm: leads over the whole time in rows below.
    """

    columns: tuple[tuple[str, ...], ...]
    rhythm: tuple[str, ...] = ()

    @property
    def n_rows(self) -> int:
        """Rows on the paper."""
        return max(map(len, self.columns)) + len(self.rhythm)

    def strips(self, seconds: float) -> Iterator[Strip]:
        """Yield every strip, column by column.

        Args:
            seconds: that are shown.
        """
        bounds = [seconds * column / len(self.columns) for column in range(len(self.columns) + 1)]
        for leads, start, stop in zip(self.columns, bounds, bounds[1:], strict=False):
            for row, lead in enumerate(leads):
                yield Strip(lead, row, start, stop)
        for row, lead in enumerate(self.rhythm, self.n_rows - len(self.rhythm)):
            yield Strip(lead, row, 0.0, seconds)


LAYOUTS = {"3x4": (4, ("II",)), "6x2": (2, ()), "12x1": (1, ())}
"""Number of columns and leads of the rhythm strips of what is called rows x columns."""


def layout_of(
    present: Sequence[str],
    name: str | None = None,
    leads: Sequence[str] | None = None,
    rhythm: Sequence[str] | None = None,
) -> Layout:
    """Arrange leads.

    Args:
        present: leads that can be drawn.
        name: one of ``LAYOUTS``. None: 3x4 where all twelve leads are there and no others are asked
            for, else one below the other.
        leads: to draw, filling column by column. None: the twelve leads, or if none of them but
            other leads are asked for by leaving ``name`` open, those that are there.
        rhythm: leads of the rhythm strips in place of the layout's own; empty: none.

    Returns:
        The layout.

    Raises:
        DataError: no such layout, a lead is not there, or twice.
    """
    if name not in (None, *LAYOUTS):
        raise DataError(f"{name!r} is no layout; choose from {', '.join(LAYOUTS)}")
    is_complete = set(LEADS) <= set(present)
    if leads is None:
        # The clinical layout has gaps where a lead is missing.
        chosen = LEADS if is_complete or name is not None else tuple(present)
    else:
        chosen = _known(leads, present)
    if name is None:
        name = "3x4" if is_complete and leads is None else "12x1"
    n_columns, own_rhythm = LAYOUTS[name]
    n_rows = ceil(len(chosen) / n_columns)
    columns = tuple(chosen[first : first + n_rows] for first in range(0, len(chosen), n_rows))
    if rhythm is not None:
        below = _known(rhythm, present) if rhythm else ()
    else:
        below = own_rhythm if leads is None else ()
    return Layout(columns, below)


def _known(leads: Sequence[str], present: Sequence[str]) -> tuple[str, ...]:
    names = tuple(lead if lead in present else standard_lead(lead) for lead in leads)
    unknown = [lead for lead in names if lead not in present]
    if unknown:
        raise DataError(
            f"no lead {', '.join(unknown)} to draw; the recording has {', '.join(present)}"
        )
    if not names or len(set(names)) < len(names):
        raise DataError(f"leads {', '.join(names) or '(none)'}: name each once, and at least one")
    return names


@dataclass(frozen=True)
class Paper:
    """The grid and the positions on it, in mm from its lower left corner.

    Args:
        n_rows: of traces.
        seconds: that are shown.
        speed: in mm/s.
    """

    n_rows: int
    seconds: float
    speed: float = MM_PER_SECOND

    @property
    def row_height(self) -> float:
        """From one base line to the next."""
        return next((height for rows, height in ROW_HEIGHTS if self.n_rows <= rows), 20.0)

    @property
    def width(self) -> float:
        """A multiple of 5."""
        return 5.0 * ceil((TRACE_LEFT + self.seconds * self.speed + 5) / 5)

    @property
    def height(self) -> float:
        """A multiple of 5."""
        return 2 * LARGEST + (self.n_rows - 1) * self.row_height

    def base_line(self, row: int) -> float:
        """Height of a row's 0 mV."""
        return self.height - LARGEST - row * self.row_height

    def across(self, seconds):
        """Position of a time from the start of what is shown."""
        return TRACE_LEFT + seconds * self.speed


@dataclass(frozen=True, eq=False)
class Shown:
    """The part of a recording that is drawn.

    Attributes:
        ecg: the part, with the limb leads that could be derived.
        derived: names of those.
        start: of the part in the recording, in seconds.
        whole_seconds: length of the recording.
    """

    ecg: ECG
    derived: tuple[str, ...]
    start: float
    whole_seconds: float

    def millivolts(self, strip: Strip) -> tuple[np.ndarray, np.ndarray]:
        """Return a strip's times and deflections.

        Returns:
            ``(n_samples,)`` seconds from the start of what is shown, and mV from their median; NaN
            throughout where the lead is missing.
        """
        rate = self.ecg.sample_rate
        first = round(strip.start * rate)
        last = min(round(strip.stop * rate), self.ecg.n_samples)
        times = np.arange(first, last) / rate
        if strip.lead not in self.ecg.leads:
            return times, np.full(len(times), np.nan)
        values = self.ecg.signal[self.ecg.leads.index(strip.lead), first:last]
        finite = np.isfinite(values)
        if not finite.any():
            return times, np.full(len(times), np.nan)
        return times, np.where(finite, values - np.median(values[finite]), np.nan)

    def gain(self, strips: Sequence[Strip]) -> float:
        """Return the largest of ``GAINS`` at which no deflection exceeds ``LARGEST``."""
        peaks = [np.abs(self.millivolts(strip)[1]) for strip in strips]
        largest = max((np.nanmax(peak) for peak in peaks if np.isfinite(peak).any()), default=0.0)
        return next((gain for gain in GAINS if gain * largest <= LARGEST), GAINS[-1])


def shown(ecg: ECG, start: float = 0.0, seconds: float = SHOWN_SECONDS) -> Shown:
    """Cut out what is drawn.

    Args:
        ecg: the recording.
        start: in seconds.
        seconds: at most so many; the recording may end before.

    Returns:
        The part.

    Raises:
        DataError: nothing is there.
    """
    if not start >= 0 or not seconds > 0:
        raise DataError(
            f"start {start:g} s and length {seconds:g} s: the one must not be negative, the other "
            "positive"
        )
    first = round(start * ecg.sample_rate)
    last = min(first + round(seconds * ecg.sample_rate), ecg.n_samples)
    if last - first < 2:
        raise DataError(
            f"{ecg.where}: nothing to draw from {start:g} s on, it is {ecg.seconds:.4g} s long"
        )
    complete = derive_limb_leads(ecg)
    part = arrange(complete, complete.leads)
    part = ECG(ecg.where, part.signal[:, first:last], part.leads, ecg.sample_rate)
    derived = tuple(lead for lead in part.leads if lead not in ecg.leads)
    ordered = [lead for lead in LEADS if lead in part.leads]
    ordered += [lead for lead in part.leads if lead not in LEADS]
    return Shown(arrange(part, ordered), derived, start, ecg.seconds)
