"""Questions about one ECG or two: in files that name their records, and in stores."""

import os
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from fairseq_ecg.data.manifest import log_size, read_question_manifest
from fairseq_ecg.data.recording import Recording, read_wfdb
from fairseq_ecg.data.sources.files import FileSegments, RecordSource, record_names
from fairseq_ecg.data.sources.source import SegmentBatch, Variables
from fairseq_ecg.data.sources.store import StoreSegments, StoreSource
from fairseq_ecg.data.store import Store
from fairseq_ecg.errors import DataError

MOST_RECORDS = 2
"""Records that a question may be about."""

NOT_GROUPED = "lists questions, and segments of recordings are wanted that are contrasted (CMSC)"

REMEDY = (
    "Restore the record; if the archive was moved, prepare the questions again from where it is "
    "now. A store ('fairseq-ecg store pack') needs the records no more"
)


class QuestionSource(RecordSource):
    """Files of a manifest, each with a question about the one or two WFDB records of ``ecg_path``.

    They are relative to the working directory or absolute. An item is a question with its first
    ECG; the second is one of `SegmentBatch.seconds`.
    """

    variables = Variables(required=("ecg_path",))

    def __init__(self, path: str | os.PathLike, grouped: bool, min_samples: int | None):
        if grouped:
            raise DataError(f"{os.fspath(path)}: {NOT_GROUPED}")
        self.grouped = False
        self.manifest = read_question_manifest(path, min_samples)
        self.sizes, self.n_tokens = self.manifest.sizes, self.manifest.n_tokens

    def length(self, index: int) -> int:
        """See `FileSource.length`; of the first ECG."""
        assert self.manifest.lengths is not None
        return int(self.manifest.lengths[index, 0])

    def read(self, indices: Sequence[int], variables: Variables, copies: int) -> "FileSegments":
        """See `Source.read`."""
        return QuestionSegments(self, indices, variables.and_those(self.variables), copies)

    def recording(self, mat: dict[str, np.ndarray], where: str) -> Recording:
        """Read the first record that a file names."""
        return read_wfdb(record_names(mat, where, MOST_RECORDS)[0], where, REMEDY)


class QuestionSegments(FileSegments):
    """The first ECGs of some questions."""

    _source: QuestionSource

    def seconds(self) -> SegmentBatch | None:
        """See `SegmentBatch.seconds`; known once `recordings` has ended."""
        rows = [row for row in range(0, len(self._files), self._copies) if self._names_two(row)]
        return SecondECGs(self, rows) if rows else None

    def _names_two(self, row: int) -> bool:
        """Whether a question is about two ECGs, which its file and the manifest have to agree on.

        Raises:
            DataError: they do not.
        """
        lengths = self._source.manifest.lengths
        assert lengths is not None
        n_listed = 1 + int(lengths[self.ids[row], 1] > 0)
        n_named = self._mats[row]["ecg_path"].size
        if n_listed != n_named:
            raise DataError(
                f"{self.where(row)}: names {n_named} records, and its line has the length of "
                f"{n_listed}. Prepare the questions again"
            )
        return n_named == MOST_RECORDS

    def second(self, row: int) -> Recording:
        """Read the second record that the file of a row names."""
        where = self.where(row)
        name = record_names(self._mats[row], where, MOST_RECORDS)[1]
        recording = read_wfdb(name, where, REMEDY)
        lengths = self._source.manifest.lengths
        assert lengths is not None
        recording.check_n_samples(int(lengths[self.ids[row], 1]))
        return recording


class SecondECGs(SegmentBatch):
    """The second ECGs of those among some questions that are about two.

    Args:
        questions: the questions, which were read.
        rows: of those that have a second ECG.
    """

    def __init__(self, questions: QuestionSegments, rows: Sequence[int]):
        self._questions, self._rows = questions, rows
        self.ids = questions.ids[rows]
        self.positions = np.ones(len(rows), np.int64)
        self.n_samples = np.zeros(len(rows), np.int64)

    def recordings(self) -> Iterator[Recording]:
        """See `SegmentBatch.recordings`."""
        for number, row in enumerate(self._rows):
            recording = self._questions.second(row)
            self.n_samples[number] = recording.n_samples
            yield recording

    def where(self, row: int) -> str:
        """See `SegmentBatch.where`."""
        return self._questions.where(self._rows[row])

    def integers(self, key: str) -> np.ndarray:
        """See `SegmentBatch.integers`."""
        return self._questions.integers(key)[self._rows]

    def arrays(self, key: str) -> list[np.ndarray | None]:
        """See `SegmentBatch.arrays`."""
        arrays = self._questions.arrays(key)
        return [arrays[row] for row in self._rows]

    def texts(self, key: str) -> list[list[str] | None]:
        """See `SegmentBatch.texts`."""
        texts = self._questions.texts(key)
        return [texts[row] for row in self._rows]


class QuestionStoreSource(StoreSource):
    """Questions of a split of a store, beside which each ECG is stored once.

    Args:
        path: as of `StoreSource`.
        grouped: as of `StoreSource`; questions are not.
        min_samples: as of `StoreSource`.
        verify: as of `StoreSource`.

    Attributes:
        rows: ``(N, 1)`` first ECG of each question, among all segments of the store.
        seconds: ``(N, 1)`` second ECG of each; -1: it has none.
        numbers: ``(N,)`` position of each among the questions of the split.
    """

    def __init__(
        self, path: str | os.PathLike, grouped: bool, min_samples: int | None, verify: bool = False
    ):
        self.path = os.fspath(path)
        if grouped:
            raise DataError(f"{self.path}: {NOT_GROUPED}")
        folder, _, self.split = self.path.rstrip("/").rpartition("/")
        self.store = Store(folder, verify)
        self.segments, self.questions = self.store.segments(), self.store.questions(self.split)
        first, second = self.questions.first, self.questions.second
        lengths = self.segments.n_samples
        sizes = lengths[first].astype(np.int64)
        sizes = np.where(second >= 0, np.minimum(sizes, lengths[second]), sizes)
        kept = sizes >= (min_samples or 0)
        n_short = int(np.count_nonzero(~kept))
        dropped = [(n_short, f"with an ECG shorter than {min_samples} samples")]
        log_size(self.path, len(kept) - n_short, dropped)
        self.numbers = np.flatnonzero(kept)
        self.rows, self.seconds = first[kept][:, None], second[kept][:, None]
        self.sizes = sizes[kept]
        self.n_tokens = self.questions.n_tokens[kept].astype(np.int64)

    def name(self, index: int) -> str:
        """See `Source.name`."""
        return f"{self.store.path}/{self.questions.paths[self.numbers[index]]}"

    def read(self, indices: Sequence[int], variables: Variables, copies: int) -> StoreSegments:
        """See `Source.read`."""
        return StoredQuestions(self, np.asarray(indices, np.int64), variables, copies)


class StoredQuestions(StoreSegments):
    """The first ECGs of some questions of a store."""

    _source: QuestionStoreSource

    def seconds(self) -> SegmentBatch | None:
        """See `SegmentBatch.seconds`."""
        ids = np.unique(self.ids)
        ids = ids[self._source.seconds[ids, 0] >= 0]
        if not len(ids):
            return None
        return StoreSegments(self._source, ids, Variables(), 1, self._source.seconds)

    def where(self, row: int) -> str:
        """See `SegmentBatch.where`."""
        return f"{self._source.name(int(self.ids[row]))} (split {self._source.split})"

    def integers(self, key: str) -> np.ndarray:
        """See `SegmentBatch.integers`."""
        stored = self._source.questions.numbers.get(key)
        if stored is None:
            return super().integers(key)
        return stored[self._numbers].astype(np.int64)

    def arrays(self, key: str) -> list[np.ndarray | None]:
        """See `SegmentBatch.arrays`."""
        questions = self._source.questions
        if key == "answer":
            return [*map(self._answers, self._numbers.tolist())]
        if key == "valid_classes":
            return [_numbers(questions.valid_classes[row])[None] for row in self._numbers.tolist()]
        return super().arrays(key)

    def texts(self, key: str) -> list[list[str] | None]:
        """See `SegmentBatch.texts`."""
        if key == "question":
            questions = self._source.questions.question
            return [[text] for text in questions.take(self._numbers).to_pylist()]
        if key == "ecg_path":
            return [*map(self._records, self.ids.tolist())]
        return super().texts(key)

    @property
    def _numbers(self) -> np.ndarray:
        return self._source.numbers[self.ids]

    def _answers(self, row: int) -> np.ndarray:
        """Return 0 or 1 for each answer ``(1, C)`` int64."""
        questions = self._source.questions
        answers = np.zeros((1, questions.n_answers[row]), np.int64)
        answers[0, _numbers(questions.answer[row])] = 1
        return answers

    def _records(self, index: int) -> list[str]:
        source = self._source
        rows = [source.rows[index, 0], source.seconds[index, 0]]
        return [source.segments.paths[row].as_py() for row in rows if row >= 0]


def _numbers(value: Any) -> np.ndarray:
    """Make an array of an Arrow list of whole numbers."""
    return value.values.to_numpy(zero_copy_only=False).astype(np.int64)
