"""What a network says of recordings, as tables."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd

from fairseq_ecg.data.errors import DataError

RECORDING, SEGMENT, FRAME = "recording", "segment", "frame"
START, END = "start", "end"
FACTS = (
    "sample_rate",
    "samples",
    "segments",
    "missing_leads",
    "flat_leads",
    "doubts",
    "quality",
    "quality_reasons",
)
"""Columns that every table of recordings has before what the network says."""


@dataclass(frozen=True, eq=False)
class Results:
    """What every use of a network returns.

    Attributes:
        recordings: of each recording (the index) its ``sample_rate`` in Hz and number of
            ``samples`` as it was given, its number of ``segments``, and as text ``missing_leads``,
            those that were derived included, ``flat_leads``, others that are constant, and
            ``doubts``, reasons to doubt the file; its ``quality``, 0 to 1, and as text the
            ``quality_reasons`` why it is not 1, see :func:`fairseq_ecg.quality.quality`.
            `FACTS` names them.
        segments: of each recording and segment (the index) its ``start`` and ``end`` in the
            recording in seconds, and what subclasses say.
        errors: why a recording was left out, by its name; empty unless leaving out was asked for.
    """

    recordings: pd.DataFrame
    segments: pd.DataFrame
    errors: Mapping[str | int, str]


@dataclass(frozen=True, eq=False)
class Prediction(Results):
    """Probabilities of labels.

    Attributes:
        table: of each recording (the index) the probability of every label (the columns).
        labels: names of the labels in the order of the network; columns of ``segments`` too.
    """

    table: pd.DataFrame
    labels: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class Embeddings(Results):
    """Pooled encoder outputs; ``np.asarray`` of it is those of the recordings, ``(R, D)``.

    Attributes:
        table: of each recording (the index) the mean over its segments, columns 0 to D - 1 as in
            ``segments``.
    """

    table: pd.DataFrame

    def __array__(self, dtype=None, copy=None) -> np.ndarray:
        return self.table.to_numpy(dtype=dtype)


@dataclass(frozen=True, eq=False)
class Saliency(Results):
    """How much every moment of a recording counts for the network.

    Attributes:
        frames: of each recording, segment and frame (the index) the span of samples that the frame
            is made of, ``start`` and ``end`` in the recording in seconds, and its ``saliency``; NaN
            where a frame is padding.
    """

    frames: pd.DataFrame

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
