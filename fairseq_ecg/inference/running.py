"""Recordings through a network: segments in batches over recordings, results as tables."""

from collections import defaultdict
from collections.abc import Callable, Hashable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from tqdm import tqdm

from fairseq_ecg.ecg.preprocessing import check_choice
from fairseq_ecg.errors import DataError
from fairseq_ecg.inference.apart import computed_apart
from fairseq_ecg.inference.loaded import LoadedNetwork
from fairseq_ecg.inference.reading import read_segments
from fairseq_ecg.inference.recordings import Description, NamedRecording, recordings_in
from fairseq_ecg.inference.results import Run
from fairseq_ecg.inference.segmented import SegmentedRecording
from fairseq_ecg.jobs.progress import progress_bar

ON_ERROR = ("raise", "skip")

Compute = Callable[[torch.Tensor, torch.Tensor | None], np.ndarray]


MOST_WAITING = 4
"""Batches' worth of segments that wait for others of their kind; then the largest kind goes."""


@dataclass(frozen=True, eq=False)
class Segment:
    """A segment that waits for its batch.

    Args:
        recording: its number.
        index: of the segment in it.
        samples: ``(rows, T)`` float32.
        of: the recording, without its samples.
    """

    recording: int
    index: int
    samples: torch.Tensor
    of: SegmentedRecording


ComputeSegments = Callable[[Sequence[Segment]], np.ndarray]


def run_recordings(
    network: LoadedNetwork,
    compute: Compute,
    ecg: Any,
    sample_rate: float | None = None,
    leads: Sequence[str] | None = None,
    units: str | None = None,
    *,
    gain: float | None = None,
    format: str | None = None,
    **options: Any,
) -> Run:
    """Put the segments of recordings through a computation, in batches over recordings.

    Args:
        network: whose preprocessing makes the segments.
        compute: ``(B, L, T)`` segments and ``(B, T)`` padding, or None, to ``(B, ...)`` numbers.
        ecg: see :meth:`fairseq_ecg.ECGModel.predict`.
        sample_rate: in Hz, see there.
        leads: names of the rows, see there.
        units: of the samples, see there.
        gain: counts of the converter per mV, in place of ``units``.
        format: of files, see :func:`fairseq_ecg.formats.read_ecg`; None: as they look.
        options: of :func:`run_segments`.

    Raises:
        DataError: an option cannot have its value, or a recording cannot be used.
    """

    def together(segments: Sequence[Segment]) -> np.ndarray:
        source = torch.stack([segment.samples for segment in segments])
        padded = [segment.of.padded for segment in segments]
        return compute(source, padding_mask_of(padded, source.shape[-1]))

    recordings = recordings_in(ecg, Description(sample_rate, leads, units, gain, format))
    return run_segments(network, together, recordings, **options)


def padding_mask_of(padded: Sequence[int], n_samples: int) -> torch.Tensor | None:
    """Return ``(B, T)`` bool, True where a sample is padding; None if none is.

    Args:
        padded: how many samples of each segment, at its end, are none.
        n_samples: T.
    """
    if not any(padded):
        return None
    return torch.arange(n_samples) >= n_samples - torch.tensor(padded).unsqueeze(1)


def run_segments(
    network: LoadedNetwork,
    compute: ComputeSegments,
    recordings: Sequence[NamedRecording],
    *,
    batch_size: int = 32,
    progress: bool | tqdm | None = None,
    on_error: str = "raise",
    workers: int = 0,
    min_quality: float = 0.0,
    run_class: Callable[[Sequence[str | int]], Run] = Run,
    kind_of: Callable[[int, SegmentedRecording], Hashable] = lambda number, found: None,
    **policies: Any,
) -> Run:
    """Put the segments of recordings through a computation, in batches over recordings.

    Args:
        network: whose preprocessing makes the segments.
        compute: segments to ``(B, ...)`` numbers.
        recordings: to read.
        batch_size: segments that go through the network together.
        progress: whether to show a progress bar; None: where there are several recordings and
            a terminal; or a bar that is there already.
        on_error: what to do about a recording that cannot be used: ``raise``, or ``skip``,
            which notes it in ``errors`` of the result.
        workers: processes that read recordings; 0: this one.
        min_quality: 0 to 1: a recording of less quality (:func:`fairseq_ecg.ecg.quality.quality`)
            cannot be used.
        run_class: gathers what is computed; it is given the names of the recordings.
        kind_of: given the number of a recording and what is known of it, says of which kind its
            segments are; those of a batch are of one kind.
        policies: ``short``, ``tail``, ``nan_policy``, ``missing_leads`` and ``overlap``, see
            :meth:`Preprocessing.segments`.

    Raises:
        DataError: an option cannot have its value, or a recording cannot be used.
    """
    check_batching(batch_size, on_error)
    if not 0 <= min_quality <= 1:
        raise DataError(f"min_quality={min_quality}: give a number from 0 to 1")
    run = run_class([recording.name for recording in recordings])
    waiting: dict[Hashable, list[Segment]] = defaultdict(list)

    def leave_out(number: int, error: DataError) -> None:
        if on_error == "raise":
            raise error
        run.failed[number] = error

    def flush(batch: Sequence[Segment]) -> None:
        names = run.names
        for segments, values in computed_apart(batch, compute, lambda s: names[s.recording]):
            if isinstance(values, DataError):
                leave_out(segments[0].recording, values)
            else:
                run.add([(segment.recording, segment.index) for segment in segments], values)

    def wait(kind: Hashable, segment: Segment) -> None:
        waiting[kind].append(segment)
        if sum(map(len, waiting.values())) == MOST_WAITING * batch_size:
            kind = max(waiting, key=lambda kind: len(waiting[kind]))
        elif len(waiting[kind]) < batch_size:
            return
        flush(waiting.pop(kind))

    read = read_segments(recordings, network.preprocessing, policies, workers)
    with _bar(progress, len(recordings)) as bar:
        for number, (recording, found) in enumerate(zip(recordings, read, strict=True)):
            try:
                found = _checked(network, recording.name, found, min_quality)
                kept = run.found[number] = replace(found, segments=())  # not all in memory
                for index, samples in enumerate(found.segments):
                    wait(kind_of(number, kept), Segment(number, index, samples, kept))
            except DataError as error:
                leave_out(number, error)
            bar.update()
        for batch in waiting.values():
            flush(batch)
    if run.rows != sorted(run.rows):
        run.sort()
    return run


def check_batching(batch_size: int, on_error: str = "raise") -> None:
    """Raise DataError unless these options can have their values."""
    check_choice("on_error", on_error, ON_ERROR)
    if batch_size < 1:
        raise DataError(f"batch_size={batch_size}: must be positive")


def _checked(
    network: LoadedNetwork,
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
    if network.frame_count(n_samples) > 0:
        return found
    raise DataError(
        f"{name}: {n_samples} samples at {network.preprocessing.sample_rate:g} Hz are fewer than "
        "the network makes a frame of. Leave the recording out"
    )


def _bar(progress: bool | tqdm | None, n_recordings: int) -> AbstractContextManager[tqdm]:
    """Return the bar that is there, which stays open, or one of the run."""
    if isinstance(progress, tqdm):
        return nullcontext(progress)
    show = False if progress is None and n_recordings <= 1 else progress
    return progress_bar(n_recordings, "recordings", "recording", show=show)
