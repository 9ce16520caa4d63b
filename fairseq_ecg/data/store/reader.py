"""Reading a store, by memory maps where it lies on this machine and through fsspec elsewhere."""

import logging
import os
import stat
import zlib
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, fields
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import torch
from torch import Tensor

from fairseq_ecg.data.names import printable
from fairseq_ecg.data.store.layout import (
    DESCRIPTION,
    LIST_VARIABLES,
    MISSING,
    NO_LABELS,
    TEXT_VARIABLES,
    Description,
    Shard,
    checksum,
    is_url,
)
from fairseq_ecg.errors import DataError
from fairseq_ecg.limits import check_limit

logger = logging.getLogger(__name__)

_RESTORE = "Restore it from a copy, or pack the store again"

_NO_STORE = "Give the folder or URL that 'fairseq-ecg store pack' wrote, or a copy of it"

Stored: TypeAlias = np.ndarray | list[np.ndarray]
"""Samples as a store holds them: ``(B, L, T)`` if all have one shape, else each ``(L, T)``."""


class _File(NamedTuple):
    """An array of one dimension in a file of its own."""

    name: str
    start: int
    n_values: int
    dtype: np.dtype

    @property
    def end(self) -> int:
        """Bytes of the file."""
        return self.start + self.n_values * self.dtype.itemsize


@dataclass(frozen=True, eq=False)
class Segments:
    """Segments of a store as columns: a million fit in the memory of every worker.

    Args:
        paths: of the packed files below their root, an Arrow array of strings.
        roots: folder that each path is relative to, an Arrow array of strings.
        shard: ``(N,)`` number of the shard.
        offset: ``(N,)`` of the first value in the shard.
        n_leads: ``(N,)``.
        n_samples: ``(N,)`` length in samples.
        sample_rate: ``(N,)`` in Hz.
        crc32: ``(N,)`` of the stored bytes.
        finite: ``(N,)`` bool, whether all samples are.
        idx: ``(N,)`` int64; `MISSING` where the file has none.
        patient_id: likewise.
        steps: of int16, an Arrow array of lists of one step for each lead, else None.
        lists: variables of the files that hold several numbers, such as ``label``: Arrow arrays
            of lists or nulls, where a file has any.
        texts: variables that hold texts, such as ``diagnoses``: Arrow arrays of lists or nulls,
            where a file has any.
        item: ``(N,)`` position among the segments of the split, as in its plain manifest; -1: none.
        pair: ``(N,)`` number of the pair in the split, as in its CMSC manifest; -1: none.
        labels_offset: ``(N,)`` of the first label of a sample in those of the shard; `NO_LABELS`:
            there are none.
        labels_crc32: ``(N,)`` of the bytes of these labels.
        position: ``(N,)`` position in the pair.
        pair_samples: ``(N,)`` length that the CMSC manifest gives for the pair.
        class_index: ``(N,)`` int64 class of the patient in the split, `MISSING` where its manifest
            lists none; None where none of a store does.
    """

    paths: Any
    roots: Any
    shard: np.ndarray
    offset: np.ndarray
    n_leads: np.ndarray
    n_samples: np.ndarray
    sample_rate: np.ndarray
    crc32: np.ndarray
    finite: np.ndarray
    idx: np.ndarray
    patient_id: np.ndarray
    steps: Any
    lists: dict[str, Any]
    texts: dict[str, Any]
    labels_offset: np.ndarray
    labels_crc32: np.ndarray
    item: np.ndarray
    pair: np.ndarray
    position: np.ndarray
    pair_samples: np.ndarray
    class_index: np.ndarray | None

    def __len__(self) -> int:
        return len(self.shard)


@dataclass(frozen=True, eq=False)
class Questions:
    """Questions of a split as columns, in their order.

    Args:
        roots: folder that each path is relative to, an Arrow array of strings.
        paths: of the packed files below their root, an Arrow array of strings.
        first: ``(N,)`` row of the ECG that each is about, among all segments of the store.
        second: ``(N,)`` row of its second ECG; -1: it has none.
        n_tokens: ``(N,)`` tokens of each.
        question: the texts, an Arrow array of strings.
        n_answers: ``(N,)`` C, answers of which some are right.
        answer: numbers of the right answers, an Arrow array of lists.
        valid_classes: numbers of the answers that could be right, an Arrow array of lists.
        numbers: its types and its attribute by name, each ``(N,)``.
    """

    roots: Any
    paths: Any
    first: np.ndarray
    second: np.ndarray
    n_tokens: np.ndarray
    question: Any
    n_answers: np.ndarray
    answer: Any
    valid_classes: Any
    numbers: dict[str, np.ndarray]


class Store:
    """A store, opened for reading.

    Files are opened when they are first read from, in every process for itself.

    Args:
        path: folder, or URL that fsspec understands; chained URLs such as
            ``blockcache::s3://bucket/store`` cache what they read.
        verify: whether the checksum of every segment is compared as it is read. What comes through
            fsspec is always checked.

    Raises:
        DataError: it is no store, or of another version.
    """

    def __init__(self, path: str | os.PathLike, verify: bool = False):
        self.path = os.fspath(path).rstrip("/")
        self.verify = verify
        self._open()
        where = f"{self.path}/{DESCRIPTION}"
        self.description = Description.from_json(self.read_file(DESCRIPTION), where)
        self._values = np.dtype(self.description.dtype).newbyteorder("<")

    def __reduce__(self):
        return type(self), (self.path, self.verify)

    def _open(self) -> None:
        self._process = os.getpid()
        self._maps: dict[_File, np.ndarray] = {}
        self._threads: ThreadPoolExecutor | None = None
        self._files: Any = None
        self._folder = self.path
        self._gives_ranges: bool | None = None
        if is_url(self.path):
            import fsspec
            from fsspec.implementations.local import LocalFileSystem

            try:
                self._files, self._folder = fsspec.url_to_fs(self.path)
            except (ImportError, ValueError) as error:
                raise DataError(
                    f"{self.path}: fsspec cannot open it: {error}. "
                    "Install what it asks for, or correct task.data"
                ) from error
            if isinstance(self._files, LocalFileSystem):
                self._files = None

    def _of_this_process(self) -> None:
        """Open everything anew in a fork: threads and connections do not survive it."""
        if self._process != os.getpid():
            self._open()

    @property
    def is_remote(self) -> bool:
        """Whether it is read through fsspec rather than from memory maps."""
        return self._files is not None

    def read_file(self, name: str) -> bytes:
        """Read one of its files whole.

        Raises:
            DataError: the file is not there, or larger than is plausible.
        """
        self._of_this_process()
        path = f"{self._folder}/{name}"
        try:
            if self._files is not None:
                return self._files.cat_file(path)
            limit = "description" if name == DESCRIPTION else "bytes"
            check_limit(f"{self.path}/{name}", limit, self._size(name))
            with open(path, "rb") as file:
                return file.read()
        except FileNotFoundError:
            raise DataError(
                f"{self.path}/{name}: no such file. "
                + (_NO_STORE if name == DESCRIPTION else _RESTORE)
            ) from None
        except OSError as error:
            raise DataError(f"{self.path}/{name}: cannot be read: {error}") from error

    def _size(self, name: str) -> int:
        """Return the size of a file in bytes; a pipe, which would be waited for, is none."""
        if self._files is not None:
            return self._files.size(f"{self._folder}/{name}")
        status = os.stat(f"{self._folder}/{name}")
        if not stat.S_ISREG(status.st_mode):
            raise DataError(f"{self.path}/{name}: is no file. {_RESTORE}")
        return status.st_size

    def table(self):
        """The index as an Arrow table, one row for each segment in the order of packing.

        Raises:
            DataError: the index is missing or damaged, or refers to what is not there.
        """
        table = self._index()
        for fault in self._faults_of(table):
            raise DataError(f"{fault}. {_RESTORE}")
        return table

    def faults_of_index(self) -> list[str]:
        """Say which segments of the index refer to what is not there.

        Raises:
            DataError: the index is missing or damaged.
        """
        return list(self._faults_of(self._index()))

    def _index(self):
        from fairseq_ecg.data.store.tables import FILES, POSITIONS, read_table

        name = self.description.index
        content = self.read_file(name)
        if zlib.crc32(content) != self.description.index_crc32:
            raise DataError(f"{self.path}/{name}: its checksum is wrong. {_RESTORE}")
        return read_table(content, POSITIONS | FILES, f"{self.path}/{name}", _RESTORE)

    def _faults_of(self, table) -> Iterator[str]:
        from fairseq_ecg.data.store.tables import faults_of_index

        return faults_of_index(table, self.description, f"{self.path}/{self.description.index}")

    def segments(self, split: str | None = None) -> Segments:
        """List segments in the order of packing.

        Args:
            split: of which. None: of all.

        Raises:
            DataError: as of `table`, or there is no such split.
        """
        import pyarrow.compute

        from fairseq_ecg.data.store.tables import OPTIONAL

        table = self.table()
        if split is not None:
            names = sorted(pyarrow.compute.unique(table["split"]).to_pylist())
            if split not in names:
                raise DataError(
                    f"{self.path}: has no split {split!r}; it has {', '.join(names)}. "
                    "Name one of them as subset, or pack its manifest into the store"
                )
            table = table.filter(pyarrow.compute.equal(table["split"], split))

        def with_missing(name: str, missing: int = MISSING) -> np.ndarray:
            if name not in table.column_names:
                return np.full(len(table), missing)
            return table[name].combine_chunks().fill_null(missing).to_numpy(zero_copy_only=False)

        def whole(name: str):
            return table[name].combine_chunks() if name in table.column_names else None

        has_classes = "class_index" in table.column_names

        def there(names: Sequence[str]) -> dict[str, Any]:
            return {name: whole(name) for name in names if name in table.column_names}

        special = {"paths", "roots", "steps", "lists", "texts", "idx", "patient_id", *OPTIONAL}
        plain = [field.name for field in fields(Segments) if field.name not in special]
        return Segments(
            paths=whole("path"),
            roots=whole("root").dictionary_encode(),
            steps=whole("steps"),
            lists=there(LIST_VARIABLES),
            texts=there(TEXT_VARIABLES),
            idx=with_missing("idx"),
            patient_id=with_missing("patient_id"),
            labels_offset=with_missing("labels_offset", NO_LABELS),
            labels_crc32=with_missing("labels_crc32", 0),
            class_index=with_missing("class_index") if has_classes else None,
            **{name: table[name].to_numpy() for name in plain},
        )

    def questions_table(self):
        """The questions as an Arrow table in the order of packing; None if there are none.

        Raises:
            DataError: the table is missing or damaged, or refers to what is not there.
        """
        from fairseq_ecg.data.store.tables import QUESTIONS, faults_of_questions, read_table

        name = self.description.questions
        if name is None:
            return None
        where = f"{self.path}/{name}"
        content = self.read_file(name)
        if zlib.crc32(content) != self.description.questions_crc32:
            raise DataError(f"{where}: its checksum is wrong. {_RESTORE}")
        table = read_table(content, QUESTIONS, where, _RESTORE)
        for fault in faults_of_questions(table, self._index(), where):
            raise DataError(f"{fault}. {_RESTORE}")
        return table

    def questions(self, split: str) -> Questions:
        """List the questions of a split.

        Raises:
            DataError: as of `questions_table`, or there are none.
        """
        import pyarrow.compute

        from fairseq_ecg.data.store.tables import QUESTIONS

        table = self.questions_table()
        if table is not None:
            table = table.filter(pyarrow.compute.equal(table["split"], split)).sort_by("item")
        if not table:
            raise DataError(
                f"{self.path}: has no questions of a split {split!r}. Pack a folder of questions, "
                "or name another split as subset"
            )
        plain = ("first", "second", "n_tokens", "n_answers")
        numbers = {name: name for name in QUESTIONS if name.startswith("question_type")}
        numbers["attribute_id"] = "attribute"
        texts = ("question", "answer", "valid_classes")
        return Questions(
            roots=table["root"].combine_chunks(),
            paths=table["path"].combine_chunks(),
            numbers={name: table[column].to_numpy() for name, column in numbers.items()},
            **{name: table[name].to_numpy() for name in plain},
            **{name: table[name].combine_chunks() for name in texts},
        )

    def read(self, segments: Segments, rows: np.ndarray) -> Tensor | list[Tensor]:
        """Read samples.

        Args:
            segments: of this store.
            rows: ``(B,)`` which of them.

        Returns:
            ``(B, L, T)`` float32 if all have one shape, else a list of ``(L, T)``.

        Raises:
            DataError: a shard is missing or too short, or a checksum is wrong.
        """
        stored = self.read_stored(segments, rows)
        if isinstance(stored, np.ndarray):
            return self._decoded(segments, rows, stored)
        return [
            self._decoded(segments, rows[i : i + 1], one[None])[0] for i, one in enumerate(stored)
        ]

    def _decoded(self, segments: Segments, rows: np.ndarray, stored: np.ndarray) -> Tensor:
        values = torch.from_numpy(stored)
        if segments.steps is None:
            return values.float()
        n_leads = stored.shape[1]
        steps = np.array(segments.steps.take(rows).flatten())
        return values * torch.from_numpy(steps.reshape(len(rows), n_leads, 1))

    def read_stored(self, segments: Segments, rows: np.ndarray) -> Stored:
        """Read samples as they are stored; see `read`.

        Returns:
            ``(B, L, T)`` of the store's type if all have one shape, else a list of ``(L, T)``.
        """
        stored = self._read_unchecked(segments, rows)
        if self.verify or self.is_remote:
            for row in self._damaged(segments.crc32, rows, stored):
                raise DataError(self._fault(segments, row))
        return stored

    def read_labels(self, segments: Segments, rows: np.ndarray) -> Stored:
        """Read labels of samples.

        Args:
            segments: of this store.
            rows: ``(B,)`` which of them; all have labels.

        Returns:
            ``(B, 1, T)`` uint8 as of `encode_labels` if all have one length, else a list of
            ``(1, T)``.

        Raises:
            DataError: as of `read`.
        """
        stored = self._read_labels_unchecked(segments, rows)
        if self.verify or self.is_remote:
            for row in self._damaged(segments.labels_crc32, rows, stored):
                raise DataError(self._labels_fault(segments, row))
        return stored

    def faults(self, segments: Segments, rows: np.ndarray) -> list[str]:
        """Say which segments have a wrong checksum.

        Args:
            segments: of this store.
            rows: ``(B,)`` which of them to check.

        Raises:
            DataError: a shard is missing or too short.
        """
        damaged = self._damaged(segments.crc32, rows, self._read_unchecked(segments, rows))
        faults = [self._fault(segments, row) for row in damaged]
        rows = rows[segments.labels_offset[rows] != NO_LABELS]
        stored = self._read_labels_unchecked(segments, rows)
        damaged = self._damaged(segments.labels_crc32, rows, stored)
        return faults + [self._labels_fault(segments, row) for row in damaged]

    def _damaged(self, checksums: np.ndarray, rows: np.ndarray, stored: Stored) -> Iterator[int]:
        for row, values in zip(rows.tolist(), stored, strict=True):
            if checksum(values) != checksums[row]:
                yield row

    def _fault(self, segments: Segments, row: int) -> str:
        shard = self.description.shards[segments.shard[row]]
        path = printable(segments.paths[row].as_py())
        return (
            f"{self.path}/{shard.name}: the checksum of {path} is wrong "
            f"(values from {segments.offset[row]}). {_RESTORE}"
        )

    def _labels_fault(self, segments: Segments, row: int) -> str:
        shard = self.description.shards[segments.shard[row]]
        path = printable(segments.paths[row].as_py())
        return (
            f"{self.path}/{shard.labels}: the checksum of the labels of {path} is wrong "
            f"(values from {segments.labels_offset[row]}). {_RESTORE}"
        )

    def _read_unchecked(self, segments: Segments, rows: np.ndarray) -> Stored:
        shapes = np.stack([segments.n_leads[rows], segments.n_samples[rows]], axis=1)
        shards, offsets = segments.shard[rows], segments.offset[rows]
        return self._read_arrays(self._samples_of, shards, offsets, shapes)

    def _read_labels_unchecked(self, segments: Segments, rows: np.ndarray) -> Stored:
        shapes = np.stack([np.ones_like(rows), segments.n_samples[rows]], axis=1)
        shards, offsets = segments.shard[rows], segments.labels_offset[rows]
        return self._read_arrays(self._labels_of, shards, offsets, shapes)

    def _samples_of(self, shard: Shard) -> _File:
        return _File(shard.name, shard.start, shard.n_values, self._values)

    def _labels_of(self, shard: Shard) -> _File:
        return _File(shard.labels or "", shard.labels_start, shard.n_labels, np.dtype(np.uint8))

    def _read_arrays(
        self,
        file_of_shard: Callable[[Shard], _File],
        shards: np.ndarray,
        offsets: np.ndarray,
        shapes: np.ndarray,
    ) -> Stored:
        """Read arrays of the shapes ``(B, 2)`` from one of the files of their shards."""
        self._of_this_process()
        numbers = shards.tolist()
        files = {n: file_of_shard(self.description.shards[n]) for n in set(numbers)}
        file_of = [files[number] for number in numbers]
        if self._files is None:  # before memory is allocated for what they do not hold
            for file in files.values():
                self._map(file)
        counts = shapes.astype(np.int64).prod(axis=1)
        try:
            if len(shapes) and (shapes == shapes[0]).all():
                stored: Stored = np.empty((len(shapes), *shapes[0]), file_of[0].dtype)
            else:
                pairs = zip(file_of, shapes.tolist(), strict=True)
                stored = [np.empty(shape, file.dtype) for file, shape in pairs]
        except MemoryError as error:
            raise DataError(
                f"{self.path}: {len(shapes)} segments are of {counts.sum():,} samples, for which "
                "there is no memory. Read fewer at once"
            ) from error
        read = self._read_mapped if self._files is None else self._read_ranges
        read(file_of, offsets, [one.reshape(-1) for one in stored])
        return stored

    def _read_mapped(
        self, files: Sequence[_File], offsets: np.ndarray, into: Sequence[np.ndarray]
    ) -> None:
        maps = {file: self._map(file) for file in set(files)}
        pieces = list(zip([maps[file] for file in files], offsets.tolist(), into, strict=True))

        def copy(first: int, last: int) -> None:
            for values, offset, out in pieces[first:last]:
                out[:] = values[offset : offset + len(out)]

        n_threads = min(torch.get_num_threads(), len(pieces))
        if n_threads < 2:
            copy(0, len(pieces))
            return
        # Copies run beside one another, and so do reads of what is not in memory yet.
        if self._threads is None:
            self._threads = ThreadPoolExecutor(n_threads)
        bounds = np.linspace(0, len(pieces), n_threads + 1).astype(int).tolist()
        list(self._threads.map(copy, bounds[:-1], bounds[1:]))

    def _map(self, file: _File) -> np.ndarray:
        if file not in self._maps:
            self._maps[file] = self._mapped(file)
        return self._maps[file]

    def _mapped(self, file: _File) -> np.ndarray:
        self._check_size(file)
        try:
            # NumPy's maps keep their file open, and a process may open fewer than there are shards.
            mapped = torch.from_file(
                f"{self._folder}/{file.name}", size=file.end, dtype=torch.uint8
            )
        except (OSError, RuntimeError) as error:
            raise DataError(f"{self.path}/{file.name}: cannot be read: {error}") from error
        return mapped.numpy()[file.start :].view(file.dtype)

    def check_shard(self, number: int) -> None:
        """Compare the sizes of the files of a shard with what the description says.

        Args:
            number: of the shard.

        Raises:
            DataError: one is missing, too short or too long.
        """
        shard = self.description.shards[number]
        files = [self._samples_of(shard), *([self._labels_of(shard)] if shard.labels else [])]
        for file in files:
            surplus = self._check_size(file)
            if surplus:
                raise DataError(
                    f"{self.path}/{file.name}: has {surplus} bytes too many. {_RESTORE}"
                )

    def _check_size(self, file: _File) -> int:
        """Return by how many bytes a file is longer than it should be."""
        where = f"{self.path}/{file.name}"
        try:
            size = self._size(file.name)
        except FileNotFoundError:
            raise DataError(f"{where}: no such shard. {_RESTORE}") from None
        except DataError:
            raise
        except Exception as error:  # every file system behind fsspec has errors of its own
            raise DataError(f"{where}: cannot be read: {error}") from error
        if size < file.end:
            raise DataError(f"{where}: has {size} bytes, {file.end - size} too few. {_RESTORE}")
        return size - file.end

    def _read_ranges(
        self, files: Sequence[_File], offsets: np.ndarray, into: Sequence[np.ndarray]
    ) -> None:
        starts = [
            file.start + offset * file.dtype.itemsize
            for file, offset in zip(files, offsets.tolist(), strict=True)
        ]
        stops = [start + out.nbytes for start, out in zip(starts, into, strict=True)]
        paths = [f"{self._folder}/{file.name}" for file in files]
        if self._gives_ranges is None and paths:
            self._gives_ranges = self._ask_for_a_range(paths[0], files[0].name)
        found = self._files.cat_ranges(paths, starts, stops, on_error="return")
        for file, content, out in zip(files, found, into, strict=True):
            if isinstance(content, FileNotFoundError):
                raise DataError(f"{self.path}/{file.name}: no such shard. {_RESTORE}")
            if isinstance(content, Exception):
                raise DataError(
                    f"{self.path}/{file.name}: cannot be read ({type(content).__name__}: {content})"
                ) from content
            if len(content) != out.nbytes:
                raise DataError(
                    f"{self.path}/{file.name}: {out.nbytes} bytes were asked for, {len(content)} "
                    f"came: it is too short. {_RESTORE}"
                )
            out[:] = np.frombuffer(content, file.dtype)

    def _ask_for_a_range(self, path: str, name: str) -> bool:
        """Say whether parts of files are to be had; otherwise keep whole ones on this machine.

        Python's ``http.server`` is one that sends a file whole, whichever part is asked for.
        """
        import fsspec

        try:
            gives_ranges = len(self._files.cat_file(path, start=0, end=1)) <= 1
        except OSError:  # raised again by what is read next
            return True
        if not gives_ranges:
            logger.warning(
                "%s/%s: was sent whole where one byte was asked for. Each process keeps copies of "
                "the shards in a temporary folder; filecache::%s lets them share one",
                *(self.path, name, self.path),
            )
            self._files = fsspec.filesystem("filecache", fs=self._files)
        return gives_ranges
