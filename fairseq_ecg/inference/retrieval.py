"""Which texts go with which ECGs: similarity, labels without training for them, and recall."""

import csv
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from fairseq_ecg.errors import DataError, damage_as_data_error, shortened
from fairseq_ecg.inference.results import RECORDING, OfSegments

if TYPE_CHECKING:
    import pandas as pd

RANK, TEXT, SIMILARITY = "rank", "text", "similarity"

LABEL, PROMPT = "label", "prompt"
"""Columns of a file of prompts."""

Prompts = Mapping[str, Sequence[str]]
"""By label the sentences that a report would have where it holds."""


@dataclass(frozen=True, eq=False, repr=False)
class Similarity(OfSegments):
    """How similar recordings and texts are: ``table`` of recordings, ``segments`` of segments.

    Args:
        run: what was computed.
        of_segments: ``(N, M)`` of segments and the M texts.
        of_recordings: ``(R, M)``, the means over the segments of recordings.
        texts: the columns of both tables; of labels their names.
    """

    texts: tuple[str, ...]
    shown = "errors", "table"

    @property
    def names(self) -> Sequence[str]:
        """Names of the columns."""
        return self.texts

    def __array__(self, dtype=None, copy=None) -> np.ndarray:
        return np.asarray(self.of_recordings, dtype)

    @cached_property
    def order(self) -> np.ndarray:
        """``(R, M)``, of each recording the texts from the most similar one down."""
        return np.argsort(-self.of_recordings, axis=1, kind="stable")

    def top(self, number: int) -> "pd.DataFrame":
        """Return of each recording and ``rank`` (the index) the most similar ``text``.

        Args:
            number: of texts for each recording.
        """
        import pandas as pd

        order = self.order[:, :number]
        names = self.run.recordings()[RECORDING]
        keys = [(name, rank) for name in names for rank in range(1, order.shape[1] + 1)]
        values = np.take_along_axis(self.of_recordings, order, axis=1)
        index = pd.MultiIndex.from_tuples(keys, names=[RECORDING, RANK])
        columns = {TEXT: [self.texts[i] for i in order.ravel()], SIMILARITY: values.ravel()}
        return pd.DataFrame(columns, index)


def check_prompts(prompts: Prompts) -> dict[str, tuple[str, ...]]:
    """Return prompts as they are used, without repetitions.

    Raises:
        DataError: there are none, or none of a label.
    """
    if not isinstance(prompts, Mapping) or not prompts:
        raise DataError("no prompts: give sentences for each label")
    found = {}
    for label, sentences in prompts.items():
        listed = (sentences,) if isinstance(sentences, str) else tuple(sentences)
        if not listed:
            raise DataError(f"label {shortened(label)} has no prompt: give it a sentence")
        found[str(label)] = tuple(dict.fromkeys(listed))
    return found


def means_of_labels(of_sentences: np.ndarray, numbers: Sequence[int]) -> np.ndarray:
    """Return the mean similarity over the prompts of each label, ``(..., C)``.

    Args:
        of_sentences: ``(..., M)``, the prompts of the first label first.
        numbers: of prompts that each of the C labels has.
    """
    ends = np.cumsum(numbers)
    parts = np.split(of_sentences, ends[:-1], axis=-1)
    return np.stack([part.mean(axis=-1) for part in parts], axis=-1)


@dataclass(frozen=True)
class Recall:
    """How well partners are found among all.

    Attributes:
        at: by k the share of queries with a partner among the k most similar.
        median_rank: median over queries of the rank of the most similar partner, from 1.
        queries: how many there were.
        candidates: among how many a partner was sought.
    """

    at: Mapping[int, float]
    median_rank: float
    queries: int
    candidates: int


def recall(similarity: np.ndarray, is_partner: np.ndarray, at: Sequence[int]) -> Recall:
    """Rank candidates by similarity to queries.

    Of candidates that are as similar as the best partner half stand before it, so that a network
    that finds all alike is not right by chance.

    Args:
        similarity: ``(Q, M)``.
        is_partner: ``(Q, M)`` bool, at least one of each query.
        at: the numbers k.
    """
    best = np.where(is_partner, similarity, -np.inf).max(axis=1, keepdims=True)
    others = np.where(is_partner, np.nan, similarity)
    before = (others > best).sum(axis=1)
    level = (others == best).sum(axis=1)
    ranks = 1 + before + level / 2
    shares = {k: float((ranks <= k).mean()) for k in at}
    return Recall(shares, float(np.median(ranks)), *similarity.shape)


def read_prompts(path: str | os.PathLike) -> dict[str, tuple[str, ...]]:
    """Read prompts from a table with a row for each: ``label`` and ``prompt``.

    Raises:
        DataError: a column is missing, or a row has no label or no prompt; or there is no row.
        OSError: the file cannot be read.
    """
    found: dict[str, list[str]] = {}
    with (
        damage_as_data_error(os.fspath(path), "table of prompts"),
        open(path, newline="", encoding="utf-8") as file,
    ):
        rows = csv.DictReader(file)
        missing = {LABEL, PROMPT} - set(rows.fieldnames or ())
        if missing:
            raise DataError(
                f"{path}: no column {min(missing)!r}, it needs {LABEL!r} and {PROMPT!r}"
            )
        for row in rows:
            if not (row[LABEL] and row[PROMPT]):
                raise DataError(f"{path}, line {rows.line_num}: give a label and a prompt")
            found.setdefault(row[LABEL], []).append(row[PROMPT])
    if not found:
        raise DataError(f"{path}: has no prompts")
    return check_prompts(found)


def read_texts(given: Sequence[str]) -> tuple[str, ...]:
    """Return texts: those given, and the lines of files that are given in their place.

    Raises:
        DataError: a file is no text, or has no line.
    """
    texts: list[str] = []
    for one in given:
        if not os.path.isfile(one):
            texts.append(one)
            continue
        with damage_as_data_error(one, "text"):
            lines = Path(one).read_text(encoding="utf-8").splitlines()
        kept = [line.strip() for line in lines if line.strip()]
        if not kept:
            raise DataError(f"{one}: has no text, give one a line")
        texts += kept
    return tuple(dict.fromkeys(texts))
