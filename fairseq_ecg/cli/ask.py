"""``fairseq-ecg ask``."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from fairseq_ecg.cli.options import (
    File,
    Integer,
    LabelledTextCheckpointOptions,
    Probability,
    SeveralValues,
)
from fairseq_ecg.cli.outputs import say_left_out
from fairseq_ecg.cli.recordings import Checkpoint, TextUse, check_shown
from fairseq_ecg.data.names import printable
from fairseq_ecg.errors import DataError

if TYPE_CHECKING:
    from fairseq_ecg.inference import Answers
    from fairseq_ecg.inference.questions import Question
    from fairseq_ecg.inference.recordings import Description

Asked = Annotated[
    str,
    Parameter(
        required=True,
        help="recordings as of predict, and last the question; or tables of recordings with a "
        "column 'question', and 'second' where questions are about two",
    ),
]


@dataclass(frozen=True, kw_only=True)
class QuestionUse(TextUse):
    """Use of a network that answers questions."""

    options: LabelledTextCheckpointOptions = LabelledTextCheckpointOptions()


def ask(
    checkpoint: Checkpoint,
    /,
    *recordings_and_question: Asked,
    second: Annotated[tuple[str, ...], Parameter(metavar="RECORDING")] = (),
    choices: Annotated[tuple[str, ...], SeveralValues, Parameter(metavar="ANSWER")] = (),
    top: Integer = 5,
    threshold: Probability = 0.5,
    aggregation: Annotated[str, Parameter(metavar="RULE")] = "mean",
    out: File | None = None,
    segments: File | None = None,
    use: QuestionUse = QuestionUse(),
) -> int:
    """Answer questions about recordings.

    The network was trained to answer questions about ECGs. Recordings may be of any length, at any
    rate, with any leads; of one that is longer than those of training, segments are asked about,
    and the probabilities aggregated. A question that is longer than the network takes is cut, with
    a warning. With --out, a run that was interrupted goes on where it was.

    Args:
        second: the other recording where the question is about two; may be given several times, one
            for each
        choices: the answers that could be right, behind the question (default: all that the network
            knows)
        top: how many answers to print, the most probable first
        threshold: an answer is given if it is more probable; if none is, the answer is none
        aggregation: over segments, mean or max
        out: table to write in place of printing, a row for each question with its answer and the
            probability of every answer: .csv, .tsv, .parquet or .json
        segments: table to write with a row for each segment, beside --out
    """
    check_shown(top, out, segments)
    paths, question = _question_of(recordings_and_question)
    settings = {"choices": choices or None, "threshold": threshold, "aggregation": aggregation}

    def find(outputs: set[Path]) -> "tuple[Sequence[Question], Description]":
        return _questions(paths, question, second, use, outputs)

    def compute(model, questions, options):
        answers = model.answer(questions, **settings, **options)
        return answers.columns(), answers.errors

    if out:
        files = {"answers": out, "segments": segments}
        return use.run(checkpoint, paths, files, ("ask", settings), compute, find=find)
    questions, _ = find(set())
    answers = use.load(checkpoint).answer(questions, **settings, **use.of_all_uses())
    if not answers.answers:
        raise DataError(next(iter(answers.errors.values())))
    print(_printed(answers, top))
    return say_left_out(answers.errors)


def _question_of(asked: Sequence[str]) -> tuple[Sequence[str], str | None]:
    """Part the recordings from the question behind them; None if the last is no question."""
    if len(asked) > 1 and not os.path.exists(asked[-1]):
        return asked[:-1], asked[-1]
    return asked, None


def _questions(
    paths: Sequence[str],
    question: str | None,
    second: Sequence[str],
    use: QuestionUse,
    outputs: set[Path],
) -> "tuple[Sequence[Question], Description]":
    from fairseq_ecg.inference.questions import questions_in

    if question is None:
        description = use.described.description(use.described.split)
        return questions_in(list(paths), None, list(second) or None, description), description
    recordings, description = use.described.find(paths, outputs)
    others = list(second) or None
    return questions_in(recordings, question, others, description), description


def _printed(answers: "Answers", top: int) -> str:
    """Write the most probable answers to each question."""
    from fairseq_ecg.data.label_file import NO_ANSWER

    lines: list[str] = []
    table = answers.top(top)
    width = max(map(len, table["answer"]))
    for number, (asked, given) in enumerate(zip(answers.questions, answers.answers, strict=True)):
        names = [asked.recording.name, *([asked.second.name] if asked.second else [])]
        lines += [f"{' and '.join(map(str, names))}: {printable(asked.text)}"]
        size = len(table) // len(answers.questions)
        for row in table.iloc[number * size : (number + 1) * size].itertuples():
            mark = "*" if row.answer in given else " "
            lines.append(f"  {mark} {row.answer:<{width}}  {row.probability:.3f}")
        if given == (NO_ANSWER,):
            lines.append(f"  none of the answers is more probable than {answers.threshold:g}")
    return "\n".join(lines)
