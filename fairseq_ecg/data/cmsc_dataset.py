"""Data set of recordings whose segments are contrasted with one another (CMSC)."""

import itertools
import os
from collections.abc import Sequence
from typing import Any

import torch

from fairseq_ecg.data.dataset import ECGDataset
from fairseq_ecg.data.errors import DataError
from fairseq_ecg.data.manifest import CMSCManifest, read_cmsc_manifest
from fairseq_ecg.data.recording import read_integer, read_mat, recording_from_mat
from fairseq_ecg.ecg.recording import Recording


class CMSCECGDataset(ECGDataset):
    """Recordings listed in a CMSC manifest, an even number of segments in each item.

    Segments are drawn and augmented independently. What is called the patient of a segment is the
    ``idx`` of its recording where the file has one, as in fairseq_signals: other recordings of the
    same patient then count as those of another. Files without ``idx`` need ``patient_id``. The
    constructor is that of `ECGDataset`.
    """

    manifest: CMSCManifest

    def __getitem__(self, index: int) -> list[dict[str, Any]]:
        """Segments of recording ``index``.

        Each has ``id`` (of the recording), ``source`` (L, T) float32, ``sample_rate`` in Hz,
        ``segment`` (0 or 1, its place in a pair), ``patient_id``, ``position`` (among the segments
        of the recording) and, if asked for, ``label`` (C,).
        """
        index = range(len(self))[index]
        entry = self.manifest[index]
        recordings, samples = [], []
        for position, segment in enumerate(entry.segments):
            path = self._segment_path(entry.prefix, segment)
            where = self._where(path, entry.line)
            required = ("feats", "curr_sample_rate", *self._label_keys)
            mat = read_mat(
                path, where, required=required, optional=("idx", "patient_id"), check=False
            )
            recording = recording_from_mat(mat, where)
            recordings.append(recording)
            sample = {
                "id": index,
                "position": position,
                "segment": position % 2,
                "patient_id": _patient_id(mat, where),
                **self._source(recording, self.lead_selection, index, position),
            }
            if self.label:
                sample["label"] = self._labels(mat, where)
            samples.append(sample)
        _check_orientation(recordings, entry.n_samples)
        return samples

    def collate(self, samples: Sequence[list[dict[str, Any]]]) -> dict[str, Any]:
        """Make a batch of all segments of the recordings, in order.

        Args:
            samples: items of this data set.

        Returns:
            What `ECGDataset.collate` returns, and ``patient_id`` (B,) and ``segment`` (B,) int32.

        Raises:
            DataError: the segments differ in their number of leads or labels.
        """
        segments = list(itertools.chain.from_iterable(samples))
        batch = super().collate(segments)
        for key in ("patient_id", "segment") if segments else ():
            batch[key] = torch.tensor([segment[key] for segment in segments], dtype=torch.int32)
        return batch

    def _read_manifest(self, path: str | os.PathLike, min_sample_size: int | None) -> CMSCManifest:
        return read_cmsc_manifest(path, min_sample_size)

    def _path(self, index: int) -> str:
        entry = self.manifest[index]
        return self._segment_path(entry.prefix, "{" + ",".join(map(str, entry.segments)) + "}")

    def _segment_path(self, prefix: str, segment: int | str) -> str:
        return os.path.join(self.manifest.root, f"{prefix}_{segment}.{self.manifest.extension}")


def _patient_id(mat: dict, where: str) -> int:
    for key in ("idx", "patient_id"):
        if key in mat:
            return read_integer(mat, key, where)
    raise DataError(
        f"{where}: has neither 'idx' nor 'patient_id', by which segments of one recording are "
        "told from those of others. Prepare the file again"
    )


def _check_orientation(recordings: Sequence[Recording], expected: int) -> None:
    """Refuse transposed segments; their lengths may differ, while the manifest gives one number."""
    for recording in recordings:
        if len(recording.feats) == expected:
            recording.check_n_samples(expected)
