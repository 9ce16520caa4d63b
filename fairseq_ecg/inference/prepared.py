"""Recordings that the data preparation has standardised, and perhaps cut, in files and in stores.

They are never standardised again: what is in them goes to the network as in training.
"""

from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from fairseq_ecg.data.recording import read_mat, recording_from_mat
from fairseq_ecg.data.regular import require_file
from fairseq_ecg.data.store import Segments as StoredSegments
from fairseq_ecg.data.store import Store
from fairseq_ecg.ecg.leads import LEADS, lead_indices
from fairseq_ecg.ecg.preprocessing import Preprocessing
from fairseq_ecg.ecg.quality import quality_of_standardised
from fairseq_ecg.ecg.recording import Recording
from fairseq_ecg.errors import DataError
from fairseq_ecg.formats import ECG
from fairseq_ecg.inference.segmented import SegmentedRecording

UNIT, STANDARDISED = "unit", "SD"
"""Key of ``ECG.metadata`` of a recording that is not in mV, and the unit of a standardised one."""

_MARKS = {"feats", "curr_sample_rate", "std"}
"""Variables by which a file is known to be standardised."""


def variables_of(path: str) -> frozenset[str]:
    """Find which variables a ``.mat`` file has; none of other files or of what cannot be read."""
    if not path.lower().endswith(".mat"):
        return frozenset()
    import scipy.io  # not for recordings of other formats

    try:
        require_file(path)
        return frozenset(name for name, *_ in scipy.io.whosmat(path))
    except Exception:  # reading the file says what is wrong with it
        return frozenset()


def is_prepared(variables: Set[str]) -> bool:
    """Whether a file is, by its variables, one that the data preparation has standardised."""
    return variables >= _MARKS


def is_segment(variables: Set[str]) -> bool:
    """Whether a file is, by its variables, one segment of several of a recording."""
    return variables >= _MARKS | {"segment_i"}


def names_record(variables: Set[str]) -> bool:
    """Whether a file holds no ECG, but where a WFDB record of a path data set is."""
    return "ecg_path" in variables and "feats" not in variables


def _is_whole(preprocessing: Preprocessing, policies: Mapping[str, Any]) -> bool:
    """Whether segments are those of a recording as a whole, and not the ones that are stored."""
    return preprocessing.layer_norm or preprocessing.each_lead or bool(policies.get("overlap"))


@dataclass(frozen=True, eq=False)
class PreparedFiles:
    """A recording in one ``.mat`` file, or in one for each of its segments.

    Args:
        paths: of the files, in the order of the numbers.
        numbers: of the segments; empty where the file is a whole recording.
    """

    paths: Sequence[str]
    numbers: Sequence[int] = ()

    @property
    def files(self) -> tuple[Path, ...]:
        """Files that the recording is made of."""
        return tuple(map(Path, self.paths))

    def segmented(self, preprocessing: Preprocessing, **policies) -> SegmentedRecording:
        """Return the segments for a network, see :func:`segmented_recording`.

        A network that is given recordings whole is given what the standardisation was done to.
        """
        if _is_whole(preprocessing, policies):
            return SegmentedRecording.of_ecg(self.read(), preprocessing, **policies)
        chunks = [
            recording_from_mat(read_mat(path, path, required=("feats", "curr_sample_rate")), path)
            for path in self.paths
        ]
        short = policies.get("short", "error")
        return segmented_recording(chunks, self.numbers, preprocessing, short)

    def read(self) -> ECG:
        """Undo the standardisation, by the mean and standard deviation in the files.

        Returns:
            The recording in mV; NaN where no segment was.
        """
        chunks, rate = [], 0.0
        for path in self.paths:
            mat = read_mat(path, path, required=("feats", "curr_sample_rate", "mean", "std"))
            recording = recording_from_mat(mat, path)
            if len(recording.feats) != len(LEADS):
                raise DataError(f"{path}: has {len(recording.feats)} leads, not {len(LEADS)}")
            mean, std = (mat[name].reshape(-1, 1) for name in ("mean", "std"))
            chunks.append(recording.feats * std + mean)
            if chunks[-1].shape != chunks[0].shape:
                n_samples = recording.n_samples
                raise DataError(f"{path}: {n_samples} samples, not {chunks[0].shape[1]}")
            rate = rate or recording.sample_rate
        return ECG(self.paths[0], _joined(chunks, self.numbers or [0]), LEADS, rate)


def _joined(chunks: Sequence[np.ndarray], numbers: Sequence[int]) -> np.ndarray:
    """Join segments of one shape by their numbers; NaN where none was."""
    width = chunks[0].shape[1]
    signal = np.full((len(LEADS), (max(numbers) + 1) * width), np.nan)
    for number, samples in zip(numbers, chunks, strict=True):
        signal[:, number * width : (number + 1) * width] = samples
    return signal


@dataclass(frozen=True, eq=False)
class PreparedInStore:
    """A recording whose segments are in a store.

    Args:
        store: the store.
        segments: all of the store, or of a split.
        rows: those of this recording, in the order of the numbers.
        numbers: of the segments.
    """

    store: Store
    segments: StoredSegments
    rows: np.ndarray
    numbers: Sequence[int]

    files: tuple[Path, ...] = ()
    """A store has checksums of its own, and its index says what it holds."""

    def segmented(self, preprocessing: Preprocessing, **policies) -> SegmentedRecording:
        """Return the segments for a network, see :func:`segmented_recording`.

        A network that is given recordings whole is given the samples as they are stored.
        """
        if _is_whole(preprocessing, policies):
            ecg = self.read()
            found = SegmentedRecording.of_ecg(ecg, preprocessing, **policies)
            return replace(
                found, quality=quality_of_standardised([ecg.signal], ecg.leads, ecg.sample_rate)
            )
        short = policies.get("short", "error")
        return segmented_recording(self._chunks(), self.numbers, preprocessing, short)

    def read(self) -> ECG:
        """Return the recording in standard deviations of each lead, NaN where no segment was.

        A store does not hold what the samples were standardised by.
        """
        chunks = self._chunks()
        where, rate, shape = chunks[0].where, chunks[0].sample_rate, chunks[0].feats.shape
        for chunk in chunks:
            if chunk.feats.shape != (len(LEADS), shape[1]):
                raise DataError(f"{where}: segments of {chunk.feats.shape} and of {shape}")
        signal = _joined([chunk.feats for chunk in chunks], self.numbers)
        return ECG(where, signal, LEADS, rate, {UNIT: STANDARDISED})

    def _chunks(self) -> list[Recording]:
        samples = self.store.read(self.segments, self.rows)
        return [
            Recording(
                f"{self.store.path}: {self.segments.paths[row].as_py()}",
                one.numpy(),
                float(self.segments.sample_rate[row]),
            )
            for row, one in zip(self.rows.tolist(), samples, strict=True)
        ]


def segmented_recording(
    chunks: Sequence[Recording],
    numbers: Sequence[int],
    preprocessing: Preprocessing,
    short: str,
) -> SegmentedRecording:
    """Bring standardised samples to what a network reads: leads, and nothing else but length.

    Args:
        chunks: segments of one recording, or one that is whole.
        numbers: of the segments; none of a whole recording, which is cut here.
        preprocessing: of the network.
        short: what becomes of a chunk shorter than a segment, ``error`` or ``pad``.

    Raises:
        DataError: another sampling rate than the network's, samples without a value, no signal, or
            the network reads mV.
    """
    where, rate = chunks[0].where, preprocessing.sample_rate
    if not preprocessing.standardise:
        raise DataError(
            f"{where}: already standardised, and the network reads mV. Give the original recordings"
        )
    for chunk in chunks:
        if chunk.sample_rate != rate:
            raise DataError(
                f"{chunk.where}: prepared at {chunk.sample_rate:g} Hz, the network reads "
                f"{rate:g} Hz. Give the original recordings, or prepare them with "
                f"--sample-rate {rate:g}"
            )
    lengths = {chunk.n_samples for chunk in chunks}
    if len(lengths) > 1:
        raise DataError(f"{where}: its segments have different lengths, {sorted(lengths)} samples")
    (length,), width = lengths, preprocessing.segment_samples
    padded = max(width - length, 0)
    if padded and short == "error":
        raise DataError(
            f"{where}: {length / rate:.3g} s, shorter than one segment of "
            f"{preprocessing.segment_seconds:g} s. Leave the recording out, or say short='pad'"
        )
    leads = lead_indices(preprocessing.leads)
    condition = preprocessing.conditioning()
    segments, spans, values = [], [], False
    for number, chunk in zip(numbers or [0], chunks, strict=True):
        ecg = condition(chunk, leads).float()
        values = values | (chunk.feats[leads] != 0).any(axis=1)
        for start in range(0, length - width + 1 if not padded else 1, width):
            segments.append(torch.nn.functional.pad(ecg[:, start : start + width], (0, padded)))
            first = (number * length + start) / rate
            spans.append((first, first + (width - padded) / rate))
    if not values.any():
        raise DataError(f"{where}: no signal, all leads are flat")
    flat = tuple(lead for lead, has in zip(preprocessing.leads, values, strict=True) if not has)
    n_samples = (max(numbers, default=0) + 1) * length
    quality = quality_of_standardised([chunk.feats for chunk in chunks], LEADS, rate)
    return SegmentedRecording(rate, n_samples, tuple(spans), padded, (), flat, quality, segments)
