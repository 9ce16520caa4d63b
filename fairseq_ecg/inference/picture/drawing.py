"""A picture of an ECG by matplotlib, in true size."""

from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from textwrap import shorten

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.colors import LinearSegmentedColormap, Normalize
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from fairseq_ecg.ecg.quality import Quality
from fairseq_ecg.errors import DataError
from fairseq_ecg.formats import ECG
from fairseq_ecg.inference.picture.findings import Estimates, Findings
from fairseq_ecg.inference.picture.paper import (
    BACKGROUND,
    COARSE_GRID,
    FINE_GRID,
    LONGEST_SECONDS,
    MM_PER_SECOND,
    PULSE_SECONDS,
    SALIENCY_RAMP,
    SHOWN_SECONDS,
    SPEEDS,
    TRACE,
    TRACE_LEFT,
    Paper,
    Shown,
    Strip,
    layout_of,
    shown,
)
from fairseq_ecg.inference.picture.recording import unit_of
from fairseq_ecg.inference.picture.waves import (
    BAND_ALPHA,
    BAND_HEIGHT,
    COLOURS,
    LETTER_HEIGHTS,
    NAMES,
    Waves,
)
from fairseq_ecg.inference.thresholds import DEFAULT
from fairseq_ecg.jobs.files import replacing

PIXELS_PER_MM = 8
MM_PER_INCH = 25.4
POINTS_PER_MM = 72 / MM_PER_INCH
FORMATS = ("png", "svg", "pdf")

MARGIN = 6.0
HEADER = 9.0
FOOTER = 7.0
PANEL_WIDTH = 72.0
PANEL_HEIGHT = 140.0
LEAST_STEP = 4.6
"""Space that the probabilities, and the name and the bar of each, have at least, in mm."""

LEGEND_WIDTH = 30.0
LEGEND_HEIGHT = 2.4
LEGEND_NUMBER = 14.0
"""Space for the number right of the legend."""
TITLE_SIZE = 4.4
NOTE_SIZE = 2.9
NOTE_CHARACTER = 0.6
"""Width of a character of notes, on average, in units of their size."""

BAR_GAP = 1.2
"""Between a label and its bar, in mm."""
BAR_WIDTH = PANEL_WIDTH - 12.0
ESTIMATE_WIDTH = PANEL_WIDTH - 18.0
"""Of bars, which have the number to their right; of an estimate it may have more digits."""
DOT_SIZE = 2.4 * POINTS_PER_MM
CHARACTER_WIDTH = 0.65
"""Of bold text, on average, in units of its size."""

TEXT = "#22252b"
MUTED = "#767b85"
DOUBT = "#a3362c"
BAR = "#8ea3b8"
STRONG_BAR = "#1f5f99"
BAR_TRACK = "#eceff2"

PEN = {"color": TRACE, "linewidth": 0.3 * POINTS_PER_MM}
SALIENCY_WIDTH = 2.2
SALIENCY_STEP = 0.02
"""Width in mm of the colour along the trace, and the seconds that have one colour."""

LETTER_SIZE, LEAST_BAND = 1.9, 1.0
"""Size of the letters in a band, and width from which on it has any, in mm."""
LEGEND_LINE = 5.4
"""Height of the legend of waves in the footer, in mm."""

NAME_SIZE, NAME_WIDTH = 3.3, 9.0
NAME_HEIGHT = 11.0
NAME_REACH = 40
"""Size of the name of a lead, height above the base line, and how far right it may move, in mm."""

BEHIND, GRID, ON_TOP = -1, 0, 2
"""Colours of the saliency lie under the grid, so that it can be read through them."""


def draw(
    ecg: ECG,
    title: str | None = None,
    *,
    layout: str | None = None,
    leads: Sequence[str] | None = None,
    rhythm: Sequence[str] | None = None,
    start: float = 0.0,
    length: float = SHOWN_SECONDS,
    speed: float = MM_PER_SECOND,
    gain: float | None = None,
    findings: Findings | Estimates | None = None,
    saliency: np.ndarray | None = None,
    quality: Quality | None = None,
    waves: Waves | None = None,
) -> Figure:
    """Draw a part of a recording on ECG paper.

    Columns share the time, also that of a recording that is shorter than ``length``. Every trace is
    moved so that its median lies on its base line. Limb leads that are missing are derived from two
    others where these are there, which the footer says; other leads that are missing are named and
    left empty.

    Args:
        ecg: the recording, in mV or as `unit_of` says.
        title: stands above the ECG.
        layout: ``3x4`` (with a rhythm strip of lead II), ``6x2`` or ``12x1``. None: the first where
            all twelve leads are there and ``leads`` does not choose, else one below the other.
        leads: to draw, filling the layout column by column.
        rhythm: leads of the rhythm strips in place of the layout's own; empty: none.
        start: in the recording, in seconds.
        length: of what is drawn, in seconds.
        speed: 25 or 50 mm/s.
        gain: in mm/mV; None: 10, or less where deflections are large.
        findings: are shown beside the ECG.
        saliency: ``(n_samples,)`` of the whole recording, one for each of its samples, as
            :meth:`Saliency.on_signal` returns it; painted along the traces, from the least in the
            recording to the most. NaN is not painted.
        quality: of the recording; where it is not the best, the reasons stand under the title.
        waves: are painted as bands in the colours of a legend, each with its letters. The picture
            that :func:`save` writes says in words where they are.

    Returns:
        The figure, whose size is that of the paper with its margins; :func:`save` writes it.

    Raises:
        DataError: there is no such layout, lead or part, or the saliency is of another recording.
    """
    if speed not in SPEEDS:
        raise DataError(f"{speed:g} mm/s is no paper speed; choose from 25 and 50")
    if gain is not None and not gain > 0:
        raise DataError(f"a gain of {gain:g} mm/mV must be positive")
    if length > LONGEST_SECONDS:
        raise DataError(
            f"{length:g} s do not fit on a picture; draw at most {LONGEST_SECONDS:g} s at once"
        )
    part = shown(ecg, start, length)
    where = layout_of(part.ecg.leads, layout, leads, rhythm)
    strips = list(where.strips(part.ecg.seconds))
    paper = Paper(where.n_rows, max(part.ecg.seconds, min(length, SHOWN_SECONDS)), speed)
    gain = gain or part.gain(strips)

    body = paper.height
    if findings:
        body = max(body, PANEL_HEIGHT, LEAST_STEP * len(findings.names))
    width = 2 * MARGIN + paper.width + (PANEL_WIDTH + MARGIN if findings else 0)
    height = 2 * MARGIN + HEADER + body + FOOTER
    figure = Figure((width / MM_PER_INCH, height / MM_PER_INCH), facecolor="white")

    def axes(left: float, bottom: float, across: float, up: float) -> Axes:
        """Return axes at a position in mm, whose data coordinates are mm."""
        box = (left / width, bottom / height, across / width, up / height)
        return figure.add_axes(box, xlim=(0, across), ylim=(0, up), xticks=[], yticks=[])

    top = MARGIN + FOOTER + body
    sheet = axes(MARGIN, top - paper.height, paper.width, paper.height)
    _draw_grid(sheet, paper)
    traces = [_trace(paper, part, strip, gain) for strip in strips]
    _draw_traces(sheet, paper, strips, traces)
    for row in range(paper.n_rows):
        _draw_calibration_pulse(sheet, paper, row, gain)
    _draw_header(axes(MARGIN, top, paper.width, HEADER), title or "", quality)
    footer = axes(MARGIN, top - paper.height - FOOTER, paper.width, FOOTER)
    footer.axis("off")
    _text(footer, 0, 2, _scale(part, speed, gain, unit_of(ecg)), NOTE_SIZE, color=MUTED)
    if saliency is not None:
        colours = _saliency_colours(ecg, saliency)
        _paint_saliency(sheet, part, strips, traces, np.asarray(saliency), colours)
        _draw_saliency_legend(footer, paper, colours)
    if waves:
        _paint_waves(sheet, paper, part, strips, waves)
        _draw_wave_legend(footer, waves)
        leads = list(dict.fromkeys(strip.lead for strip in strips))
        figure.set_label(waves.in_words(leads, part.start, part.start + part.ecg.seconds))
    if findings:
        left = 2 * MARGIN + paper.width
        panel = axes(left, MARGIN, PANEL_WIDTH, body + FOOTER + HEADER)
        draw_panel = _draw_estimates if isinstance(findings, Estimates) else _draw_probabilities
        draw_panel(panel, findings, body)
    return figure


def save(figure: Figure, path: Path, format: str | None = None) -> None:
    """Write a figure in true size; the file is whole or absent, and the same for the same figure.

    Args:
        figure: what :func:`draw` returned.
        path: file to write.
        format: ``png``, ``svg`` or ``pdf``; None: as the name ends.

    Raises:
        DataError: there is no such format.
    """
    format = format or path.suffix[1:].lower()
    if format not in FORMATS:
        raise DataError(f"{path}: pictures are written as {', '.join(FORMATS)}; end it in .png")
    metadata = {"svg": {"Date": None}, "pdf": {"CreationDate": None}, "png": {}}[format]
    if figure.get_label():
        metadata[{"pdf": "Subject"}.get(format, "Description")] = figure.get_label()
    # Letters stay letters in PDF and SVG, and the names in an SVG do not change from run to run.
    options = {"svg.hashsalt": "fairseq-ecg", "svg.fonttype": "none", "pdf.fonttype": 42}
    with rc_context(options), replacing(path) as unfinished:
        figure.savefig(
            unfinished, format=format, dpi=PIXELS_PER_MM * MM_PER_INCH, metadata=metadata
        )


def _draw_header(axes: Axes, title: str, quality: Quality | None) -> None:
    axes.axis("off")
    has_note = quality is not None and quality.reasons
    height = HEADER / 2 + (2 if has_note else 1)
    _text(axes, 0, height, title, TITLE_SIZE, weight="bold", clip_on=True)
    if has_note:
        note = f"Quality {quality.score:g} of 1: {quality.text}"
        most = int(axes.get_xlim()[1] / (NOTE_CHARACTER * NOTE_SIZE))
        color = DOUBT if quality.is_doubted else MUTED
        note = shorten(note, most, placeholder=" ...")
        _text(axes, 0, NOTE_SIZE / 2 + 0.5, note, NOTE_SIZE, color=color)


def _draw_grid(axes: Axes, paper: Paper) -> None:
    axes.set_facecolor(BACKGROUND)
    for spine in axes.spines.values():
        spine.set(color=COARSE_GRID, linewidth=0.3 * POINTS_PER_MM)
    for step, color, width in ((1, FINE_GRID, 0.12), (5, COARSE_GRID, 0.2)):
        vertical = [[(x, 0), (x, paper.height)] for x in np.arange(0, paper.width + 1, step)]
        horizontal = [[(0, y), (paper.width, y)] for y in np.arange(0, paper.height + 1, step)]
        axes.add_collection(
            LineCollection(
                vertical + horizontal, colors=color, linewidths=width * POINTS_PER_MM, zorder=GRID
            )
        )


def _trace(paper: Paper, part: Shown, strip: Strip, gain: float) -> np.ndarray:
    """Return the samples of a strip as positions on the paper, ``(2, n_samples)`` in mm."""
    times, millivolts = part.millivolts(strip)
    return np.stack([paper.across(times), paper.base_line(strip.row) + gain * millivolts])


def _draw_traces(
    axes: Axes, paper: Paper, strips: Sequence[Strip], traces: Sequence[np.ndarray]
) -> None:
    everywhere = np.concatenate(traces, axis=1)
    for strip, trace in zip(strips, traces, strict=True):
        base, left = paper.base_line(strip.row), paper.across(strip.start)
        axes.plot(*trace, solid_joinstyle="round", zorder=ON_TOP, **PEN)
        if strip.start:
            axes.plot([left, left], [base - 1.5, base + 1.5], zorder=ON_TOP, **PEN)
        _draw_name(axes, strip.lead, left, base + NAME_HEIGHT, everywhere, np.isnan(trace[1]).all())


def _draw_name(
    axes: Axes, lead: str, left: float, height: float, traces: np.ndarray, is_missing: bool
) -> None:
    """Write the name of a lead at the first position right of ``left`` that no trace crosses."""
    across = traces[0, np.abs(traces[1] - height) < NAME_SIZE]
    positions = left + 1 + np.arange(NAME_REACH)
    free = [x for x in positions if not ((x - 1 < across) & (across < x + NAME_WIDTH)).any()]
    _text(
        axes,
        free[0] if free else positions[0],
        height,
        f"{lead} (missing)" if is_missing else lead,
        NAME_SIZE,
        color=MUTED if is_missing else TEXT,
        weight="bold",
        zorder=ON_TOP + 1,
        # An outline of the letters would turn them into curves.
        bbox={"facecolor": BACKGROUND, "alpha": 0.75, "edgecolor": "none", "pad": 0.8},
    )


def _draw_calibration_pulse(axes: Axes, paper: Paper, row: int, gain: float) -> None:
    """Draw 1 mV for 0.2 s; where that is wider than its margin, the pulse stands at the edge."""
    base = paper.base_line(row)
    width = PULSE_SECONDS * paper.speed
    right = TRACE_LEFT - 3
    left = right - width
    axes.plot(
        [left - 1, left, left, right, right, right + 1],
        [base, base, base + gain, base + gain, base, base],
        solid_joinstyle="miter",
        zorder=ON_TOP,
        **PEN,
    )


def _saliency_colours(ecg: ECG, saliency: np.ndarray) -> tuple[LinearSegmentedColormap, Normalize]:
    """Return colours of the saliency, from the least in the recording to the most."""
    saliency = np.asarray(saliency)
    if saliency.shape != (ecg.n_samples,):
        raise DataError(
            f"{ecg.where}: has {ecg.n_samples} samples, but the saliency is of shape "
            f"{saliency.shape}. Give that of the same recording, one value for each sample"
        )
    finite = saliency[np.isfinite(saliency)]
    if not finite.size:
        raise DataError(f"{ecg.where}: its saliency has no values")
    ramp = LinearSegmentedColormap.from_list("saliency", SALIENCY_RAMP)
    return ramp, Normalize(finite.min(), max(finite.max(), np.nextafter(finite.min(), np.inf)))


def _paint_saliency(
    axes: Axes,
    part: Shown,
    strips: Sequence[Strip],
    traces: Sequence[np.ndarray],
    saliency: np.ndarray,
    colours: tuple[LinearSegmentedColormap, Normalize],
) -> None:
    """Paint the saliency along the traces, the strongest on top."""
    rate = part.ecg.sample_rate
    first = round(part.start * rate)
    step = max(round(SALIENCY_STEP * rate), 1)
    pieces, values = [], []
    for strip, trace in zip(strips, traces, strict=True):
        own = saliency[first + round(strip.start * rate) :][: trace.shape[1]]
        for start in range(0, trace.shape[1] - 1, step):
            value = own[start : start + step]
            piece = trace[:, start : start + step + 1].T
            if np.isfinite(value).all() and np.isfinite(piece).all():
                pieces.append(piece)
                values.append(value.mean())
    order = np.argsort(values, kind="stable")
    ramp, scale = colours
    axes.add_collection(
        LineCollection(
            [pieces[i] for i in order],
            colors=ramp(scale(np.array(values)[order])),
            linewidths=SALIENCY_WIDTH * POINTS_PER_MM,
            capstyle="round",
            joinstyle="round",
            zorder=BEHIND,
        )
    )


def _paint_waves(
    axes: Axes, paper: Paper, part: Shown, strips: Sequence[Strip], waves: Waves
) -> None:
    """Paint a band behind each wave, and write above it what it is."""
    height = BAND_HEIGHT * paper.row_height
    for strip in strips:
        if strip.lead not in part.ecg.leads:
            continue
        bottom = paper.base_line(strip.row) - height / 2
        start = part.start + strip.start
        for kind, onset, offset in waves.between(strip.lead, start, part.start + strip.stop):
            left, right = (paper.across(time - part.start) for time in (onset, offset))
            axes.add_patch(
                Rectangle(
                    (left, bottom),
                    right - left,
                    height,
                    facecolor=COLOURS[kind],
                    alpha=BAND_ALPHA,
                    linewidth=0,
                    zorder=BEHIND,
                )
            )
            if right - left >= LEAST_BAND:
                _text(
                    *(axes, (left + right) / 2, bottom + LETTER_HEIGHTS[kind], NAMES[kind]),
                    LETTER_SIZE,
                    weight="bold",
                    horizontalalignment="center",
                    zorder=ON_TOP + 1,
                )


def _draw_wave_legend(axes: Axes, waves: Waves) -> None:
    """Draw the colour of each wave, and say where the waves are from."""
    left = 0.0
    for kind, title in (("p", "P wave"), ("qrs", "QRS complex"), ("t", "T wave")):
        axes.add_patch(
            Rectangle(
                (left, LEGEND_LINE - 1.2), 4, 2.4, facecolor=COLOURS[kind], alpha=2 * BAND_ALPHA
            )
        )
        _text(axes, left + 5.2, LEGEND_LINE, title, NOTE_SIZE, color=MUTED)
        left += 10 + NOTE_CHARACTER * NOTE_SIZE * len(title)
    _text(axes, left, LEGEND_LINE, waves.source, NOTE_SIZE, color=MUTED, clip_on=True)


def _draw_saliency_legend(
    axes: Axes, paper: Paper, colours: tuple[LinearSegmentedColormap, Normalize]
) -> None:
    """Draw the bar of colours between the least and the largest saliency of the recording."""
    ramp, scale = colours
    right = paper.width - LEGEND_NUMBER
    left = right - LEGEND_WIDTH
    axes.pcolormesh(
        np.linspace(left, right, 65),
        [2 - LEGEND_HEIGHT / 2, 2 + LEGEND_HEIGHT / 2],
        np.linspace(0, 1, 64)[None],
        cmap=ramp,
        edgecolors="face",
        linewidth=0.1,
    )
    axes.set(xlim=(0, paper.width), ylim=(0, FOOTER))
    text = f"saliency     {scale.vmin:.2g}"
    _text(axes, left - 2, 2, text, NOTE_SIZE, color=MUTED, horizontalalignment="right")
    _text(axes, right + 2, 2, f"{scale.vmax:.2g}", NOTE_SIZE, color=MUTED)


def _scale(part: Shown, speed: float, gain: float, unit: str) -> str:
    stop = part.start + part.ecg.seconds
    parts = [f"{speed:g} mm/s", f"{gain:g} mm/{unit}", f"{part.ecg.sample_rate:g} Hz"]
    if not part.start and stop >= part.whole_seconds:
        parts.append(f"{part.whole_seconds:.3g} s")
    elif not part.start:
        parts.append(f"first {stop:.3g} s of {part.whole_seconds:.4g} s")
    else:
        parts.append(f"{part.start:.4g} to {stop:.4g} s of {part.whole_seconds:.4g} s")
    if part.derived:
        parts.append(f"derived: {', '.join(part.derived)}")
    return "     ".join(parts)


def _rows(axes: Axes, title: str, names: Collection[str], height: float) -> Iterator[tuple]:
    """Write the title of a panel and yield, from the top down, where the row of each name is.

    Yields:
        Size of the name, height of its middle, and lower edge and height of its bar, in mm.
    """
    axes.axis("off")
    _text(axes, 0, FOOTER + height + HEADER / 2 + 1, title, TITLE_SIZE, weight="bold")
    step = min(height / len(names), 16.0)
    longest = max(map(len, names))
    size = min(3.3, 0.4 * step, PANEL_WIDTH / (CHARACTER_WIDTH * longest))
    bar_height = min(3.0, 0.28 * step)
    for row in range(len(names)):
        top = FOOTER + height - row * step
        yield size, top - size / 2, top - size - BAR_GAP - bar_height, bar_height


def _draw_probabilities(axes: Axes, findings: Findings, height: float) -> None:
    """Draw a bar for every label, in ``height`` mm above the footer."""
    true = findings.true or frozenset()
    rows = _rows(axes, "Predicted probability", findings.names, height)
    for (name, probability), (size, middle, bottom, bar_height) in zip(
        findings.probabilities.items(), rows, strict=True
    ):
        is_strong = name in true if findings.true is not None else findings.holds(name)
        weight = "bold" if is_strong else "normal"
        _text(axes, 0, middle, name, size, weight=weight)
        color = STRONG_BAR if is_strong else BAR
        for width, fill in ((1.0, BAR_TRACK), (probability, color)):
            axes.barh(bottom, BAR_WIDTH * width, bar_height, align="edge", color=fill)
        tick = BAR_WIDTH * findings.thresholds.get(name, DEFAULT)
        axes.plot([tick, tick], [bottom - 0.5, bottom + bar_height + 0.5], **PEN)
        value = f"{probability:.2f}"
        centre = bottom + bar_height / 2
        _text(axes, PANEL_WIDTH, centre, value, size, horizontalalignment="right")
    meaning = "reaches its threshold" if findings.true is None else "label of the recording"
    axes.barh(2, 3, 3, color=STRONG_BAR)
    _text(axes, 5, 2, meaning, NOTE_SIZE, color=MUTED)
    axes.plot([47, 47], [0.5, 3.5], **PEN)
    _text(axes, 49, 2, "threshold", NOTE_SIZE, color=MUTED)


def _draw_estimates(axes: Axes, estimates: Estimates, height: float) -> None:
    """Write every estimate, and mark where it lies among the targets of the training."""
    rows = _rows(axes, "Estimate", estimates.names, height)
    shares = estimates.positions()
    for (name, value), share, (size, middle, bottom, bar_height) in zip(
        estimates.values.items(), shares, rows, strict=True
    ):
        _text(axes, 0, middle, name, size)
        centre = bottom + bar_height / 2
        number = {"weight": "bold", "horizontalalignment": "right"}
        _text(axes, PANEL_WIDTH, centre, f"{value:.4g}", size, **number)
        if share is not None:
            axes.barh(bottom, ESTIMATE_WIDTH, bar_height, align="edge", color=BAR_TRACK)
            tick = ESTIMATE_WIDTH / 2
            axes.plot([tick, tick], [bottom - 0.5, bottom + bar_height + 0.5], **PEN)
            axes.plot(ESTIMATE_WIDTH * share, centre, "o", color=STRONG_BAR, markersize=DOT_SIZE)
    if any(share is not None for share in shares):
        axes.plot(1.5, 2, "o", color=STRONG_BAR, markersize=DOT_SIZE)
        _text(axes, 4, 2, "estimate", NOTE_SIZE, color=MUTED)
        axes.plot([22, 22], [0.5, 3.5], **PEN)
        _text(axes, 24, 2, "mean of the training, \u00b1 3 SD", NOTE_SIZE, color=MUTED)


def _text(axes: Axes, x: float, y: float, text: str, size: float, **options) -> None:
    """Write ``size`` mm high text as it is, centred vertically at a position in mm."""
    style = {"color": TEXT, "verticalalignment": "center_baseline", "parse_math": False}
    axes.text(x, y, text, fontsize=size * POINTS_PER_MM, **(style | options))
