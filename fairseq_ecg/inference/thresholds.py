"""From which probability on a label holds."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from fairseq_ecg.errors import DataError

LABEL, THRESHOLD = "label", "threshold"

DEFAULT = 0.5
"""Of labels for which no other is chosen."""


def thresholds_of(labels: Sequence[str], given: float | Path) -> dict[str, float]:
    """Find the threshold of every label.

    Args:
        labels: names of all labels.
        given: one probability for all of them, or a CSV file with the columns ``label`` and
            ``threshold``; labels that it does not name have :data:`DEFAULT`.

    Returns:
        Thresholds by label, in the order of the labels.

    Raises:
        DataError: the file is no such table, a threshold is no probability, or a label is unknown
            or there twice.
    """
    if not isinstance(given, Path):
        return dict.fromkeys(labels, _probability(given, "threshold"))
    from fairseq_ecg.data.tables import line_of, read_table

    found: dict[str, float] = {}
    table = read_table(given, [LABEL, THRESHOLD])
    for row, label, text in table.itertuples(name=None):
        where = f"{given}, line {line_of(row)}"
        if label not in labels:
            raise DataError(f"{where}: unknown label {label!r}; the labels are {', '.join(labels)}")
        if label in found:
            raise DataError(f"{where}: label {label!r} is there twice")
        found[label] = _probability(text, where)
    return {label: found.get(label, DEFAULT) for label in labels}


def _probability(value: object, where: str) -> float:
    import pandas as pd

    number = pd.to_numeric(value, errors="coerce")
    if not 0 <= number <= 1:
        raise DataError(f"{where}: {value!r} is no probability, a number from 0 to 1")
    return float(number)


def holding(
    probabilities: Mapping[str, Sequence[float]], thresholds: Mapping[str, float]
) -> dict[str, np.ndarray]:
    """Decide which labels hold.

    Args:
        probabilities: a column for each label.
        thresholds: of all labels.

    Returns:
        For each label the column ``<label> holds``, 0 or 1.
    """
    return {
        f"{label} holds": (np.asarray(probabilities[label]) >= threshold).astype(int)
        for label, threshold in thresholds.items()
    }
