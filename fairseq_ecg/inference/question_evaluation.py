"""How well a network answers questions: exact matches, and areas over the answers."""

import csv
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType

import numpy as np

from fairseq_ecg.data.cells import cell
from fairseq_ecg.data.dataset import ECGDataset
from fairseq_ecg.data.question_types import type_names
from fairseq_ecg.data.sources import source_of
from fairseq_ecg.data.targets.question import QuestionTarget, attribute_names
from fairseq_ecg.data.text.tokenizer import KEPT_FREE
from fairseq_ecg.data.views import QuestionView
from fairseq_ecg.errors import DataError
from fairseq_ecg.inference.apart import evaluated_apart, none_usable
from fairseq_ecg.inference.evaluation import prepared_data
from fairseq_ecg.inference.metrics import Ranking, mean_of_defined
from fairseq_ecg.inference.running import check_batching
from fairseq_ecg.inference.text_model import ECGTextModel
from fairseq_ecg.jobs.files import open_replacing

MULTIPLE = 8
"""``dataset.required_batch_size_multiple`` of fairseq, unless it is set."""

ALL = "all"
KINDS = {
    "question_type1": "type",
    "question_type2": "type and form",
    "question_type3": "type, form and attribute type",
    "attribute_type": "attribute type",
    "attribute": "attribute",
}
"""By what questions are grouped, and what a printed table calls it."""

COLUMNS = ("kind", "name", "questions", "exact_match", "accuracy", "auroc", "auprc")


@dataclass(frozen=True)
class QuestionScore:
    """How well questions of one kind are answered.

    Attributes:
        kind: by what they are grouped, one of `KINDS`, or ``all``.
        name: of the group.
        questions: their number.
        exact_match: share of the questions of which every answer that could be right is given or
            not as it should be.
        accuracy: share of the answers that could be right of which that is so.
        auroc: area under the ROC curve over the questions where an answer could be right, mean over
            the answers for which it is defined; NaN if there is none.
        auprc: average precision, mean over all of these answers, 0 for one that never is right.
    """

    kind: str
    name: str
    questions: int
    exact_match: float
    accuracy: float
    auroc: float
    auprc: float


@dataclass(frozen=True)
class QuestionEvaluation:
    """Scores of all questions, and of each kind.

    Attributes:
        scores: the first one of all.
        errors: why questions were left out, by their names.
    """

    scores: tuple[QuestionScore, ...]
    errors: Mapping[str, str] = field(default_factory=dict)

    def of(self, kind: str) -> dict[str, QuestionScore]:
        """Return the scores of one kind by the names of its groups."""
        return {score.name: score for score in self.scores if score.kind == kind}


def evaluate_questions(
    model: ECGTextModel,
    manifest: str | os.PathLike,
    batch_size: int,
    on_error: str = "raise",
    verify: bool = False,
    threshold: float = 0.5,
) -> QuestionEvaluation:
    """Score a network on prepared questions, as validation does.

    Batches are those of the manifest's order, cut as fairseq cuts them, and their texts padded
    together: of networks that attend to padding, too, numbers are those of
    ``fairseq-hydra-validate`` with ``dataset.batch_size`` the same.

    Args:
        model: the network.
        manifest: ``<split>.tsv``, or a split of a store, ``STORE/<split>``.
        batch_size: in questions.
        on_error: what to do about a question that cannot be used: ``raise``, or ``skip``, which
            notes it in ``errors`` of the result.
        verify: whether the checksums of a store are compared.
        threshold: probability above which an answer is given.

    Raises:
        DataError: the network answers no questions, the data have another number of answers, or no
            question can be used.
    """
    model.require_answers()
    check_batching(batch_size, on_error)
    dataset = _questions(model, manifest, verify)
    names = dataset.names(range(len(dataset)))

    def outputs(indices: Sequence[int]) -> tuple[np.ndarray, ...]:
        batch = dataset.collate(dataset.__getitems__(indices))
        truth = batch["answer"].numpy()
        if truth.shape[1] != len(model.labels):
            raise DataError(
                f"{os.fspath(manifest)} has {truth.shape[1]} answers, the network knows "
                f"{len(model.labels)}. Give the questions of the data set it was trained with"
            )
        valid = np.zeros(truth.shape, bool)
        for row, classes in zip(valid, batch["valid_classes"], strict=True):
            row[np.asarray(classes)] = True
        numbers = np.stack([batch[key].numpy() for key in ("question_type3", "attribute_id")], 1)
        return model.answer_probabilities(**batch["net_input"]), truth, valid, numbers

    found: list[tuple[np.ndarray, ...]] = []
    errors: dict[str, str] = {}
    batches = _batches(len(dataset), batch_size)
    for _, values in evaluated_apart(batches, outputs, names.__getitem__, on_error, errors):
        found.append(values)
    if not found:
        raise none_usable(errors, "questions")
    probabilities, truth, valid, numbers = map(np.concatenate, zip(*found, strict=True))
    folder, split = os.path.split(os.fspath(manifest).rstrip("/"))
    attributes = attribute_names(folder).get(split.removesuffix(".tsv"), {})
    groups = _groups(numbers, attributes)
    return score_questions(truth, probabilities, valid, groups, threshold, errors)


def _batches(n_questions: int, batch_size: int) -> list[range]:
    """Cut questions into batches as fairseq does: smaller than `MULTIPLE`, or multiples of it."""
    batches, start = [], 0
    while start < n_questions:
        size = min(batch_size, n_questions - start)
        size -= size % MULTIPLE if size > MULTIPLE else 0
        batches.append(range(start, start + size))
        start += size
    return batches


def _questions(model: ECGTextModel, manifest: str | os.PathLike, verify: bool) -> ECGDataset:
    """Return the questions of a manifest, in its order, as the network needs them."""
    longest = None if model.max_tokens is None else model.max_tokens + KEPT_FREE
    target = QuestionTarget(model.required_tokenizer(), max_text_size=longest)
    source = source_of(manifest, of_questions=True, verify=verify)
    return prepared_data(model, manifest, QuestionView(), target, source)


def _groups(numbers: np.ndarray, attributes: Mapping[int, str]) -> dict[str, list[str]]:
    """Name the groups of questions by kind, given ``question_type3`` and ``attribute_id``."""
    types = [type_names(int(number)) for number in numbers[:, 0]]
    ids = numbers[:, 1].tolist()
    named = ["" if number < 0 else attributes.get(number, str(number)) for number in ids]
    return {kind: [of_one.get(kind, "") for of_one in types] for kind in KINDS} | {
        "attribute": named
    }


def score_questions(
    truth: np.ndarray,
    probabilities: np.ndarray,
    valid: np.ndarray,
    groups: Mapping[str, Sequence[str]],
    threshold: float = 0.5,
    errors: Mapping[str, str] = MappingProxyType({}),
) -> QuestionEvaluation:
    """Score answers, as training's validation does.

    Args:
        truth: whether each answer is right, ``(Q, C)`` 0 or 1.
        probabilities: ``(Q, C)``.
        valid: which answers could be right, ``(Q, C)`` bool.
        groups: by kind the name of the group of each question; empty: of none.
        threshold: probability above which an answer is given.
        errors: why other questions were left out.
    """
    every = np.ones(len(truth), bool)
    chosen = [(ALL, ALL, every)]
    for kind, names in groups.items():
        array = np.array(names, dtype=object)
        present = dict.fromkeys(name for name in names if name)
        chosen += [(kind, name, array == name) for name in present]
    right = (probabilities > threshold) == (truth == 1)
    scores = []
    for kind, name, rows in chosen:
        counts = right[rows] | ~valid[rows]
        n_valid = int(valid[rows].sum())
        scores.append(
            QuestionScore(
                kind,
                name,
                int(rows.sum()),
                float(counts.all(axis=1).mean()),
                float((right & valid)[rows].sum() / n_valid) if n_valid else np.nan,
                *_areas(truth[rows], probabilities[rows], valid[rows]),
            )
        )
    return QuestionEvaluation(tuple(scores), errors)


def _areas(truth: np.ndarray, probabilities: np.ndarray, valid: np.ndarray) -> tuple[float, float]:
    """AUROC and average precision, means over the answers that could be right somewhere."""
    aurocs, auprcs = [], []
    for column in np.flatnonzero(valid.any(axis=0)):
        rows = valid[:, column]
        holds = truth[rows, column].astype(float)
        areas = Ranking(holds, probabilities[rows, column]).areas()
        aurocs.append(float(areas.auroc[0]))
        is_mixed = 0 < holds.mean() < 1
        auprcs.append(float(areas.auprc[0]) if is_mixed else float(holds.mean()))
    auprc = float(np.mean(auprcs)) if auprcs else np.nan
    return float(mean_of_defined(np.array(aurocs))), auprc


def write_question_scores(path: Path, evaluation: QuestionEvaluation) -> None:
    """Write the table of scores as CSV, with the columns `COLUMNS`."""
    with open_replacing(path, newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(COLUMNS)
        for score in evaluation.scores:
            values = [getattr(score, name) for name in COLUMNS[2:]]
            writer.writerow([score.kind, cell(score.name), *("" if x != x else x for x in values)])


def format_question_scores(evaluation: QuestionEvaluation) -> str:
    """Return the table of scores for a terminal, one kind after the other."""
    header = ("", "questions", "exact match", "accuracy", "AUROC", "AUPRC")
    blocks = [[score for score in evaluation.scores if score.kind == ALL]]
    blocks += [list(evaluation.of(kind).values()) for kind in KINDS]
    titles = [ALL, *(f"by {title}" for title in KINDS.values())]
    width = max(len(text) for text in [*titles, *(f"  {s.name}" for s in evaluation.scores)])
    lines = [f"{header[0]:<{width}}" + "".join(f"  {name:>11}" for name in header[1:])]
    for title, scores in zip(titles, blocks, strict=True):
        if scores and title != ALL:
            lines.append(title)
        for score in scores:
            name = score.name if title == ALL else f"  {score.name}"
            shares = (score.exact_match, score.accuracy, score.auroc, score.auprc)
            cells = [str(score.questions), *("-" if x != x else f"{x:.3f}" for x in shares)]
            lines.append(f"{name:<{width}}" + "".join(f"  {text:>11}" for text in cells))
    return "\n".join(lines)
