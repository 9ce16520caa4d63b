"""Segments in ``.mat`` files that a manifest lists, with their ECG or naming a WFDB record."""

import os
from collections.abc import Iterator, Sequence

import numpy as np

from fairseq_ecg.data.errors import DataError
from fairseq_ecg.data.manifest import read_cmsc_manifest, read_manifest
from fairseq_ecg.data.recording import (
    Recording,
    read_integer,
    read_mat,
    read_wfdb,
    recording_from_mat,
)
from fairseq_ecg.data.sources.source import SegmentBatch, Source, Variables
from fairseq_ecg.data.store.layout import MISSING, is_url


class FileSource(Source):
    """Files of a manifest that hold ``feats`` (leads, samples) and ``curr_sample_rate``."""

    variables = Variables(required=("feats", "curr_sample_rate"))
    checks_structure = False

    def __init__(
        self, path: str | os.PathLike, grouped: bool = False, min_samples: int | None = None
    ):
        self.grouped = grouped
        self.manifest = (read_cmsc_manifest if grouped else read_manifest)(path, min_samples)
        self.sizes = self.manifest.sizes

    def name(self, index: int) -> str:
        """See `Source.name`."""
        return self.manifest.name(index)

    def read(self, indices: Sequence[int], variables: Variables, copies: int = 1) -> "FileSegments":
        """See `Source.read`."""
        return FileSegments(self, indices, variables, copies)

    def recording(self, mat: dict[str, np.ndarray], where: str) -> Recording:
        """Make an ECG of the variables of a file."""
        return recording_from_mat(mat, where)

    def read_file(
        self, index: int, path: str, where: str, variables: Variables
    ) -> tuple[Recording, dict[str, np.ndarray]]:
        """Read one file of an item.

        Returns:
            Its ECG, and its variables.

        Raises:
            DataError: it cannot be read, or is not as the manifest says.
        """
        wanted = self.variables + variables
        mat = read_mat(
            path,
            where,
            required=wanted.required,
            optional=wanted.optional,
            check=self.checks_structure,
        )
        recording = self.recording(mat, where)
        # Segments of one recording may differ in length, while its line gives one number.
        expected = self.manifest[index].n_samples
        if not self.grouped or len(recording.feats) == expected:
            recording.check_n_samples(expected)
        return recording, mat


class RecordSource(FileSource):
    """Files of a manifest that name a WFDB record, ``ecg_path``.

    It is relative to the working directory or absolute. A file may hold ``lead``, the leads to
    load instead of ``leads_to_load``.
    """

    variables = Variables(required=("ecg_path",), optional=("lead",))
    checks_structure = True

    def recording(self, mat: dict[str, np.ndarray], where: str) -> Recording:
        """Read the record that a file names."""
        return read_wfdb(record_name(mat, where), where)


def record_name(mat: dict[str, np.ndarray], where: str) -> str:
    """Return the WFDB record that the variable ``ecg_path`` of a file names.

    Args:
        mat: variables of the file.
        where: names the file in error messages.

    Raises:
        DataError: it is not one path on this machine.
    """
    value = mat["ecg_path"]
    if value.size != 1 or value.dtype.kind != "U":
        raise DataError(
            f"{where}: 'ecg_path' must be one path, found {value.tolist()}. Prepare the file again"
        )
    name = value.item()
    if is_url(name):
        raise DataError(
            f"{where}: 'ecg_path' is the URL {name!r}, which is not fetched for a file that names "
            "it. Fetch the record, and prepare the file again with its path"
        )
    return name


class FileSegments(SegmentBatch):
    """Segments of some items of a manifest, of which one ECG at a time is in memory."""

    def __init__(
        self, source: FileSource, indices: Sequence[int], variables: Variables, copies: int
    ):
        self._source, self._variables, self._copies = source, variables, copies
        self._files = [(index, path) for index in indices for path in source.manifest.files(index)]
        self._mats: list[dict[str, np.ndarray]] = []
        ids = [index for index, _ in self._files for _ in range(copies)]
        counts = [len(source.manifest.files(index)) * copies for index in indices]
        positions = [position for count in counts for position in range(count)]
        super().__init__(np.array(ids, np.int64), np.array(positions, np.int64))

    def recordings(self) -> Iterator[Recording]:
        """See `SegmentBatch.recordings`."""
        ecg_variables = self._source.variables.required
        for index, path in self._files:
            where = self._where(index, path)
            recording, mat = self._source.read_file(index, path, where, self._variables)
            kept = {key: value for key, value in mat.items() if key not in ecg_variables}
            for _ in range(self._copies):
                self._mats.append(kept)
                yield recording

    def own_leads(self, row: int) -> list | None:
        """See `SegmentBatch.own_leads`."""
        leads = self._mats[row].get("lead")
        return None if leads is None else leads.ravel().tolist()

    def where(self, row: int) -> str:
        """See `SegmentBatch.where`."""
        return self._where(*self._files[row // self._copies])

    def _where(self, index: int, path: str) -> str:
        manifest = self._source.manifest
        return f"{path} ({manifest.path}, line {manifest[index].line})"

    def integers(self, key: str) -> np.ndarray:
        """See `SegmentBatch.integers`."""
        return np.array(
            [
                read_integer(mat, key, self.where(row)) if key in mat else MISSING
                for row, mat in enumerate(self._mats)
            ],
            np.int64,
        )

    def arrays(self, key: str) -> list[np.ndarray | None]:
        """See `SegmentBatch.arrays`."""
        return [mat.get(key) for mat in self._mats]
