"""What a network says of a recording, as it is shown."""

from collections.abc import Mapping, Set
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from fairseq_ecg.inference.thresholds import DEFAULT

if TYPE_CHECKING:
    from fairseq_ecg.inference.stored import TargetScale


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

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the labels."""
        return tuple(self.probabilities)

    def holds(self, label: str) -> bool:
        """Whether a label's probability reaches its threshold."""
        return self.probabilities[label] >= self.thresholds.get(label, DEFAULT)


@dataclass(frozen=True)
class Estimates:
    """What a regression estimates of a recording.

    Attributes:
        values: of each target, by name, in the order to show them and in its units.
        scale: of the targets.
    """

    values: Mapping[str, float]
    scale: "TargetScale"

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the targets."""
        return tuple(self.values)

    def positions(self) -> list[float | None]:
        """Locate each among the targets of the training.

        Returns:
            0 to 1, from three standard deviations below their mean to three above; None where it
            is not known what they were.
        """
        known = zip(self.values.values(), self.scale.known(), strict=True)
        return [
            None if of is None else min(max(0.5 + (value - of[0]) / (6 * of[1]), 0.0), 1.0)
            for value, of in known
        ]
