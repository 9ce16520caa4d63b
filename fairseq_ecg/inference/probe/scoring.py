"""What a probe predicts, how well, and the files and pictures of that."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from fairseq_ecg.charts import chart
from fairseq_ecg.inference.aggregation import aggregate
from fairseq_ecg.inference.calibration import decisions
from fairseq_ecg.inference.metrics import (
    Ranking,
    bootstrap,
    brier,
    curve,
    interval,
    mean_of_defined,
    reliability,
)
from fairseq_ecg.inference.probe.embedding import Features
from fairseq_ecg.inference.probe.linear import LinearProbe
from fairseq_ecg.inference.writing import write_table
from fairseq_ecg.jobs.files import write_file

LEVELS = ("recording", "segment")
MACRO = "macro"
FORMATS = ("csv", "parquet")
AREAS = ("auroc", "auprc")
MOST_CURVES = 20
"""Labels that are drawn, the most frequent ones."""


@dataclass(frozen=True, eq=False)
class Predictions:
    """Probabilities of a probe for a split, and the truth.

    Attributes:
        split: its name.
        level: one of :data:`LEVELS`.
        names: of the rows, ``(N,)``: their recordings.
        unit_of: number of the recording of each row, ``(N,)``.
        truth: 0, 1 or NaN, ``(N, C)``.
        probabilities: ``(N, C)``.
    """

    split: str
    level: str
    names: np.ndarray
    unit_of: np.ndarray
    truth: np.ndarray
    probabilities: np.ndarray


def predict(probe: LinearProbe, features: Features, split: str) -> dict[str, Predictions]:
    """Return what a probe predicts for recordings and of segments, by level."""
    values = probe.probabilities(features.embeddings)
    names, numbers = np.array(features.recordings, object), features.recording_of
    rules = [probe.aggregation[label] for label in probe.labels]
    of_recordings = names, np.arange(len(names)), features.labels, aggregate(values, numbers, rules)
    of_segments = names[numbers], numbers, features.segment_labels, values
    return {
        "recording": Predictions(split, "recording", *of_recordings),
        "segment": Predictions(split, "segment", *of_segments),
    }


def score(
    predicted: Predictions, labels: Sequence[str], *, n_resamples: int, seed: int
) -> pd.DataFrame:
    """Score the probabilities of every label and, in the last row, the mean of all labels.

    Args:
        predicted: probabilities and truth.
        labels: names.
        n_resamples: of the bootstrap; whole recordings are drawn.
        seed: of the bootstrap.

    Returns:
        Columns ``split``, ``level``, ``label``, ``rows`` (whose label is known), ``positives``,
        ``auroc``, ``auprc`` (average precision), each with ``_low``, ``_high`` of the 95 %
        interval, ``resamples`` (in which the areas are defined; those of the mean are of labels
        that are), ``brier`` and ``ece``. NaN where a label holds in all rows or in none.
    """
    rankings = [
        Ranking(*pair) for pair in zip(predicted.truth.T, predicted.probabilities.T, strict=True)
    ]
    drawn = bootstrap(rankings, predicted.unit_of, n_resamples=n_resamples, seed=seed)
    areas = [ranking.areas() for ranking in rankings]
    rows = []
    for number, (label, ranking) in enumerate(zip(labels, rankings, strict=True)):
        truth, probabilities = predicted.truth[:, number], predicted.probabilities[:, number]
        known = ranking.positives + ranking.negatives
        row = {"label": label, "rows": known, "positives": ranking.positives}
        for area in AREAS:
            value = float(getattr(areas[number], area)[0])
            row |= _interval_columns(area, value, getattr(drawn, area)[:, number])
        row["brier"] = brier(truth, probabilities)
        row["ece"] = reliability(truth, probabilities).expected_calibration_error
        rows.append(row)
    means = {
        name: float(mean_of_defined(np.array([row[name] for row in rows])))
        for name in (*AREAS, "brier", "ece")
    }
    positives = sum(row["positives"] for row in rows)
    macro = {"label": MACRO, "rows": len(predicted.truth), "positives": positives} | means
    for area in AREAS:
        macro |= _interval_columns(area, means[area], mean_of_defined(getattr(drawn, area)))
    table = pd.DataFrame([*rows, macro])
    table.insert(0, "level", predicted.level)
    table.insert(0, "split", predicted.split)
    return table


def _interval_columns(area: str, value: float, resampled: np.ndarray) -> dict[str, float]:
    low, high, defined = interval(resampled)
    return {area: value, f"{area}_low": low, f"{area}_high": high, "resamples": defined}


def with_interval(row: Mapping[str, float], area: str) -> str:
    """Write an area of a row and its interval as text; ``-`` where it is not defined."""
    value, low, high = (row[name] for name in (area, f"{area}_low", f"{area}_high"))
    return "-" if pd.isna(value) else f"{value:.3f} ({low:.3f}-{high:.3f})"


def score_thresholds(
    predicted: Predictions, labels: Sequence[str], thresholds: Mapping[str, np.ndarray]
) -> pd.DataFrame:
    """Score the decisions by thresholds.

    Args:
        predicted: probabilities and truth.
        labels: names of the C labels.
        thresholds: ``(C,)`` by rule, of the same level.

    Returns:
        Columns ``split``, ``level``, ``rule``, ``label``, ``threshold``, and what
        :func:`fairseq_ecg.inference.calibration.decisions` says.
    """
    rows = []
    for rule, values in thresholds.items():
        for number, label in enumerate(labels):
            threshold = float(values[number])
            truth, probabilities = predicted.truth[:, number], predicted.probabilities[:, number]
            row = {"split": predicted.split, "level": predicted.level, "rule": rule, "label": label}
            row["threshold"] = threshold
            rows.append(row | decisions(truth, probabilities, threshold))
    return pd.DataFrame(rows)


def prediction_table(predicted: Sequence[Predictions], labels: Sequence[str]) -> pd.DataFrame:
    """Return probabilities and truth as a table.

    Returns:
        Columns ``split``, ``level``, ``recording``, ``segment`` (-1 of whole recordings), then the
        probability of every label under its name, and the truth under ``true: <label>``.
    """
    tables = []
    for one in predicted:
        table = pd.DataFrame({"split": one.split, "level": one.level, "recording": one.names})
        table["segment"] = -1
        if one.level == "segment":
            table["segment"] = table.groupby("recording").cumcount()
        columns = [f"true: {label}" for label in labels]
        probabilities = pd.DataFrame(one.probabilities, columns=list(labels))
        truth = pd.DataFrame(one.truth, columns=columns)
        tables.append(pd.concat([table, probabilities, truth], axis=1))
    return pd.concat(tables, ignore_index=True)


def write_whole(path: Path, table: pd.DataFrame) -> None:
    """Write a table that is in memory, as CSV or Parquet as its name ends."""
    write_table(path, lambda: iter((table,)), n_keys=0)


def write_json(path: Path, values: Mapping[str, Any]) -> None:
    """Write plain values; what is not a number becomes null."""
    write_file(path, json.dumps(_plain(values), indent=2) + "\n")


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, np.generic):
        value = value.item()
    return None if isinstance(value, float) and not np.isfinite(value) else value


def draw(predicted: Predictions, labels: Sequence[str], out: Path) -> list[Path]:
    """Draw the curves of a split: ``roc.png``, ``pr.png`` and ``reliability.png``.

    Args:
        predicted: probabilities and truth.
        labels: names; the :data:`MOST_CURVES` most frequent ones that have an AUROC are drawn.
        out: folder.

    Returns:
        The pictures.
    """
    truth, probabilities = predicted.truth.T, predicted.probabilities.T
    curves = [curve(*pair) for pair in zip(truth, probabilities, strict=True)]
    defined = [number for number, found in enumerate(curves) if found.positives and found.negatives]
    shown = sorted(defined, key=lambda number: -curves[number].positives)[:MOST_CURVES]

    def roc(axes, number: int, label: str) -> None:
        found = curves[number]
        axes.plot(np.r_[0, 1 - found.specificity], np.r_[0, found.sensitivity], label=label)

    def pr(axes, number: int, label: str) -> None:
        found = curves[number]
        axes.step(np.r_[0, found.sensitivity], np.r_[1, found.precision], label=label)

    def reliable(axes, number: int, label: str) -> None:
        found = reliability(truth[number], probabilities[number])
        axes.plot(found.probability, found.frequency, "o-", markersize=3, label=label)

    pictures = {
        "roc": ("1 - specificity", "sensitivity", roc, True),
        "pr": ("sensitivity (recall)", "precision", pr, False),
        "reliability": ("probability", "frequency", reliable, True),
    }
    paths = []
    for name, (x_label, y_label, add, diagonal) in pictures.items():
        paths.append(out / f"{name}.png")
        with chart(paths[-1], 6.5, 4.5) as axes:
            title = f"{predicted.split}, per {predicted.level}"
            axes.set(xlabel=x_label, ylabel=y_label, title=title, xlim=(0, 1), ylim=(0, 1.01))
            if diagonal:
                axes.plot([0, 1], [0, 1], color="0.8", linewidth=1)
            for number in shown:
                add(axes, number, labels[number])
            if shown:
                axes.legend(frameon=False, fontsize=7, loc="center left", bbox_to_anchor=(1, 0.5))
    return paths
