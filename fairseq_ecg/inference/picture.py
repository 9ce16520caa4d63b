"""A 12-lead ECG on paper, with the probabilities a network gives its labels beside it."""

from collections.abc import Iterator, Mapping, Set
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib import patheffects
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure

from fairseq_ecg.data.atomic import replacing
from fairseq_ecg.data.leads import LEADS
from fairseq_ecg.data.recording import Recording

PIXELS_PER_MM = 8
MM_PER_INCH = 25.4
POINTS_PER_MM = 72 / MM_PER_INCH

MM_PER_SECOND = 25
GAINS = (10.0, 5.0, 2.5)
"""In mm/mV: the usual one, and what is taken when deflections would leave their row."""

COLUMNS = (("I", "II", "III"), ("aVR", "aVL", "aVF"), ("V1", "V2", "V3"), ("V4", "V5", "V6"))
RHYTHM_LEAD = "II"
SHOWN_SECONDS = 10

ROW_HEIGHT = 30
ROWS = 4
LARGEST = 25
"""Deflections in a row stay below this; it also fits between the outer rows and the edge."""

PULSE_WIDTH = 5
TRACE_LEFT = 15
"""Where time 0 is on the paper, right of the calibration pulse; all of these in mm."""

PAPER = (TRACE_LEFT + SHOWN_SECONDS * MM_PER_SECOND + 5, ROWS * ROW_HEIGHT + 20)
"""Width and height of the grid in mm; multiples of 5."""

MARGIN = 6
HEADER = 9
FOOTER = 7
PANEL_WIDTH = 72

BAR_GAP = 1.2
"""Between a label and its bar, in mm."""

CHARACTER_WIDTH = 0.65
"""Of bold text, on average, in units of its size."""

BACKGROUND = "#fffdfc"
FINE_GRID = "#f9dfdc"
COARSE_GRID = "#efb8b3"
TRACE = "#15171c"
TEXT = "#22252b"
MUTED = "#767b85"
BAR = "#8ea3b8"
TRUE_BAR = "#1f5f99"
BAR_TRACK = "#eceff2"

PEN = {"color": TRACE, "linewidth": 0.3 * POINTS_PER_MM}
NAME_SIZE, NAME_WIDTH = 3.3, 9
NAME_HEIGHT = 11
NAME_REACH = 40
"""Size of the name of a lead, height above the base line, and how far right it may move, in mm."""


@dataclass(frozen=True)
class Prediction:
    """What a network says of a recording.

    Attributes:
        probabilities: of each label, by name, in the order to show them.
        true: names of the labels that hold; None when that is not known.
    """

    probabilities: Mapping[str, float]
    true: Set[str] | None = None


def draw(
    recording: Recording, title: str, path: Path, prediction: Prediction | None = None
) -> None:
    """Draw the first ten seconds of a recording and write them as a PNG file in true size.

    Three rows of four leads of 2.5 s each and lead II over 10 s, at 25 mm/s and 10 mm/mV (less
    where deflections are large). The four share the time of a shorter recording. Every trace is
    moved so that its median lies on its base line.

    Args:
        recording: what to draw.
        title: stands above the ECG.
        path: file to write.
        prediction: is shown beside the ECG.
    """
    width = 2 * MARGIN + PAPER[0] + (PANEL_WIDTH + MARGIN if prediction else 0)
    height = 2 * MARGIN + HEADER + PAPER[1] + FOOTER
    figure = Figure((width / MM_PER_INCH, height / MM_PER_INCH), facecolor="white")

    def axes(left: float, bottom: float, size: tuple[float, float]) -> Axes:
        """Return axes at a place in mm, whose data coordinates are mm."""
        box = (left / width, bottom / height, size[0] / width, size[1] / height)
        return figure.add_axes(box, xlim=(0, size[0]), ylim=(0, size[1]), xticks=[], yticks=[])

    bottom = MARGIN + FOOTER
    _draw_paper(axes(MARGIN, bottom, PAPER), recording)
    header = axes(MARGIN, bottom + PAPER[1], (PAPER[0], HEADER))
    header.axis("off")
    _text(header, 0, HEADER / 2 + 1, title, 4.4, weight="bold")
    footer = axes(MARGIN, MARGIN, (PAPER[0], FOOTER))
    footer.axis("off")
    _text(footer, 0, 2, _scale(recording), 2.9, color=MUTED)
    if prediction:
        left = 2 * MARGIN + PAPER[0]
        _draw_panel(
            axes(left, MARGIN, (PANEL_WIDTH, PAPER[1] + FOOTER + HEADER)), prediction, PAPER[1]
        )
    with replacing(path) as unfinished:
        figure.savefig(unfinished, format="png", dpi=PIXELS_PER_MM * MM_PER_INCH)


def _draw_paper(axes: Axes, recording: Recording) -> None:
    axes.set_facecolor(BACKGROUND)
    for spine in axes.spines.values():
        spine.set(color=COARSE_GRID, linewidth=0.3 * POINTS_PER_MM)
    _draw_grid(axes, 1, FINE_GRID, 0.12)
    _draw_grid(axes, 5, COARSE_GRID, 0.2)

    gain = _gain(recording)
    traces = [
        _trace(recording, lead, row, window, gain) for lead, row, window in _windows(recording)
    ]
    everywhere = np.concatenate(traces, axis=1)
    for (lead, row, window), trace in zip(_windows(recording), traces, strict=True):
        base, left = _base_line(row), trace[0, 0]
        axes.plot(*trace, solid_joinstyle="round", **PEN)
        if window.start:
            axes.plot([left, left], [base - 1.5, base + 1.5], **PEN)
        _draw_name(axes, lead, left, base + NAME_HEIGHT, everywhere)
    for row in range(ROWS):
        _draw_calibration_pulse(axes, row, gain)


def _draw_grid(axes: Axes, step: int, color: str, width: float) -> None:
    """Draw a line every ``step`` mm, ``width`` mm thick."""
    right, top = PAPER
    vertical = [[(x, 0), (x, top)] for x in range(0, right + 1, step)]
    horizontal = [[(0, y), (right, y)] for y in range(0, top + 1, step)]
    lines = LineCollection(
        vertical + horizontal, colors=color, linewidths=width * POINTS_PER_MM, zorder=0
    )
    axes.add_collection(lines)


def _windows(recording: Recording) -> Iterator[tuple[str, int, slice]]:
    """Yield lead, row and samples of every trace on the paper."""
    shown = min(recording.feats.shape[1], round(SHOWN_SECONDS * recording.sample_rate))
    bounds = [shown * column // len(COLUMNS) for column in range(len(COLUMNS) + 1)]
    for leads, first, last in zip(COLUMNS, bounds, bounds[1:], strict=False):
        for row, lead in enumerate(leads):
            yield lead, row, slice(first, last)
    yield RHYTHM_LEAD, ROWS - 1, slice(0, shown)


def _millivolts(recording: Recording, lead: str, window: slice) -> np.ndarray:
    """Return samples of a lead, in mV from their median."""
    millivolts = recording.feats[LEADS.index(lead), window]
    return millivolts - np.median(millivolts)


def _gain(recording: Recording) -> float:
    """Return the largest gain in mm/mV at which no deflection exceeds ``LARGEST``."""
    largest = max(
        np.abs(_millivolts(recording, lead, window)).max()
        for lead, _, window in _windows(recording)
    )
    return next((gain for gain in GAINS if gain * largest <= LARGEST), GAINS[-1])


def _trace(recording: Recording, lead: str, row: int, window: slice, gain: float) -> np.ndarray:
    """Return samples of a lead as places on the paper, ``(2, n_samples)`` in mm."""
    time = np.arange(window.start, window.stop) / recording.sample_rate
    heights = _base_line(row) + gain * _millivolts(recording, lead, window)
    return np.stack([TRACE_LEFT + time * MM_PER_SECOND, heights])


def _draw_name(axes: Axes, lead: str, left: float, height: float, traces: np.ndarray) -> None:
    """Write the name of a lead at the first place right of ``left`` that no trace crosses."""
    across = traces[0, np.abs(traces[1] - height) < NAME_SIZE]
    places = left + 1 + np.arange(NAME_REACH)
    free = [x for x in places if not ((x - 1 < across) & (across < x + NAME_WIDTH)).any()]
    _text(
        axes,
        free[0] if free else places[0],
        height,
        lead,
        NAME_SIZE,
        weight="bold",
        path_effects=[patheffects.withStroke(linewidth=2.5, foreground=BACKGROUND)],
    )


def _draw_calibration_pulse(axes: Axes, row: int, gain: float) -> None:
    """Draw 1 mV for 0.2 s."""
    base = _base_line(row)
    left = TRACE_LEFT - 3 - PULSE_WIDTH
    right = left + PULSE_WIDTH
    axes.plot(
        [left - 2, left, left, right, right, right + 2],
        [base, base, base + gain, base + gain, base, base],
        solid_joinstyle="miter",
        **PEN,
    )


def _base_line(row: int) -> float:
    """Return the height of a row's 0 mV on the paper, in mm."""
    return PAPER[1] - LARGEST - row * ROW_HEIGHT


def _scale(recording: Recording) -> str:
    seconds = recording.feats.shape[1] / recording.sample_rate
    parts = [
        f"{MM_PER_SECOND} mm/s",
        f"{_gain(recording):g} mm/mV",
        f"{recording.sample_rate:g} Hz",
        f"{seconds:.3g} s"
        if seconds <= SHOWN_SECONDS
        else f"first {SHOWN_SECONDS} s of {seconds:.4g} s",
    ]
    return "     ".join(parts)


def _draw_panel(axes: Axes, prediction: Prediction, height: float) -> None:
    """Draw a bar for every label, from the top down, in ``height`` mm above the footer."""
    axes.axis("off")
    _text(axes, 0, FOOTER + height + HEADER / 2 + 1, "Predicted probability", 4.4, weight="bold")
    step = min(height / len(prediction.probabilities), 16.0)
    longest = max(map(len, prediction.probabilities))
    name_size = min(3.3, 0.4 * step, PANEL_WIDTH / (CHARACTER_WIDTH * longest))
    bar_height = min(3.0, 0.28 * step)
    bar_width = PANEL_WIDTH - 12
    true = prediction.true or frozenset()
    for i, (name, probability) in enumerate(prediction.probabilities.items()):
        top = FOOTER + height - i * step
        holds = name in true
        _text(axes, 0, top - name_size / 2, name, name_size, weight="bold" if holds else "normal")
        bottom = top - name_size - BAR_GAP - bar_height
        color = TRUE_BAR if holds or prediction.true is None else BAR
        for width, fill in ((1.0, BAR_TRACK), (probability, color)):
            axes.barh(bottom, bar_width * width, bar_height, align="edge", color=fill)
        value = f"{probability:.2f}"
        place = bottom + bar_height / 2
        _text(axes, PANEL_WIDTH, place, value, name_size, horizontalalignment="right")
    if prediction.true is not None:
        axes.barh(2, 3, 3, color=TRUE_BAR)
        _text(axes, 5, 2, "label of the recording", 2.9, color=MUTED)


def _text(axes: Axes, x: float, y: float, text: str, size: float, **options) -> None:
    """Write ``size`` mm high text, centred vertically at a place in mm."""
    style = {"color": TEXT, "verticalalignment": "center_baseline"}
    axes.text(x, y, text, fontsize=size * POINTS_PER_MM, **(style | options))
