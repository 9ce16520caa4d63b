"""Scoring metric of the PhysioNet/Computing in Cardiology Challenges 2020 and 2021."""

import csv
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

SINUS_RHYTHM = "426783006"


@dataclass(frozen=True)
class ScoringWeights:
    """How much credit each predicted class earns for each true class.

    Attributes:
        classes: Names of the ``C`` classes; a name may join several codes by ``|``.
        matrix: ``(C, C)`` float64, true class by predicted class.
        sinus_rhythm: Position of the class of normal sinus rhythm.
    """

    classes: tuple[str, ...]
    matrix: np.ndarray
    sinus_rhythm: int


def read_scoring_weights(path: str | Path) -> ScoringWeights:
    """Read the Challenge's table of weights.

    Args:
        path: A ``.csv`` with the class names in its first row and, in the same order, in its first
            column.

    Raises:
        ValueError: Not such a table; names the file and the line.
    """
    path = Path(path)
    if path.suffix != ".csv":
        raise ValueError(f"{path}: the weights of the CinC score have to be a .csv file")
    with path.open(newline="", encoding="utf-8-sig") as file:
        rows = [[cell.strip() for cell in row] for row in csv.reader(file) if row]
    if len(rows) < 2:
        raise ValueError(f"{path}: holds no weights; a row of class names and the weights expected")
    classes = tuple(rows[0][1:])
    if len(rows) - 1 != len(classes):
        raise ValueError(
            f"{path}: {len(rows) - 1} rows of weights for the {len(classes)} classes of line 1"
        )
    matrix = np.empty((len(classes), len(classes)))
    for i, (name, row) in enumerate(zip(classes, rows[1:], strict=True)):
        where = f"{path}, line {i + 2}"
        if row[0] != name:
            raise ValueError(f"{where}: is named {row[0]!r} where column {i + 2} is named {name!r}")
        try:
            matrix[i] = [float(cell) for cell in row[1:]]
        except ValueError as error:
            raise ValueError(f"{where}: needs {len(classes)} numbers ({error})") from error
    rhythms = [i for i, name in enumerate(classes) if SINUS_RHYTHM in name.split("|")]
    if not rhythms:
        raise ValueError(f"{path}: no class holds the code of sinus rhythm, {SINUS_RHYTHM}")
    return ScoringWeights(classes, matrix, rhythms[0])


def cinc_scores(labels: Tensor, outputs: Tensor, weights: ScoringWeights) -> dict[str, Tensor]:
    """Score a batch, and the two answers that the score is normalised by.

    A recording gives ``W[t, o]`` for each of its true classes ``t`` and predicted classes ``o``,
    divided by the number of classes that are true, predicted or both.

    Args:
        labels: ``(B, C)`` bool.
        outputs: ``(B, C)`` bool.
        weights: For the same ``C`` classes.

    Returns:
        Scalars, float64: ``o_score`` of the outputs, ``c_score`` of the labels as outputs and
        ``i_score`` of sinus rhythm alone as output. The CinC score is
        ``(o - i) / (c - i)`` of their sums over all batches.
    """
    inactive = torch.zeros_like(labels)
    inactive[:, weights.sinus_rhythm] = True
    matrix = torch.from_numpy(weights.matrix).to(labels.device)
    answers = {"o_score": outputs, "c_score": labels, "i_score": inactive}
    return {key: _score(labels, answer, matrix) for key, answer in answers.items()}


def _score(labels: Tensor, outputs: Tensor, matrix: Tensor) -> Tensor:
    n_classes = (labels | outputs).sum(dim=1).clamp(min=1)
    credit = ((labels.to(matrix) @ matrix) * outputs).sum(dim=1)
    return (credit / n_classes).sum()
