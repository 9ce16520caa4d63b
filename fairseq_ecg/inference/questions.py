"""Questions about recordings, however a user has them."""

import os
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, fields
from itertools import zip_longest
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from fairseq_ecg.data.names import printable
from fairseq_ecg.data.text import has_word
from fairseq_ecg.ecg.preprocessing import Preprocessing
from fairseq_ecg.errors import DataError, shortened
from fairseq_ecg.formats import ECG
from fairseq_ecg.inference.recordings import (
    PATH,
    TABLES,
    Description,
    NamedRecording,
    is_frame,
    read_table,
    recordings_in,
    recordings_in_table,
)
from fairseq_ecg.inference.segmented import SegmentedRecording

if TYPE_CHECKING:
    import pandas as pd

QUESTION, SECOND = "question", "second"
"""Columns of a table of questions: the question, and the file of the other ECG that it is about."""


@dataclass(frozen=True, eq=False)
class AskedSegments(SegmentedRecording):
    """Segments of the ECGs of a question; ``segments`` are ``(1, rows, T)`` or ``(2, rows, T)``.

    Attributes:
        second_padded: samples behind the second recording in its only segment; None if there is no
            second one. What is said otherwise is said of the first, but that missing and flat leads
            and doubts are those of both, and the quality is the lower one.
    """

    second_padded: int | None = None

    @classmethod
    def of(
        cls, first: SegmentedRecording, second: SegmentedRecording | None, name: str
    ) -> "AskedSegments":
        """Join the segments of recordings, the first with the first and so on.

        Raises:
            DataError: the recordings have not as many segments as each other.
        """
        facts = {field.name: getattr(first, field.name) for field in fields(SegmentedRecording)}
        if second is None:
            return cls(**facts | {"segments": _stacked(first.segments)})
        if len(first.spans) != len(second.spans):
            raise DataError(
                f"{name}: one recording has {len(first.spans)} segments, the other "
                f"{len(second.spans)}, which are compared one by one. Cut the longer recording"
            )
        facts |= {
            "missing_leads": _either(first.missing_leads, second.missing_leads),
            "flat_leads": _either(first.flat_leads, second.flat_leads),
            "doubts": _either(first.doubts, second.doubts),
            "quality": min(first.quality, second.quality, key=lambda quality: quality.score),
            "segments": _stacked(first.segments, second.segments),
        }
        return cls(**facts, second_padded=second.padded)


def _either(first: Sequence[str], second: Sequence[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys((*first, *second)))


def _stacked(*recordings: Iterable[torch.Tensor]) -> Iterator[torch.Tensor]:
    return map(torch.stack, zip(*recordings, strict=True))


@dataclass(frozen=True, eq=False)
class _Asked:
    """Source of the ECGs of a question, or of the reason why it cannot be answered."""

    recording: NamedRecording
    second: NamedRecording | None
    fault: DataError | None = None

    @property
    def files(self) -> Sequence[Path]:
        second = self.second.source.files if self.second else ()
        return [*self.recording.source.files, *second]

    def read(self) -> ECG:
        return self.recording.read()

    def segmented(self, preprocessing: Preprocessing, **policies: str) -> SegmentedRecording:
        if self.fault:
            raise self.fault
        first = self.recording.segmented(preprocessing, **policies)
        second = self.second and self.second.segmented(preprocessing, **policies)
        return AskedSegments.of(first, second, str(self.recording.name))


@dataclass(frozen=True, eq=False)
class Question(NamedRecording):
    """A question about one recording, or about two.

    Attributes:
        name: of the recording and of the question in messages; one that is there again has a number
            behind it.
        text: the question.
        recording: the recording.
        second: the other one, if it is about two.
    """

    text: str
    recording: NamedRecording
    second: NamedRecording | None = None

    @property
    def is_asked(self) -> bool:
        """Whether it has a word."""
        return _fault_of(self.text, "") is None


def questions_in(
    ecg,
    question: str | Sequence[str] | None,
    second=None,
    description: Description | None = None,
) -> list[Question]:
    """List the questions about whatever holds recordings.

    Args:
        ecg: recordings, see :func:`recordings_in`, or a table of them (CSV, TSV, Parquet,
            DataFrame) with the columns ``path``, ``question`` and, if questions are about two,
            ``second``.
        question: one for all recordings, one for each, or several about one recording. None: those
            of the table.
        second: the other recording of each question, or one for all.
        description: what the recordings do not say themselves.

    Raises:
        DataError: there are no recordings or questions, not as many of the one as of the other, or
            a question has no word.
    """
    if isinstance(ecg, list | tuple) and ecg and all(isinstance(one, Question) for one in ecg):
        return list(ecg)
    description = description or Description()
    if question is None:
        if second is not None:
            raise DataError("the other recordings of a table are in its column 'second'")
        return _named(_in_tables(ecg, description))
    firsts = recordings_in(ecg, description)
    texts = [question] if isinstance(question, str) else list(question)
    seconds = [None] if second is None else recordings_in(second, description)
    n_asked = max(len(firsts), len(texts))
    counts = {"recordings": firsts, "questions": texts, "second recordings": seconds}
    for kind, found in counts.items():
        if len(found) not in (1, n_asked):
            raise DataError(
                f"{len(found)} {kind} for {n_asked} "
                f"{'questions' if len(texts) == n_asked else 'recordings'}: give one for all, or "
                "as many"
            )
    for text in texts:
        if fault := _fault_of(text, "the question"):
            raise fault
    return _named(
        tuple(found[0] if len(found) == 1 else found[number] for found in counts.values())
        for number in range(n_asked)
    )


def _named(asked: Iterable[tuple]) -> list[Question]:
    """Name questions by their recordings and texts; one without a word fails in its turn."""
    questions, seen = [], Counter()
    for recording, text, second in asked:
        fault = _fault_of(text, f"{recording.name}: the question")
        text = text if isinstance(text, str) else ""
        name = f"{recording.name}: {printable(text)}" if text else f"{recording.name}"
        seen[name] += 1
        if seen[name] > 1:
            name = f"{name} ({seen[name]})"
        source = _Asked(recording, second, fault)
        questions.append(Question(name, source, text, recording, second))
    return questions


def _fault_of(text: object, where: str) -> DataError | None:
    """Say why nothing is asked by a text; None if it has words."""
    if isinstance(text, str) and has_word(text):
        return None
    return DataError(f"{where} {shortened(text)} has no word. Ask in words")


def _in_tables(source, description: Description) -> Iterator[tuple]:
    """Yield recording, question and second recording of each row of a table, or of several."""
    if is_frame(source):
        yield from _in_table(source, "the table", None, description)
    elif isinstance(source, str | os.PathLike):
        path = os.fspath(source)
        is_table = path.lower().endswith(TABLES) and os.path.isfile(path)
        table = read_table(path) if is_table else None
        if table is None:
            raise DataError(
                f"{path}: no question. Name recordings and, behind them, the question; or a table "
                f"(CSV, TSV, Parquet) with the columns {PATH!r} and {QUESTION!r}"
            )
        yield from _in_table(table, path, os.path.dirname(path), description)
    elif isinstance(source, list | tuple):
        for one in source:
            yield from _in_tables(one, description)
    else:
        raise DataError(f"no question: ask one, or give a table with a column {QUESTION!r}")


def _in_table(
    table: "pd.DataFrame", where: str, folder: str | None, description: Description
) -> Iterator[tuple]:
    if QUESTION not in table.columns:
        raise DataError(
            f"{where}: no column {QUESTION!r} (it has {', '.join(map(str, table.columns))}). Ask "
            "in the command, or there"
        )
    firsts = recordings_in_table(table, where, folder, description)
    seconds: Iterable[NamedRecording | None] = ()
    if SECOND in table.columns:
        found = table[SECOND]
        named = recordings_in_table(table, where, folder, description, SECOND)
        seconds = (
            one if isinstance(path, str) and path else None
            for one, path in zip(named, found, strict=True)
        )
    yield from zip_longest(firsts, table[QUESTION], seconds)
