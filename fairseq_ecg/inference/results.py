"""What a network says of recordings, as tables.

pandas is imported when a table is asked for as a DataFrame: to write the results of one recording
takes columns alone.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from fairseq_ecg.errors import DataError
from fairseq_ecg.inference.segmented import SegmentedRecording

if TYPE_CHECKING:
    import pandas as pd

RECORDING, SEGMENT, FRAME = "recording", "segment", "frame"
START, END = "start", "end"
FACTS: dict[str, Callable[[SegmentedRecording], float | str]] = {
    "sample_rate": lambda found: found.sample_rate,
    "samples": lambda found: found.n_samples,
    "segments": lambda found: len(found.spans),
    "missing_leads": lambda found: ", ".join(found.missing_leads),
    "flat_leads": lambda found: ", ".join(found.flat_leads),
    "doubts": lambda found: "; ".join(found.doubts),
    "quality": lambda found: found.quality.score,
    "quality_reasons": lambda found: found.quality.text,
}
"""Columns that every table of recordings has before what the network says."""

Columns = dict[str, Sequence]
"""Values of each column of a table by its name."""

Table = "pd.DataFrame | Columns"


@dataclass(eq=False)
class Run:
    """What was computed, segment by segment, and why recordings were left out, by their numbers.

    Attributes:
        names: of the recordings.
        found: each recording that could be read, without its samples.
        failed: why others could not be used.
        rows: number of the recording, and of the segment in it, in the order of ``computed``.
        computed: of each batch ``(B, ...)``.
    """

    names: Sequence[str | int]
    found: dict[int, SegmentedRecording] = field(default_factory=dict)
    failed: dict[int, DataError] = field(default_factory=dict)
    rows: list[tuple[int, int]] = field(default_factory=list)
    computed: list[np.ndarray] = field(default_factory=list)

    def add(self, rows: Sequence[tuple[int, int]], values: np.ndarray) -> None:
        """Take what was computed of a batch.

        Args:
            rows: number of the recording, and of the segment in it.
            values: ``(B, ...)``.
        """
        self.rows += rows
        self.computed.append(values)

    def sort(self) -> None:
        """Bring the rows into the order of recordings and segments."""
        order = sorted(range(len(self.rows)), key=self.rows.__getitem__)
        self.rows = [self.rows[row] for row in order]
        self.computed = [np.concatenate(self.computed)[order]] if order else []

    @property
    def errors(self) -> dict[str | int, str]:
        """Why recordings were left out, by their names."""
        return {self.names[number]: str(self.failed[number]) for number in sorted(self.failed)}

    @cached_property
    def used(self) -> list[int]:
        """Numbers of the recordings of which all segments were computed."""
        return [number for number in self.found if number not in self.failed]

    @cached_property
    def _kept(self) -> np.ndarray:
        """``(N,)`` which rows are of these."""
        return np.flatnonzero([number not in self.failed for number, _ in self.rows])

    def values(self, width: int) -> np.ndarray:
        """``(N, width)``, a row for each segment."""
        return (
            np.concatenate(self.computed)[self._kept] if len(self._kept) else np.empty((0, width))
        )

    @property
    def recording_of(self) -> np.ndarray:
        """``(N,)`` number of the recording of each segment, of those that were used."""
        numbers = np.array([number for number, _ in self.rows], dtype=np.int64)
        return np.searchsorted(self.used, numbers[self._kept])

    def recordings(self) -> Columns:
        """Return the name of each recording and its `FACTS`."""
        used = [self.found[number] for number in self.used]
        names = {RECORDING: [self.names[number] for number in self.used]}
        return names | {name: [fact(one) for one in used] for name, fact in FACTS.items()}

    def segments(self) -> Columns:
        """Return of each segment the name of its recording, its number, start and end."""
        rows = [self.rows[row] for row in self._kept]
        spans = [self.found[number].spans[segment] for number, segment in rows]
        return {
            RECORDING: [self.names[number] for number, _ in rows],
            SEGMENT: [segment for _, segment in rows],
            START: [start for start, _ in spans],
            END: [end for _, end in spans],
        }


def joined(columns: Columns, values: np.ndarray, names: Sequence) -> Columns:
    """Append the columns of ``(N, C)`` values.

    Raises:
        DataError: a label has the name of another column.
    """
    for name in names:
        if name in columns:
            raise DataError(f"label {name!r} is called as a column of the table. Rename it")
    return columns | {str(name): values[:, column] for column, name in enumerate(names)}


def _frame(
    columns: Columns, n_keys: int, values: np.ndarray | None = None, names: Sequence = ()
) -> "pd.DataFrame":
    """Make a DataFrame whose index is the first columns, of columns and of ``(N, C)`` values."""
    import pandas as pd

    empty = not len(next(iter(columns.values())))
    frame = pd.DataFrame(columns, dtype=object if empty else None).set_index(list(columns)[:n_keys])
    if values is None:
        return frame
    of_values = pd.DataFrame(values, frame.index, list(names))
    return pd.concat([frame, of_values], axis=1) if len(frame.columns) else of_values


@dataclass(frozen=True, eq=False, repr=False)
class Results:
    """What every use of a network returns.

    Args:
        run: what was computed.
    """

    run: Run
    shown: ClassVar[tuple[str, ...]] = ("recordings", "segments", "errors")
    """Names of what ``repr`` shows."""

    def __repr__(self) -> str:
        tables = ", ".join(f"{name}={getattr(self, name)!r}" for name in self.shown)
        return f"{type(self).__name__}({tables})"

    @property
    def errors(self) -> Mapping[str | int, str]:
        """Why recordings were left out, by name; empty unless leaving out was asked for."""
        return self.run.errors

    @cached_property
    def recordings(self) -> "pd.DataFrame":
        """What is known of each recording (the index).

        Its ``sample_rate`` in Hz and number of ``samples`` as it was given, its number of
        ``segments``, and as text ``missing_leads``, those that were derived included,
        ``flat_leads``, others that are constant, and ``doubts``, reasons to doubt the file; its
        ``quality``, 0 to 1, and as text the ``quality_reasons`` why it is not 1, see
        :func:`fairseq_ecg.ecg.quality.quality`. `FACTS` names them.
        """
        return _frame(self.run.recordings(), 1)

    @cached_property
    def segments(self) -> "pd.DataFrame":
        """Of each recording and segment (the index) its ``start`` and ``end`` in seconds."""
        return _frame(self.run.segments(), 2)


@dataclass(frozen=True, eq=False, repr=False)
class OfSegments(Results):
    """Values of segments and of recordings."""

    of_segments: np.ndarray
    of_recordings: np.ndarray
    shown = *Results.shown, "table"

    @property
    def names(self) -> Sequence:
        """Names of the columns."""
        return range(self.of_recordings.shape[1])

    @cached_property
    def table(self) -> "pd.DataFrame":
        """The values of each recording (the index)."""
        name = {RECORDING: self.run.recordings()[RECORDING]}
        return _frame(name, 1, self.of_recordings, self.names)

    @cached_property
    def segments(self) -> "pd.DataFrame":
        """Of each recording and segment (the index) ``start`` and ``end`` in s, and the values."""
        return _frame(self.run.segments(), 2, self.of_segments, self.names)

    def columns(self) -> dict[str, Columns]:
        """Return the tables ``recordings`` and ``segments`` as they are written.

        Raises:
            DataError: a label has the name of another column.
        """
        return {
            "recordings": joined(self.run.recordings(), self.of_recordings, self.names),
            "segments": joined(self.run.segments(), self.of_segments, self.names),
        }


@dataclass(frozen=True, eq=False, repr=False)
class Prediction(OfSegments):
    """Probabilities of labels: ``table`` of recordings, ``segments`` of segments.

    Args:
        run: what was computed.
        of_segments: ``(N, C)``, probabilities of segments.
        of_recordings: ``(R, C)``, those of recordings.
        labels: names of the labels in the order of the network, the columns of both tables.
    """

    labels: tuple[str, ...]
    shown = *OfSegments.shown, "labels"

    @property
    def names(self) -> Sequence[str]:
        """Names of the columns."""
        return self.labels


@dataclass(frozen=True, eq=False, repr=False)
class Embeddings(OfSegments):
    """Pooled encoder outputs; ``np.asarray`` of it is those of the recordings, ``(R, D)``.

    ``table`` has of each recording the mean over its segments, in the columns 0 to D - 1.

    Args:
        run: what was computed.
        of_segments: ``(N, D)``.
        of_recordings: ``(R, D)``.
    """

    def __array__(self, dtype=None, copy=None) -> np.ndarray:
        return self.table.to_numpy(dtype=dtype)


@dataclass(frozen=True, eq=False, repr=False)
class Saliency(Results):
    """How much every moment of a recording counts for the network.

    Args:
        run: what was computed.
        of_frames: ``(N, T')`` of each segment; NaN where a frame is padding.
        stride: seconds from a frame to the next.
        width: seconds that a frame is made of.
    """

    of_frames: np.ndarray
    stride: float
    width: float
    shown = *Results.shown, "frames"

    @cached_property
    def frames(self) -> "pd.DataFrame":
        """Saliency of each recording, segment and frame (the index).

        ``start`` and ``end`` of the span of samples that the frame is made of, in seconds from the
        start of the recording, and ``saliency``; NaN where a frame is padding.
        """
        import pandas as pd

        n_frames = self.of_frames.shape[1]
        starts = self.segments[START].to_numpy()[:, None] + np.arange(n_frames) * self.stride
        keys = [(*key, frame) for key in self.segments.index for frame in range(n_frames)]
        return pd.DataFrame(
            {
                START: starts.ravel(),
                END: starts.ravel() + self.width,
                "saliency": self.of_frames.ravel(),
            },
            index=pd.MultiIndex.from_tuples(keys, names=[RECORDING, SEGMENT, FRAME]),
        )

    def on_signal(self, recording: str | int) -> np.ndarray:
        """Bring the saliency of a recording onto its own samples.

        It is interpolated linearly between the centres of frames, and beyond the first and the last
        frame of a segment keeps their value. Each segment stood alone before the network, so each
        is interpolated by itself; where two overlap, the later one counts.

        Args:
            recording: its name.

        Returns:
            ``(n_samples,)`` float64 at the rate of the recording as it was given; NaN where no
            segment was.

        Raises:
            DataError: there is no such recording.
        """
        if recording not in self.recordings.index:
            raise DataError(f"no saliency of {recording!r}")
        rate, n_samples = self.recordings.loc[recording, ["sample_rate", "samples"]]
        times = (np.arange(n_samples) + 0.5) / rate
        values = np.full(len(times), np.nan)
        frames = self.frames.loc[recording].dropna()
        for number, segment in self.segments.loc[recording].iterrows():
            own = frames.loc[number]
            inside = slice(*np.searchsorted(times, [segment[START], segment[END]]))
            centres = ((own[START] + own[END]) / 2).to_numpy()
            values[inside] = np.interp(times[inside], centres, own["saliency"].to_numpy())
        return values
