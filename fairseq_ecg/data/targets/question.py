"""The target of question answering: a question about one ECG or two, and its answers."""

import csv
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from fairseq_ecg.data.collation import BatchCheck, Columns, Crop
from fairseq_ecg.data.label_file import LABEL_DEFINITION, read_label_names
from fairseq_ecg.data.randomness import Draws
from fairseq_ecg.data.sources import SegmentBatch, Variables
from fairseq_ecg.data.targets.target import Target
from fairseq_ecg.data.targets.text import TokenTarget
from fairseq_ecg.data.text import Tokenizer
from fairseq_ecg.errors import DataError, as_data_error
from fairseq_ecg.jobs.files import open_replacing

ATTRIBUTES = "attributes.csv"
"""File beside manifests of questions: which attribute an ``attribute_id`` of a split stands for."""

QUESTION_TYPES = ("question_type1", "question_type2", "question_type3")
"""Types of a question, from coarse to fine."""

GROUPS = (*QUESTION_TYPES, "attribute_id")
"""Integers by which the questions of a batch are grouped."""

_REMEDY = "Prepare the questions again"


class QuestionTarget(TokenTarget):
    """A question, its right answers, those that could be right, and what kind of question it is.

    In ``net_input`` of a batch are the tokens ``text`` ``(B, N)`` int64 and ``text_padding_mask``
    ``(B, N)`` bool. Beside it are ``question`` ``(B,)`` array of texts, ``answer`` ``(B, C)``
    int64, 1 for each right answer, ``valid_classes``, of each question the answers that could be
    right as int64, the types `QUESTION_TYPES` and ``attribute_id`` ``(B,)`` int64, and ``ecg_id``,
    of each question a list of the numbers of its records.

    Args:
        tokenizer: of the questions.
        max_text_size: as of `TokenTarget`.
        labelled: whether answers are read.
        names: of the answers, where they are known.
    """

    def __init__(
        self,
        tokenizer: Tokenizer,
        *,
        max_text_size: int | None = 512,
        labelled: bool = True,
        names: Sequence[str] = (),
    ):
        super().__init__(tokenizer, "question", max_text_size=max_text_size)
        self.labelled, self.names = labelled, list(names)
        self.n_labels = len(names) or None
        required = ("question", "answer", *GROUPS) if labelled else ("question",)
        self.variables = Variables(required, ("ecg_path", "valid_classes"))

    def label_names(self) -> list[str] | None:
        """See `Target.label_names`."""
        return self.names or None

    def notes(self) -> dict[str, Any]:
        """See `Target.notes`."""
        return {**super().notes(), **Target.notes(self)}

    def columns(self, segments: SegmentBatch) -> Columns:
        """See `Target.columns`."""
        columns: dict[str, Any] = {
            **super().columns(segments),
            "ecg_id": [[_id_of(name) for name in of or ()] for of in segments.texts("ecg_path")],
        }
        if self.labelled:
            stored = zip(segments.arrays("answer"), segments.arrays("valid_classes"), strict=True)
            both = [answers_of(*pair, segments.where(row)) for row, pair in enumerate(stored)]
            columns |= {
                "answer": [torch.from_numpy(answer) for answer, _ in both],
                "valid_classes": [torch.from_numpy(valid) for _, valid in both],
            }
            columns |= {key: segments.integers(key) for key in GROUPS}
        return columns

    def collate(
        self, columns: Columns, check: BatchCheck, crop: Crop, draws: Draws
    ) -> dict[str, Any]:
        """See `Target.collate`."""
        batch: dict[str, Any] = {
            "question": np.array(list(columns["question"])),
            "ecg_id": list(columns["ecg_id"]),
            "net_input": {
                "text": columns["ids"],
                "text_padding_mask": columns["text_padding_mask"],
            },
        }
        if not self.labelled:
            return batch
        answers = columns["answer"]
        check.equal([len(answer) for answer in answers], "answers", _REMEDY)
        return {
            **batch,
            **{key: torch.as_tensor(columns[key]) for key in GROUPS},
            "answer": torch.stack(list(answers)),
            "valid_classes": list(columns["valid_classes"]),
        }


def answer_names(folder: str | os.PathLike) -> list[str]:
    """Read the names of the answers of questions.

    Args:
        folder: of their manifests, with a file ``label_def.csv``.

    Returns:
        The names in the order of a network's outputs; none if there is no such file.

    Raises:
        DataError: the file cannot be used.
    """
    path = Path(folder, LABEL_DEFINITION)
    return read_label_names(path) if path.is_file() else []


def attribute_names(folder: str | os.PathLike) -> dict[str, dict[int, str]]:
    """Read which attribute each ``attribute_id`` stands for.

    Args:
        folder: of the manifests or a store, with a file ``attributes.csv`` of the columns
            ``split``, ``id`` and ``attribute``.

    Returns:
        Attribute by id, for each split, as they are numbered in each anew; none if there is no such
        file.

    Raises:
        DataError: the file is damaged.
    """
    path = Path(folder, ATTRIBUTES)
    names: dict[str, dict[int, str]] = {}
    if not path.is_file():
        return names
    with (
        as_data_error(f"{path}: is no table of split, id and attribute", _REMEDY),
        open(path, newline="", encoding="utf-8-sig") as file,
    ):
        for row in csv.DictReader(file):
            names.setdefault(row["split"], {})[int(row["id"])] = row["attribute"]
    return names


def write_attribute_names(
    folder: str | os.PathLike, names: Mapping[str, Mapping[int, str]]
) -> None:
    """Write what `attribute_names` reads."""
    with open_replacing(Path(folder, ATTRIBUTES), newline="", encoding="utf-8") as file:
        rows = csv.writer(file, lineterminator="\n")
        rows.writerow(("split", "id", "attribute"))
        for split, of_split in names.items():
            rows.writerows((split, *item) for item in of_split.items())


def _id_of(record: str) -> int | str:
    """Return the number of a record by its name, ``00001_hr`` for instance, or else the name."""
    name = record.rpartition("/")[2].partition("_hr")[0]
    return int(name) if re.fullmatch("[0-9]{1,18}", name) else name


def answers_of(
    answer: np.ndarray | None, valid: np.ndarray | None, where: str
) -> tuple[np.ndarray, np.ndarray]:
    """Check the variables ``answer`` and ``valid_classes`` of a file.

    Args:
        answer: ``(1, C)``, 1 for each right answer and 0 for others.
        valid: ``(1, k)`` numbers of the answers that could be right; None or empty: none could.
        where: names the file in error messages.

    Returns:
        ``(C,)`` and ``(k,)`` int64.

    Raises:
        DataError: they are something else.
    """
    if answer is None or answer.ndim != 2 or len(answer) != 1 or not _are(answer, 0, 1):
        raise DataError(
            f"{where}: 'answer' must be 0 or 1 for each answer, of shape (1, answers). {_REMEDY}"
        )
    n_answers = answer.shape[1]
    classes = np.empty(0, np.int64) if valid is None else valid.ravel()
    if not _are(classes, 0, n_answers - 1):
        raise DataError(
            f"{where}: 'valid_classes' must be numbers of its {n_answers} answers, found "
            f"{classes.tolist()}. {_REMEDY}"
        )
    return answer[0].astype(np.int64), classes.astype(np.int64)


def _are(values: np.ndarray, least: int, most: int) -> bool:
    """Whether all are whole numbers in a range."""
    if values.dtype.kind not in "fiub":
        return False
    return bool(((values >= least) & (values <= most) & (values == np.trunc(values))).all())
