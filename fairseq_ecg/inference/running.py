"""Recordings through a network: segments in batches over recordings, results as tables."""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd
import torch
from tqdm import tqdm

from fairseq_ecg.data.errors import DataError
from fairseq_ecg.inference.apart import computed_apart
from fairseq_ecg.inference.preprocessing import check_choice
from fairseq_ecg.inference.reading import read_segments
from fairseq_ecg.inference.recordings import Description, recordings_in
from fairseq_ecg.inference.results import END, FACTS, RECORDING, SEGMENT, START
from fairseq_ecg.inference.segmented import SegmentedRecording
from fairseq_ecg.inference.trained import TrainedNetwork

ON_ERROR = ("raise", "skip")

Compute = Callable[[torch.Tensor, torch.Tensor | None], np.ndarray]


@dataclass(frozen=True, eq=False)
class _Segment:
    """A segment that waits for its batch.

    Args:
        recording: its number.
        index: of the segment in it.
        samples: ``(rows, T)`` float32.
        padded: how many of the samples, at the end, are none.
    """

    recording: int
    index: int
    samples: torch.Tensor
    padded: int


@dataclass(eq=False)
class Run:
    """What was computed, segment by segment, and why recordings were left out.

    Attributes:
        names: of all recordings; elsewhere they are numbered.
        found: what was read of each, without its samples.
        failed: why one was left out.
        rows: recording and index in it of every segment that was computed.
        computed: numbers of the segments, in batches.
    """

    names: Sequence[str | int]
    found: dict[int, SegmentedRecording] = field(default_factory=dict)
    failed: dict[int, DataError] = field(default_factory=dict)
    rows: list[tuple[int, int]] = field(default_factory=list)
    computed: list[np.ndarray] = field(default_factory=list)

    def add(self, segments: Sequence[_Segment], values: np.ndarray) -> None:
        """Add the numbers ``(B, width)`` of a batch."""
        self.rows += [(segment.recording, segment.index) for segment in segments]
        self.computed.append(values)

    @property
    def errors(self) -> dict[str | int, str]:
        """Why recordings were left out, by their names."""
        return {self.names[number]: str(self.failed[number]) for number in sorted(self.failed)}

    @cached_property
    def _used(self) -> list[int]:
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
        return np.searchsorted(self._used, numbers[self._kept])

    @property
    def recordings(self) -> pd.DataFrame:
        """Facts of the recordings that were used, a row for each."""
        notes = [
            {
                "sample_rate": found.sample_rate,
                "samples": found.n_samples,
                "segments": len(found.spans),
                "missing_leads": ", ".join(found.missing_leads),
                "flat_leads": ", ".join(found.flat_leads),
                "doubts": "; ".join(found.doubts),
                "quality": found.quality.score,
                "quality_reasons": found.quality.text,
            }
            for found in (self.found[number] for number in self._used)
        ]
        return pd.DataFrame(notes, self._names(), list(FACTS))

    @property
    def segments(self) -> pd.DataFrame:
        """Start and end of their segments in seconds, a row for each."""
        rows = (self.rows[row] for row in self._kept)
        spans = [self.found[number].spans[index] for number, index in rows]
        return pd.DataFrame(spans, self._keys(), [START, END])

    def of_segments(self, values: np.ndarray, columns: Sequence) -> pd.DataFrame:
        """Make a table of numbers ``(N, columns)`` of the segments."""
        return pd.DataFrame(values, self._keys(), list(columns))

    def of_recordings(self, values: np.ndarray, columns: Sequence) -> pd.DataFrame:
        """Make a table of numbers ``(recordings, columns)``."""
        return pd.DataFrame(values, self._names(), list(columns))

    def _names(self) -> pd.Index:
        return pd.Index([self.names[number] for number in self._used], name=RECORDING)

    def _keys(self) -> pd.MultiIndex:
        rows = [self.rows[row] for row in self._kept]
        keys = [[self.names[number] for number, _ in rows], [index for _, index in rows]]
        return pd.MultiIndex.from_arrays(keys, names=[RECORDING, SEGMENT])


def run_recordings(
    network: TrainedNetwork,
    compute: Compute,
    ecg: Any,
    sample_rate: float | None = None,
    leads: Sequence[str] | None = None,
    units: str | None = None,
    *,
    batch_size: int = 32,
    progress: bool | tqdm | None = None,
    on_error: str = "raise",
    workers: int = 0,
    gain: float | None = None,
    format: str | None = None,
    min_quality: float = 0.0,
    **policies: str | None,
) -> Run:
    """Put the segments of recordings through a computation, in batches over recordings.

    Args:
        network: whose preprocessing makes the segments.
        compute: ``(B, L, T)`` segments and ``(B, T)`` padding, or None, to ``(B, width)`` numbers.
        ecg: see :meth:`fairseq_ecg.ECGModel.predict`.
        sample_rate: likewise.
        leads: likewise.
        units: likewise.
        batch_size: segments that go through the network together.
        progress: whether to show a progress bar; None: where there are several recordings and
            a terminal; or a bar that is there already.
        on_error: what to do about a recording that cannot be used: ``raise``, or ``skip``,
            which notes it in ``errors`` of the result.
        workers: processes that read recordings; 0: this one.
        gain: counts of the converter per mV, in place of ``units``.
        format: of files, see :func:`fairseq_ecg.formats.read_ecg`; None: as they look.
        min_quality: 0 to 1: a recording of less quality (:func:`fairseq_ecg.quality.quality`)
            cannot be used.
        policies: ``short``, ``tail``, ``nan_policy`` and ``missing_leads``, see
            :meth:`Preprocessing.segments`.

    Raises:
        DataError: an option cannot have its value, or a recording cannot be used.
    """
    recordings = recordings_in(ecg, Description(sample_rate, leads, units, gain, format))
    check_choice("on_error", on_error, ON_ERROR)
    if batch_size < 1:
        raise DataError(f"batch_size={batch_size}: must be positive")
    if not 0 <= min_quality <= 1:
        raise DataError(f"min_quality={min_quality}: give a number from 0 to 1")
    run = Run([recording.name for recording in recordings])
    batch: list[_Segment] = []

    def together(segments: Sequence[_Segment]) -> np.ndarray:
        source = torch.stack([segment.samples for segment in segments])
        padded = torch.tensor([segment.padded for segment in segments])
        mask = None
        if padded.any():
            valid = source.shape[-1] - padded
            mask = torch.arange(source.shape[-1]) >= valid.unsqueeze(1)
        return compute(source, mask)

    def leave_out(number: int, error: DataError) -> None:
        if on_error == "raise":
            raise error
        run.failed[number] = error

    def flush() -> None:
        names = run.names
        for segments, values in computed_apart(batch, together, lambda s: names[s.recording]):
            if isinstance(values, DataError):
                leave_out(segments[0].recording, values)
            else:
                run.add(segments, values)
        batch.clear()

    read = read_segments(recordings, network.preprocessing, policies, workers)
    with _bar(progress, len(recordings)) as bar:
        for number, (recording, found) in enumerate(zip(recordings, read, strict=True)):
            try:
                found = _checked(network, recording.name, found, min_quality)
                run.found[number] = replace(found, segments=())  # not all in memory
                for index, samples in enumerate(found.segments):
                    batch.append(_Segment(number, index, samples, found.padded))
                    if len(batch) == batch_size:
                        flush()
            except DataError as error:
                leave_out(number, error)
            bar.update()
        if batch:
            flush()
    return run


def _checked(
    network: TrainedNetwork,
    name: str | int,
    found: SegmentedRecording | DataError,
    min_quality: float,
) -> SegmentedRecording:
    """Refuse a recording of too little quality, or which fills no frame of the network."""
    if isinstance(found, DataError):
        raise found
    if found.quality.score < min_quality:
        raise DataError(
            f"{name}: quality {found.quality.score:g} is below {min_quality:g}: "
            f"{found.quality.text}. Leave the recording out, or lower min_quality"
        )
    if not found.padded:
        return found
    n_samples = network.preprocessing.segment_samples - found.padded
    if network.network.encoder.frame_count(n_samples) > 0:
        return found
    raise DataError(
        f"{name}: {n_samples} samples at {network.preprocessing.sample_rate:g} Hz are fewer than "
        "the network makes a frame of. Leave the recording out"
    )


def _bar(progress: bool | tqdm | None, n_recordings: int) -> AbstractContextManager[tqdm]:
    """Return the bar that is there, which stays open, or one of the run."""
    if isinstance(progress, tqdm):
        return nullcontext(progress)
    disable = (None if n_recordings > 1 else True) if progress is None else not progress
    return tqdm(total=n_recordings, desc="recordings", unit="recording", disable=disable)
