"""How what stands in a report is understood, apart from the words of a vocabulary."""

from collections.abc import Iterable
from dataclasses import dataclass, fields, replace
from typing import Any, Literal, get_args, get_type_hints

from fairseq_ecg.errors import DataError


@dataclass(frozen=True)
class Semantics:
    """Choices, each with what ECG-FM's labeler does as its other value; README.md has examples.

    Attributes:
        attribution: ``clause``: a descriptor belongs to an entity of its clause; ``report``: to the
            nearest one of the report; ``with_connective``: likewise, but only in reports in which
            some connective was found (a fault of ECG-FM's program).
        touching: patterns may touch each other at the border of a word, as ", acute" and ", old" in
            ", acute, old"; if not, the longer one makes the other invisible.
        trailing_descriptors: with ``clause``, a descriptor behind the last entity of its
            clause and is set off by punctuation belongs to that entity.
        negation: ``clause``: a negated entity does not hold, nor those that are listed with it;
            ``nearest``: only the nearest entity does not hold; ``ignored``: negated entities hold
            (a fault of ECG-FM's program).
        shared_certainty: with ``clause``, what is said of the certainty of the first entity of a
            list is said of all of it.
        fragments: a statement that ends in what needs something behind it ("cannot rule out"), or
            begins with what needs something before it ("age undetermined"), is read as one with
            its neighbour.
        parent_gain: share of the remaining doubt that is taken away with every step from an entity
            to its parents.
        certain_compounds: a compound is certain even where a part of it is not.
        kinds_in_compounds: where a compound asks for an entity with a descriptor, a kind of the
            entity with it is enough.
        certain_descriptors: "Infarction - Anterior" is certain even where the infarction is not.
        every_path: an entity is listed once for each path to it.
        clean: other writings of a character, invisible characters and line ends are replaced before
            anything else.
        languages: reports in another language than English are translated, or refused where their
            language is not read; if not, all are read as English.
    """

    attribution: Literal["clause", "report", "with_connective"] = "clause"
    touching: bool = True
    trailing_descriptors: bool = True
    negation: Literal["clause", "nearest", "ignored"] = "clause"
    shared_certainty: bool = True
    fragments: bool = True
    parent_gain: float = 0.0
    certain_compounds: bool = False
    kinds_in_compounds: bool = True
    certain_descriptors: bool = False
    every_path: bool = False
    clean: bool = True
    languages: bool = True


DEFAULT = Semantics()

COMPATIBLE = Semantics(
    attribution="with_connective",
    touching=False,
    trailing_descriptors=False,
    negation="ignored",
    shared_certainty=False,
    fragments=False,
    parent_gain=0.3,
    certain_compounds=True,
    kinds_in_compounds=False,
    certain_descriptors=True,
    every_path=True,
    clean=False,
    languages=False,
)
"""What ECG-FM's labeler does, its faults included."""

CORRECTED = replace(COMPATIBLE, attribution="report", negation="nearest")
"""``COMPATIBLE`` with descriptors attributed in every report, and negated entities left out."""

MODES = {"default": DEFAULT, "compatible": COMPATIBLE, "mended": CORRECTED}


def choose(mode: str, choices: Iterable[str] = ()) -> Semantics:
    """Return the semantics of a mode, with some choices made otherwise.

    Args:
        mode: one of ``MODES``.
        choices: such as ``negation=nearest``, ``parent_gain=0.3`` and ``clean=false``.

    Raises:
        DataError: There is no such mode, choice or value; the message names those there are.
    """
    if mode not in MODES:
        raise DataError(f"there is no mode {mode!r}; choose one of {', '.join(MODES)}")
    semantics = MODES[mode]
    types = get_type_hints(Semantics)
    for choice in choices:
        name, _, text = choice.partition("=")
        if name not in types:
            known = ", ".join(field.name for field in fields(Semantics))
            raise DataError(f"{choice!r}: there is no choice {name!r}; there are {known}")
        semantics = replace(semantics, **{name: _value(choice, text, types[name])})
    return semantics


def _value(choice: str, text: str, type_: Any) -> Any:
    if type_ is float:
        try:
            value = float(text)
        except ValueError:
            value = -1.0
        if not 0 <= value <= 1:
            raise DataError(f"{choice!r}: give a number, 0 to 1")
        return value
    values = {"true": True, "false": False} if type_ is bool else {v: v for v in get_args(type_)}
    if text not in values:
        raise DataError(f"{choice!r}: choose one of {', '.join(values)}")
    return values[text]
