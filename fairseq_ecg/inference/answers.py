"""What a network answers, as tables."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from fairseq_ecg.data.label_file import NO_ANSWER
from fairseq_ecg.inference.questions import QUESTION, SECOND, Question
from fairseq_ecg.inference.results import (
    END,
    RECORDING,
    SEGMENT,
    START,
    Columns,
    OfSegments,
    joined,
)

if TYPE_CHECKING:
    import pandas as pd

SEPARATOR = "; "
"""Between the answers to a question in a table; names of answers have commas."""

ANSWER, CUT, RANK, PROBABILITY = "answer", "tokens_cut", "rank", "probability"


@dataclass(frozen=True, eq=False, repr=False)
class Answers(OfSegments):
    """Probabilities of answers: ``table`` of questions, ``segments`` of segments.

    Args:
        run: what was computed.
        of_segments: ``(N, C)``, probabilities of segments.
        of_recordings: ``(Q, C)``, those of the questions, over the segments of their recordings.
        labels: names of the answers that could be right, the columns of both tables.
        questions: all Q that were asked and answered.
        cut: ``(Q,)``, tokens at the end of each question that the network did not read.
        threshold: probability above which an answer is given.
    """

    labels: tuple[str, ...]
    questions: Sequence[Question]
    cut: Sequence[int]
    threshold: float
    shown = "errors", "table"

    @property
    def names(self) -> Sequence[str]:
        """Names of the columns."""
        return self.labels

    @cached_property
    def answers(self) -> list[tuple[str, ...]]:
        """Of each question the answers above the threshold, the most probable first.

        It is ``("none",)`` where there is none.
        """
        return [
            tuple(
                self.labels[column] for column in self._order(row) if row[column] > self.threshold
            )
            or (NO_ANSWER,)
            for row in self.of_recordings
        ]

    @cached_property
    def table(self) -> "pd.DataFrame":
        """The probabilities of each recording, second recording and question (the index).

        There is no second recording in it if no question is about two.
        """
        import pandas as pd

        keys = pd.MultiIndex.from_frame(pd.DataFrame(self._named(), dtype=object))
        return pd.DataFrame(self.of_recordings, keys, list(self.labels))

    @cached_property
    def segments(self) -> "pd.DataFrame":
        """Of each question and segment (the index) ``start`` and ``end`` in s, and the values."""
        import pandas as pd

        frame = pd.DataFrame(self.columns()["segments"])
        keys = [*self._named(), SEGMENT]
        return frame.set_index(keys)[[START, END, *self.labels]]

    def top(self, n: int = 5) -> "pd.DataFrame":
        """Return the n most probable answers to each question, above the threshold or not.

        A row for each: ``recording``, ``second`` if a question is about two, ``question``, ``rank``
        from 1 on, ``answer`` and ``probability``.
        """
        import pandas as pd

        asked = pd.DataFrame(self._named(), dtype=object)
        n = min(n, len(self.labels))
        rows = np.arange(len(asked)).repeat(n)
        order = np.array([self._order(row)[:n] for row in self.of_recordings], dtype=int)
        columns = order.reshape(-1)
        return (
            asked.iloc[rows]
            .reset_index(drop=True)
            .assign(
                **{
                    RANK: np.tile(np.arange(1, n + 1), len(asked)),
                    ANSWER: [self.labels[column] for column in columns],
                    PROBABILITY: self.of_recordings[rows, columns],
                }
            )
        )

    def to_dataframe(self) -> "pd.DataFrame":
        """Return all that is known, a row for each question.

        Recordings and question, ``answer``, ``tokens_cut``, what is known of the recording (see
        :attr:`Results.recordings`), and the probability of each answer by its name.
        """
        import pandas as pd

        return pd.DataFrame(self.columns()["answers"])

    def columns(self) -> dict[str, Columns]:
        """Return the tables ``answers`` and ``segments`` as they are written.

        Raises:
            DataError: an answer has the name of another column.
        """
        facts = {name: x for name, x in self.run.recordings().items() if name != RECORDING}
        said = {ANSWER: [SEPARATOR.join(names) for names in self.answers], CUT: list(self.cut)}
        segments = {name: x for name, x in self.run.segments().items() if name != RECORDING}
        asked = {
            name: [values[number] for number in self.run.recording_of]
            for name, values in self._asked().items()
        }
        return {
            "answers": joined(self._asked() | said | facts, self.of_recordings, self.labels),
            "segments": joined(asked | segments, self.of_segments, self.labels),
        }

    def _asked(self) -> Columns:
        """Recordings and question of each row; the second recording empty where there is none."""
        seconds = [question.second for question in self.questions]
        return {
            RECORDING: [question.recording.name for question in self.questions],
            SECOND: ["" if second is None else second.name for second in seconds],
            QUESTION: [question.text for question in self.questions],
        }

    def _named(self) -> Columns:
        """The same without second recordings where no question is about two."""
        asked = self._asked()
        is_about_two = any(question.second for question in self.questions)
        return {name: x for name, x in asked.items() if is_about_two or name != SECOND}

    @staticmethod
    def _order(row: np.ndarray) -> np.ndarray:
        """Columns from the most probable answer to the least."""
        return np.argsort(-row, kind="stable")
