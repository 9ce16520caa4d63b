"""How well recordings and their reports are found by each other."""

import csv
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from fairseq_ecg.data.collation import BatchCheck, Columns, Crop
from fairseq_ecg.data.randomness import Draws
from fairseq_ecg.data.targets import TokenTarget
from fairseq_ecg.data.text import has_word
from fairseq_ecg.errors import DataError
from fairseq_ecg.inference.aggregation import aggregate
from fairseq_ecg.inference.evaluation import computed_of, labelled_segments
from fairseq_ecg.inference.retrieval import Recall, recall
from fairseq_ecg.inference.text_model import ECGTextModel
from fairseq_ecg.jobs.files import open_replacing

RANKS = (1, 5, 10)
"""The numbers k of recall@k."""

_REPORT = "report"


class _Reports(TokenTarget):
    """Tokens and texts of the reports of segments; those without a word too."""

    def collate(
        self, columns: Columns, check: BatchCheck, crop: Crop, draws: Draws
    ) -> dict[str, Any]:
        """See `Target.collate`."""
        texts = list(columns[self.variable])
        return {**super().collate(columns, check, crop, draws), _REPORT: texts}


@dataclass(frozen=True)
class RetrievalEvaluation:
    """How well partners are found.

    Attributes:
        directions: by name, ``ECG to text`` and ``text to ECG``.
        n_texts: different texts among those of the recordings.
        errors: why recordings were left out, by their names.
    """

    directions: Mapping[str, Recall]
    n_texts: int
    errors: Mapping[str, str] = field(default_factory=dict)


def evaluate_retrieval(
    model: ECGTextModel,
    manifest: str | os.PathLike,
    batch_size: int,
    on_error: str = "raise",
    verify: bool = False,
) -> RetrievalEvaluation:
    """Find the reports of recordings among those of all, and recordings by their reports.

    Of a recording of several segments the mean similarity counts, and the first segment's text.
    A report that is equal to the own one, as the network reads it, is as right as that.

    Args:
        model: the network.
        manifest: ``<split>.tsv`` of files with ``text``, or a split of a store.
        batch_size: in segments.
        on_error: as for :func:`fairseq_ecg.inference.evaluation.evaluate`.
        verify: whether the checksums of a store are compared.

    Raises:
        DataError: the network does not compare ECGs and texts, its vocabulary is not known, or no
            recording can be used.
    """
    target = _Reports(model.required_tokenizer(), max_text_size=None)
    dataset = labelled_segments(model, manifest, target, verify)

    shares_space = model.network.shares_space

    def of_batch(batch: dict[str, Any]) -> tuple[np.ndarray, ...]:
        texts = np.empty(len(batch[_REPORT]), dtype=object)
        texts[:] = batch[_REPORT]
        if not all(map(has_word, texts)):
            raise DataError("the report has no word")
        return (texts, model.embeddings(*_ecgs_of(batch))) if shares_space else (texts,)

    (texts, *embedded), names, errors = computed_of(dataset, of_batch, batch_size, on_error)
    recordings, first = np.unique(names, return_index=True)
    of_recordings = texts[first]
    different, text_of = np.unique(_as_read(model, of_recordings), return_inverse=True)
    listed = [of_recordings[np.flatnonzero(text_of == i)[0]] for i in range(len(different))]
    if shares_space:
        found, more = embedded[0] @ model.embed_text(listed).T, {}
    else:  # ECGs meet texts in the network, once all of these are known
        compare = model.comparison(listed)
        (found,), names, more = computed_of(
            dataset, lambda batch: (compare(*_ecgs_of(batch)),), batch_size, on_error
        )
    kept = np.isin(names, recordings)
    used, recording_of = np.unique(names[kept], return_inverse=True)
    of_texts = aggregate(found[kept], recording_of, ["mean"] * len(listed))
    text_of = text_of[np.isin(recordings, used)]
    similarity = of_texts[:, text_of]
    is_partner = text_of[:, None] == text_of
    directions = {
        "ECG to text": recall(similarity, is_partner, RANKS),
        "text to ECG": recall(similarity.T, is_partner, RANKS),
    }
    return RetrievalEvaluation(directions, len(np.unique(text_of)), {**errors, **more})


def _ecgs_of(batch: dict[str, Any]) -> tuple[Tensor, Tensor | None]:
    """Return the ECGs of a batch and their padding mask."""
    inputs = batch["net_input"]
    return inputs["ecg"], inputs.get("ecg_padding_mask")


def _as_read(model: ECGTextModel, texts: Sequence[str]) -> list[str]:
    """Return texts as their tokens, by which equal ones are known."""
    tokens = model.tokens(list(texts))
    model.warn_of_cut(list(texts), tokens.n_cut.tolist())
    rows = zip(tokens.ids, tokens.padding_mask, strict=True)
    return [" ".join(map(str, ids[~mask].tolist())) for ids, mask in rows]


def format_recall(found: RetrievalEvaluation) -> str:
    """Return the recalls as a table for a terminal."""
    lines = [f"{'':<12}" + "".join(f"  {name:>11}" for name in _columns())]
    for direction, one in found.directions.items():
        values = [*(f"{share:.3f}" for share in one.at.values()), f"{one.median_rank:g}"]
        lines.append(f"{direction:<12}" + "".join(f"  {value:>11}" for value in values))
    one = next(iter(found.directions.values()))
    chance = ", ".join(f"{min(k / one.candidates, 1):.3f}" for k in one.at)
    lines.append(
        f"{one.candidates} recordings, {found.n_texts} different texts; by chance, if all differ: "
        f"{chance} and {(one.candidates + 1) / 2:g}"
    )
    return "\n".join(lines)


def write_recall(path: Path, found: RetrievalEvaluation) -> None:
    """Write the recalls as CSV, a row for each direction.

    Args:
        path: file to write.
        found: the recalls.
    """
    with open_replacing(path, newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["direction", *_columns(), "recordings", "texts"])
        for name, one in found.directions.items():
            shares = [*one.at.values(), one.median_rank]
            writer.writerow([name, *shares, one.candidates, found.n_texts])


def _columns() -> list[str]:
    return [*(f"recall@{k}" for k in RANKS), "median rank"]
