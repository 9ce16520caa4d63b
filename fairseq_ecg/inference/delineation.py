"""Waves of recordings: from what a network says of overlapping segments to onsets and offsets."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from operator import itemgetter
from typing import TYPE_CHECKING

import numpy as np

from fairseq_ecg.ecg.blocks import BLOCK_SAMPLES
from fairseq_ecg.ecg.delineation import CLASSES, delineate, waves_of
from fairseq_ecg.ecg.intervals import MEASURES, measures_of
from fairseq_ecg.errors import DataError
from fairseq_ecg.inference.results import RECORDING, Columns, Results, Run
from fairseq_ecg.inference.segmented import SegmentedRecording

if TYPE_CHECKING:
    import pandas as pd

WAVES = tuple(waves_of(CLASSES))

LEAD, WAVE, ONSET, OFFSET, DURATION = "lead", "wave", "onset", "offset", "duration"
ALL_LEADS = "all"
"""Stands for the lead where one delineation is that of all leads."""

OVERLAP = 0.5
"""Share of a segment that the next one repeats, over which they fade into each other."""


@dataclass(frozen=True, eq=False)
class Mask:
    """The class of every sample of a recording, as long and as fast as it was given.

    Attributes:
        leads: of the rows; ``("all",)`` where one delineation is that of all leads.
        classes: ``(n_leads, n_samples)`` uint8, by `fairseq_ecg.ecg.delineation.CLASSES`.
        sample_rate: in Hz.
    """

    leads: tuple[str, ...]
    classes: np.ndarray
    sample_rate: float

    def waves(self, row: int) -> list[tuple[str, int, int]]:
        """Return the waves of a row in order: kind, first sample and last sample."""
        limits = delineate(self.classes[row])
        waves = [
            (name, first, last)
            for name in WAVES
            for first, last in zip(limits[f"{name}_onsets"], limits[f"{name}_offsets"], strict=True)
        ]
        return sorted(waves, key=itemgetter(1))

    def measures(self, row: int) -> dict[str, float]:
        """Return the measures of a row, see :func:`fairseq_ecg.ecg.intervals.measures_of`.

        Waves that begin with the first sample or end with the last one do not count: where they
        really begin or end is not known.
        """
        n_samples = self.classes.shape[1]
        limits: dict[str, list[tuple[int, int]]] = {name: [] for name in WAVES}
        for name, first, last in self.waves(row):
            if first > 0 and last < n_samples - 1:
                limits[name].append((first, last))
        return measures_of(
            {name: np.reshape(of, (-1, 2)) / self.sample_rate for name, of in limits.items()}
        )


@dataclass(eq=False)
class DelineationRun(Run):
    """A run of which the masks of recordings are kept, and not what was computed of segments.

    Segments of a lead come in order. Where two overlap, the scores of both are averaged with
    weights that fall linearly to the ends of each; a recording of one segment has its scores as
    they are. Between samples at the network's rate, scores are interpolated linearly to those of
    the recording, of which each has the class of the largest.

    Attributes:
        masks: ``(n_samples,)`` uint8 of each recording that was finished, by number and lead.
        resampler: how recordings were brought to the network's rate.
        sample_rate: of the network in Hz.
    """

    masks: dict[int, dict[str, np.ndarray]] = field(default_factory=dict)
    resampler: str = "linear"
    sample_rate: float = 500.0
    _open: tuple[int, int, "_Joint"] | None = None

    def add(self, rows: Sequence[tuple[int, int]], values: np.ndarray) -> None:
        """Join scores ``(B, T, 4)`` of segments to those before."""
        for (number, index), scores in zip(rows, values, strict=True):
            if number in self.failed:  # of which an earlier segment could not be computed
                continue
            found = self.found[number]
            n_segments = len(found.spans) // max(len(found.leads), 1)
            lead, position = divmod(index, n_segments)
            if self._open is None or self._open[:2] != (number, lead):
                self._open = number, lead, _Joint(found.length)
            joint = self._open[2]
            joint.add(round(found.spans[position][0] * self.sample_rate), scores)
            if position == n_segments - 1:
                name = found.leads[lead] if found.leads else ALL_LEADS
                self.masks.setdefault(number, {})[name] = self._mask(found, joint.scores())
                self._open = None

    def _mask(self, found: SegmentedRecording, scores: np.ndarray) -> np.ndarray:
        """Bring ``(N, 4)`` scores to the samples of the recording, ``(n_samples,)`` classes."""
        if found.sample_rate == self.sample_rate:
            return scores.argmax(axis=1).astype(np.uint8)
        step = self.sample_rate / found.sample_rate
        if self.resampler == "linear":  # which keeps both ends
            step = (found.length - 1) / max(found.n_samples - 1, 1)
        mask, given = np.empty(found.n_samples, np.uint8), np.arange(len(scores))
        for start in range(0, found.n_samples, BLOCK_SAMPLES):
            positions = np.arange(start, min(start + BLOCK_SAMPLES, found.n_samples)) * step
            of_classes = [np.interp(positions, given, column) for column in scores.T]
            mask[start : start + len(positions)] = np.argmax(of_classes, axis=0)
        return mask


class _Joint:
    """Scores of segments joined to those of a lead.

    Args:
        length: of the lead in samples.
    """

    def __init__(self, length: int):
        self._length = length
        self._sums = np.empty((0, 0), np.float32)
        self._weights = np.empty(0, np.float32)
        self._count = 0

    def add(self, start: int, scores: np.ndarray) -> None:
        """Add the scores ``(T, 4)`` of the segment that begins at a sample."""
        self._count += 1
        scores = scores[: self._length - start].astype(np.float32)  # without its reflected end
        if self._count == 1:
            self._first = scores
            if len(scores) == self._length:
                return
            self._sums = np.zeros((self._length, scores.shape[1]), np.float32)
            self._weights = np.zeros(self._length, np.float32)
        ramp = np.arange(1, len(scores) + 1, dtype=np.float32)
        weights = np.minimum(ramp, ramp[::-1])
        span = slice(start, start + len(scores))
        self._sums[span] += weights[:, None] * scores
        self._weights[span] += weights

    def scores(self) -> np.ndarray:
        """Return the scores of the lead, ``(N, 4)``."""
        return self._first if self._count == 1 else self._sums / self._weights[:, None]


@dataclass(frozen=True, eq=False, repr=False)
class Delineation(Results):
    """Where P waves, QRS complexes and T waves begin and end, in the time of each recording.

    Args:
        run: what was computed.
    """

    run: DelineationRun
    shown = ("recordings", "table", "errors")

    @cached_property
    def masks(self) -> Mapping[str | int, Mask]:
        """The class of every sample, by the name of the recording."""
        run = self.run
        return {
            run.names[number]: Mask(
                tuple(run.masks[number]),
                np.stack(list(run.masks[number].values())),
                run.found[number].sample_rate,
            )
            for number in run.used
        }

    @cached_property
    def table(self) -> "pd.DataFrame":
        """A row for each wave: see :meth:`columns`."""
        import pandas as pd

        return pd.DataFrame(self.columns())

    @cached_property
    def measures(self) -> "pd.DataFrame":
        """Heart rate per minute, and intervals in ms, of each recording and lead (the index).

        They are medians over beats, by :func:`fairseq_ecg.ecg.intervals.measures_of`; those of
        ``all`` leads are the medians over leads, or of a network that delineates all leads
        together, its own. They have not been validated clinically.
        """
        import pandas as pd

        return pd.DataFrame(self.measure_columns()).set_index([RECORDING, LEAD])

    def columns(self) -> Columns:
        """Return of each wave ``recording``, ``lead``, ``wave``, and its limits.

        ``onset``, ``offset`` and ``duration`` are in seconds from the start of the recording;
        ``onset_sample`` and ``offset_sample`` are its first and its last sample.
        """
        names: list[str | int] = []
        leads: list[str] = []
        waves: list[str] = []
        limits: list[tuple[int, int]] = []
        rates: list[float] = []
        for name, mask in self.masks.items():
            for row, lead in enumerate(mask.leads):
                for wave, first, last in mask.waves(row):
                    names.append(name)
                    leads.append(lead)
                    waves.append(wave)
                    limits.append((first, last))
                    rates.append(mask.sample_rate)
        samples = np.array(limits, dtype=np.int64).reshape(-1, 2)
        onsets, offsets = samples.T / np.array(rates)
        return {
            RECORDING: names,
            LEAD: leads,
            WAVE: waves,
            ONSET: onsets,
            OFFSET: offsets,
            DURATION: offsets - onsets,
            "onset_sample": samples[:, 0],
            "offset_sample": samples[:, 1],
        }

    def measure_columns(self) -> Columns:
        """Return :attr:`measures` as columns."""
        rows = []
        for name, mask in self.masks.items():
            of_leads = [mask.measures(row) for row in range(len(mask.leads))]
            rows += [
                (name, lead, *of.values()) for lead, of in zip(mask.leads, of_leads, strict=True)
            ]
            if mask.leads != (ALL_LEADS,):
                medians = [_median([of[measure] for of in of_leads]) for measure in MEASURES]
                rows.append((name, ALL_LEADS, *medians))
        columns = list(zip(*rows, strict=True)) or [()] * (2 + len(MEASURES))
        return dict(zip((RECORDING, LEAD, *MEASURES), columns, strict=True))

    def mask(self, recording: str | int) -> Mask:
        """Return the class of every sample of a recording.

        Raises:
            DataError: there is no such recording.
        """
        if recording not in self.masks:
            raise DataError(f"no delineation of {recording!r}")
        return self.masks[recording]


def _median(values: Sequence[float]) -> float:
    known = [value for value in values if value == value]
    return float(np.median(known)) if known else np.nan
