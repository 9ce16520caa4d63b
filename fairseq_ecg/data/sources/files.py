"""Segments in ``.mat`` files that a manifest lists, with their ECG or naming a WFDB record."""

import os
from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np

from fairseq_ecg.data.manifest import read_cmsc_manifest, read_manifest
from fairseq_ecg.data.recording import (
    Recording,
    read_integer,
    read_mat,
    read_texts,
    read_wfdb,
    recording_from_mat,
)
from fairseq_ecg.data.sources.source import SegmentBatch, Source, Variables
from fairseq_ecg.data.store.layout import MISSING, is_url
from fairseq_ecg.errors import DataError


class FileSource(Source):
    """Files of a manifest that hold ``feats`` (leads, samples) and ``curr_sample_rate``."""

    variables = Variables(required=("feats", "curr_sample_rate"))
    checks_structure = False

    def __init__(self, path: str | os.PathLike, grouped: bool, min_samples: int | None):
        self.grouped = grouped
        self.manifest = (read_cmsc_manifest if grouped else read_manifest)(path, min_samples)
        self.sizes, self.classes = self.manifest.sizes, self.manifest.classes

    def name(self, index: int) -> str:
        """See `Source.name`."""
        return self.manifest.name(index)

    def length(self, index: int) -> int:
        """Return the length of a segment of an item in samples, as the manifest lists it."""
        return int(self.sizes[index])

    def read(self, indices: Sequence[int], variables: Variables, copies: int) -> "FileSegments":
        """See `Source.read`."""
        return FileSegments(self, indices, variables, copies)

    def recording(self, mat: dict[str, np.ndarray], where: str) -> Recording:
        """Make an ECG of the variables of a file."""
        return recording_from_mat(mat, where)


class RecordSource(FileSource):
    """Files of a manifest that name a WFDB record, ``ecg_path``.

    It is relative to the working directory or absolute. A file may hold ``lead``, the leads to
    load instead of ``leads_to_load``.
    """

    variables = Variables(required=("ecg_path",), optional=("lead",))
    checks_structure = True

    def recording(self, mat: dict[str, np.ndarray], where: str) -> Recording:
        """Read the record that a file names."""
        recording = read_wfdb(record_name(mat, where), where)
        return (
            replace(recording, leads=mat["lead"].ravel().tolist()) if "lead" in mat else recording
        )


def record_name(mat: dict[str, np.ndarray], where: str) -> str:
    """Return the WFDB record that the variable ``ecg_path`` of a file names.

    Args:
        mat: variables of the file.
        where: names the file in error messages.

    Raises:
        DataError: it is not one path on this machine.
    """
    return record_names(mat, where, 1)[0]


def record_names(mat: dict[str, np.ndarray], where: str, most: int) -> list[str]:
    """Return the WFDB records that the variable ``ecg_path`` of a file names.

    Args:
        mat: variables of the file.
        where: names the file in error messages.
        most: number of records that it may name.

    Raises:
        DataError: it is not one path, or up to ``most``, on this machine.
    """
    value = mat["ecg_path"]
    if not 1 <= value.size <= most or value.dtype.kind != "U":
        expected = "one path" if most == 1 else f"1 to {most} paths"
        raise DataError(
            f"{where}: 'ecg_path' must be {expected}, found {value.tolist()}. Prepare the file "
            "again"
        )
    names = [name.rstrip(" ") for name in value.ravel().tolist()]  # .mat files pad to the longest
    for name in names:
        if is_url(name):
            raise DataError(
                f"{where}: 'ecg_path' is the URL {name!r}, which is not fetched for a file that "
                "names it. Fetch the record, and prepare the file again with its path"
            )
    return names


class FileSegments(SegmentBatch):
    """Segments of some items of a manifest, of which one ECG at a time is in memory."""

    def __init__(
        self, source: FileSource, indices: Sequence[int], variables: Variables, copies: int
    ):
        self._source, self._copies, self.item_classes = source, copies, source.classes
        self._variables = source.variables.and_those(variables)
        self._asked = {*variables.required, *variables.optional}
        self._files = [
            (index, position, path)
            for index in indices
            for position, path in enumerate(
                path for path in source.manifest.files(index) for _ in range(copies)
            )
        ]
        self.ids = np.array([index for index, _, _ in self._files], np.int64)
        self.positions = np.array([position for _, position, _ in self._files], np.int64)
        self.n_samples = np.zeros(len(self._files), np.int64)
        self._mats: list[dict[str, np.ndarray]] = []

    def recordings(self) -> Iterator[Recording]:
        """See `SegmentBatch.recordings`."""
        for first in range(0, len(self._files), self._copies):
            recording, mat = self._read(first)
            self._mats += [mat] * self._copies
            self.n_samples[first : first + self._copies] = recording.n_samples
            for _ in range(self._copies):
                yield recording
            del recording  # its memory is that of the next one

    def _read(self, row: int) -> tuple[Recording, dict[str, np.ndarray]]:
        source, (required, optional) = self._source, self._variables
        (index, _, path), where = self._files[row], self.where(row)
        check = source.checks_structure
        mat = read_mat(path, where, required=required, optional=optional, check=check)
        recording = source.recording(mat, where)
        # Segments of one recording may differ in length, while its line gives one number.
        expected = source.length(index)
        if not source.grouped or len(recording.feats) == expected:
            recording.check_n_samples(expected)
        return recording, {key: mat[key] for key in self._asked if key in mat}

    def where(self, row: int) -> str:
        """See `SegmentBatch.where`."""
        index, _, path = self._files[row]
        manifest = self._source.manifest
        return f"{path} ({manifest.path}, line {manifest.lines[index]})"

    def integers(self, key: str) -> np.ndarray:
        """See `SegmentBatch.integers`."""
        numbers = [
            read_integer(mat, key, self.where(row)) if key in mat else MISSING
            for row, mat in enumerate(self._mats)
        ]
        return np.array(numbers, np.int64)

    def arrays(self, key: str) -> list[np.ndarray | None]:
        """See `SegmentBatch.arrays`."""
        return [mat.get(key) for mat in self._mats]

    def texts(self, key: str) -> list[list[str] | None]:
        """See `SegmentBatch.texts`."""
        return [
            read_texts(mat, key, self.where(row)) if key in mat else None
            for row, mat in enumerate(self._mats)
        ]
