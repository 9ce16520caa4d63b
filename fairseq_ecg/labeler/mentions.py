"""From patterns to the entities that a report mentions, each with its descriptors."""

import re
from collections.abc import Iterable, Sequence
from itertools import accumulate
from typing import NamedTuple

from fairseq_ecg.labeler.reading import Reading
from fairseq_ecg.labeler.semantics import Semantics
from fairseq_ecg.labeler.terms import AFTER, BEFORE, CONNECTIVE, ENTITY, Pattern, Vocabulary

_CLAUSE_END = re.compile(r"[;\n]|[.!](?:\s|$)")
_SET_OFF = re.compile(r"[,:(\-]")
_LISTED = re.compile(r"[\s,/]*")


class Mentioned(NamedTuple):
    """An entity in a report.

    Attributes:
        entity: its name.
        descriptors: of its pattern, then those that the report gives it, in their order.
        pattern: position of the entity's pattern among those of the report.
        negated: the report says that it is absent.
    """

    entity: str
    descriptors: tuple[str, ...]
    pattern: int
    negated: bool = False


class Attribution:
    """Gives descriptors to entities.

    Args:
        vocabulary: with the patterns that a reading counts.
        semantics: how.
    """

    def __init__(self, vocabulary: Vocabulary, semantics: Semantics):
        self._patterns = vocabulary.patterns
        self._semantics = semantics
        descriptors = vocabulary.descriptors.values()
        self._negating = frozenset(item.name for item in descriptors if item.negates)
        self._uncertain = frozenset(
            item.name for item in descriptors if item.probability is not None
        )
        self._generic = frozenset(
            entity.name for entity in vocabulary.entities.values() if entity.requires_descriptors
        )

    def mentions(self, reading: Reading) -> list[Mentioned]:
        """Return the entities that a report mentions, in their order.

        Args:
            reading: of the report.
        """
        patterns = [self._patterns[i] for i in reading.patterns]
        if self._semantics.attribution == "clause":
            given, negated = self._by_clause(patterns, reading.gaps)
        else:
            given, negated = self._by_report(patterns), set()
        return [
            Mentioned(mention.entity, mention.descriptors + tuple(given[i]), i, i in negated)
            for i, pattern in enumerate(patterns)
            for mention in pattern.entities
        ]

    def _by_report(self, patterns: Sequence[Pattern]) -> list[list[str]]:
        """Give descriptors to the nearest entities, wherever they are."""
        given: list[list[str]] = [[] for _ in patterns]
        if self._semantics.attribution == "with_connective" and not any(
            pattern.kind == CONNECTIVE for pattern in patterns
        ):
            return given
        around = _neighbours([pattern.kind == ENTITY for pattern in patterns], [len(patterns)])
        for pattern, (left, right) in zip(patterns, around, strict=True):
            _give(given, pattern, left, right)
        return given

    def _by_clause(
        self, patterns: Sequence[Pattern], gaps: Sequence[str]
    ) -> tuple[list[list[str]], set[int]]:
        """Give descriptors to the nearest entities of a clause; return also who is negated."""
        given: list[list[str]] = [[] for _ in patterns]
        negated: set[int] = set()
        targets = [bool(pattern.entities) for pattern in patterns]
        ends = [i for i in range(1, len(patterns)) if _CLAUSE_END.search(gaps[i])]
        around = _neighbours(targets, [*ends, len(patterns)])
        commas = _counts("," in gap for gap in gaps)
        set_off = _counts(_SET_OFF.search(gap) is not None for gap in gaps)
        end_of_clause = [False] * len(patterns)
        for end in ends:
            end_of_clause[end] = True
        for i, (pattern, (left, right)) in enumerate(zip(patterns, around, strict=True)):
            if self._negating.intersection(pattern.descriptors):
                if self._semantics.negation == "clause":
                    if pattern.kind == AFTER:
                        negated |= set() if left is None else {left}
                    elif right is not None and commas[right + 1] == commas[i + 1]:
                        negated |= self._denied(patterns, gaps, end_of_clause, right)
                    continue
            elif (
                self._semantics.trailing_descriptors
                and pattern.kind == BEFORE
                and right is None
                and left is not None
                and set_off[i + 1] > set_off[left + 1]
            ):
                right = left
            _give(given, pattern, left, right)
        return given, negated

    def _denied(
        self,
        patterns: Sequence[Pattern],
        gaps: Sequence[str],
        end_of_clause: Sequence[bool],
        first: int,
    ) -> set[int]:
        """Return which entities a negation denies: the first behind it, and those listed with it.

        A list is made of commas, slashes and connectives that coordinate, with one of the latter:
        in "no ischemia, injury or infarct" all are denied, in "no infarct, sinus rhythm" one is.
        """
        denied, listed = {first}, [first]
        coordinated = self._is_generic(patterns[first])
        for j in range(first + 1, len(patterns)):
            pattern = patterns[j]
            if (
                end_of_clause[j]
                or not _LISTED.fullmatch(gaps[j])
                or (pattern.kind == CONNECTIVE and not pattern.coordinates)
                or self._negating.intersection(pattern.descriptors)
                or (self._uncertain.intersection(pattern.descriptors) and not coordinated)
            ):
                break
            coordinated |= pattern.kind == CONNECTIVE or "/" in gaps[j]
            if pattern.entities:
                listed.append(j)
                if coordinated:
                    denied.update(listed)
                coordinated = False
        return denied

    def _is_generic(self, pattern: Pattern) -> bool:
        """Return whether it is no finding by itself, as "ECG" in "no ECG evidence of infarct"."""
        return all(mention.entity in self._generic for mention in pattern.entities)


def _neighbours(
    targets: Sequence[bool], ends: Sequence[int]
) -> list[tuple[int | None, int | None]]:
    """Return for each position the nearest target on either side, within its stretch.

    Args:
        targets: whether a position is one.
        ends: of the stretches, in their order, the last one included.
    """
    around: list[tuple[int | None, int | None]] = []
    start = 0
    for end in ends:
        rights: list[int | None] = []
        nearest = None
        for i in range(end - 1, start - 1, -1):
            rights.append(nearest)
            nearest = i if targets[i] else nearest
        nearest = None
        for i in range(start, end):
            around.append((nearest, rights[end - 1 - i]))
            nearest = i if targets[i] else nearest
        start = end
    return around


def _counts(flags: Iterable[bool]) -> list[int]:
    """Return how many flags are set before each position and before the end."""
    return [0, *accumulate(map(int, flags))]


def _give(given: list[list[str]], pattern: Pattern, left: int | None, right: int | None) -> None:
    if pattern.kind == BEFORE and right is not None:
        given[right] += pattern.descriptors
    elif pattern.kind == AFTER and left is not None:
        given[left] += pattern.descriptors
    elif pattern.kind == CONNECTIVE:
        if left is not None:
            given[left] += pattern.left
        if right is not None:
            given[right] += pattern.right
