"""How what stands in a report is understood, apart from the words of a vocabulary."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Semantics:
    """Choices, each with what ECG-FM's labeler does as its other value; README.md has examples.

    Attributes:
        attribution: ``clause``: a descriptor belongs to an entity of its clause; ``report``: to the
            nearest one of the report; ``with_connective``: likewise, but only in reports in which
            some connective was found (a fault of ECG-FM's program).
        trailing_descriptors: with ``clause``, a descriptor behind the last entity of its
            clause and is set off by punctuation belongs to that entity.
        negation: ``clause``: a negated entity does not hold, nor those that are listed with it;
            ``nearest``: only the nearest entity does not hold; ``ignored``: negated entities hold
            (a fault of ECG-FM's program).
        parent_gain: share of the remaining doubt that is taken away with every step from an entity
            to its parents.
        certain_compounds: a compound is certain even where a part of it is not.
        certain_descriptors: "Infarction - Anterior" is certain even where the infarction is not.
        every_path: an entity is listed once for each path to it.
        clean: other writings of a character, invisible characters and line ends are replaced before
            anything else.
    """

    attribution: Literal["clause", "report", "with_connective"] = "clause"
    trailing_descriptors: bool = True
    negation: Literal["clause", "nearest", "ignored"] = "clause"
    parent_gain: float = 0.0
    certain_compounds: bool = False
    certain_descriptors: bool = False
    every_path: bool = False
    clean: bool = True


DEFAULT = Semantics()

COMPATIBLE = Semantics(
    attribution="with_connective",
    trailing_descriptors=False,
    negation="ignored",
    parent_gain=0.3,
    certain_compounds=True,
    certain_descriptors=True,
    every_path=True,
    clean=False,
)
"""What ECG-FM's labeler does, its faults included."""

MENDED = Semantics(
    attribution="report",
    trailing_descriptors=False,
    negation="nearest",
    parent_gain=0.3,
    certain_compounds=True,
    certain_descriptors=True,
    every_path=True,
    clean=False,
)
"""``COMPATIBLE`` with descriptors attributed in every report, and negated entities left out."""

MODES = {"default": DEFAULT, "compatible": COMPATIBLE, "mended": MENDED}
