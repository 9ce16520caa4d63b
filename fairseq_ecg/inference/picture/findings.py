"""What a network says of a recording, as it is shown."""

from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, field
from pathlib import Path

from fairseq_ecg.data.errors import DataError

THRESHOLD = 0.5
"""From which probability on a label is said to hold where nobody chose another."""


@dataclass(frozen=True)
class Findings:
    """Probabilities of the labels of a recording.

    Attributes:
        probabilities: of each label, by name, in the order to show them.
        thresholds: from which on each label holds.
        true: names of the labels that do hold; None when that is not known.
    """

    probabilities: Mapping[str, float]
    thresholds: Mapping[str, float] = field(default_factory=dict)
    true: Set[str] | None = None

    def holds(self, label: str) -> bool:
        """Whether a label's probability reaches its threshold."""
        return self.probabilities[label] >= self.thresholds.get(label, THRESHOLD)


def thresholds_of(
    labels: Sequence[str], given: float | str | Path | Mapping[str, float] | None = None
) -> dict[str, float]:
    """Tell from which probability on each label is said to hold.

    Args:
        labels: names of all labels.
        given: one for all, one by label, or a CSV file with the columns ``label`` and
            ``threshold``. None, and labels that are not named: 0.5.

    Returns:
        Thresholds of all labels in their order.

    Raises:
        DataError: the file is no such table, a label is unknown, or a threshold is not in [0, 1].
    """
    where = "thresholds"
    if isinstance(given, str | Path):
        where = str(given)
        given = _read(Path(given))
    elif isinstance(given, int | float):
        given = dict.fromkeys(labels, given)
    chosen = dict.fromkeys(labels, THRESHOLD)
    for label, threshold in (given or {}).items():
        if label not in chosen:
            raise DataError(f"{where}: unknown label {label!r}; the labels are {', '.join(labels)}")
        if not 0 <= threshold <= 1:
            raise DataError(f"{where}: {label}: {threshold} is no probability from 0 to 1")
        chosen[label] = float(threshold)
    return chosen


def _read(path: Path) -> dict[str, float]:
    import pandas as pd

    try:
        table = pd.read_csv(path)
        return dict(zip(table["label"].astype(str), table["threshold"].astype(float), strict=True))
    except FileNotFoundError:
        raise DataError(f"{path}: no such table of thresholds") from None
    except (KeyError, ValueError) as error:
        raise DataError(
            f"{path}: no table with the columns label and threshold, of numbers ({error})"
        ) from error
