"""What a network says of a recording, as it is shown."""

from collections.abc import Mapping, Set
from dataclasses import dataclass, field

from fairseq_ecg.inference.thresholds import DEFAULT


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
        return self.probabilities[label] >= self.thresholds.get(label, DEFAULT)
