"""From patterns to the entities that a report mentions, each with its descriptors."""

import re
from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

from fairseq_ecg.labeler.reading import Reading
from fairseq_ecg.labeler.scope import Certainty, Scope, counts
from fairseq_ecg.labeler.semantics import Semantics
from fairseq_ecg.labeler.terms import AFTER, BEFORE, CONNECTIVE, ENTITY, Pattern, Vocabulary

_CLAUSE_END = re.compile(r"[;\n]|[.!](?:\s|$)")
_SET_OFF = re.compile(r"[,:(\-]")
_WORD = re.compile(r"\w")


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
        self._certainty = Certainty(vocabulary)
        self._negates = [self._certainty.negates(pattern) for pattern in vocabulary.patterns]
        self._dependent = frozenset(
            i
            for i, pattern in enumerate(vocabulary.patterns)
            if self._certainty.is_dependent(pattern)
        )
        self._doubts = [self._certainty.is_uncertain(pattern) for pattern in vocabulary.patterns]

    def mentions(self, reading: Reading) -> list[Mentioned]:
        """Return the entities that a report mentions, in their order.

        Args:
            reading: of the report.
        """
        patterns = [self._patterns[i] for i in reading.patterns]
        if self._semantics.attribution == "clause":
            given, negated, earlier = self._by_clause(reading, patterns)
        else:
            given, negated, earlier = self._by_report(patterns), set(), set()
        found = [
            Mentioned(mention.entity, mention.descriptors + tuple(given[i]), i, i in negated)
            for i, pattern in enumerate(patterns)
            for mention in pattern.entities
        ]
        return _without_earlier(found, earlier) if earlier else found

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
        self, reading: Reading, patterns: Sequence[Pattern]
    ) -> tuple[list[list[str]], set[int], set[int]]:
        """Give descriptors to the nearest entities of a clause.

        Returns:
            The descriptors of each pattern, which ones are negated, and which of these because they
            were on an earlier ECG.
        """
        gaps = reading.gaps
        given: list[list[str]] = [[] for _ in patterns]
        negated: set[int] = set()
        earlier: set[int] = set()
        targets = [bool(pattern.entities) for pattern in patterns]
        marks = [_marks(gap) for gap in gaps]
        ends = [i for i in range(1, len(patterns)) if marks[i].ends_clause]
        around = _neighbours(targets, [*ends, len(patterns)])
        set_off = counts([mark.sets_off for mark in marks])
        first_of_clause = frozenset(ends)
        starts_clause = [i in first_of_clause for i in range(len(patterns))]
        commas = counts([mark.has_comma for mark in marks])
        has_dependents = not self._dependent.isdisjoint(reading.patterns)
        scope = Scope(self._certainty, has_dependents, patterns, gaps, starts_clause, commas)
        for i, (pattern, (left, right)) in enumerate(zip(patterns, around, strict=True)):
            if pattern.kind == ENTITY:
                continue
            if pattern.kind == CONNECTIVE:
                # It joins what stands next to it: in "LVH, drug effect or infarct" not LVH.
                if left is not None and not self._stands_apart(reading, i):
                    given[left] += pattern.left
                if pattern.right and right is not None and scope.is_in_phrase(i, right):
                    given[right] += pattern.right
                continue
            negates = self._negates[reading.patterns[i]]
            doubts = self._doubts[reading.patterns[i]]
            if pattern.kind == AFTER and (negates or doubts) and scope.has_own_subject(i, left):
                continue
            if negates and self._semantics.negation == "clause":
                reached = scope.reached(i, left, right)
                negated |= reached
                if self._certainty.is_of_earlier(pattern):
                    earlier |= reached
                continue
            if (
                self._semantics.trailing_descriptors
                and pattern.kind == BEFORE
                and not negates
                and right is None
                and left is not None
                and set_off[i + 1] > set_off[left + 1]
                and scope.can_trail(i, left)
            ):
                given[left] += pattern.descriptors
                continue
            _give(given, pattern, left, right)
            if self._semantics.shared_certainty and doubts:
                reached = scope.reached(i, left, right)
                for other in sorted(reached - {left if pattern.kind == AFTER else right}):
                    given[other] += pattern.descriptors
        return given, negated, earlier

    def _stands_apart(self, reading: Reading, i: int) -> bool:
        """Return whether words, or a pattern that is no finding, stand before a connective."""
        before = self._patterns[reading.patterns[i - 1]]
        is_none = before.kind == ENTITY and not before.entities
        return is_none or _WORD.search(reading.gaps[i]) is not None


def _neighbours(
    targets: Sequence[bool], ends: Sequence[int]
) -> list[tuple[int | None, int | None]]:
    """Return for each position the nearest target on either side, within its range.

    Args:
        targets: whether a position is one.
        ends: of the ranges, in their order, the last one included.
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


def _without_earlier(mentions: list[Mentioned], earlier: set[int]) -> list[Mentioned]:
    """Leave out what an earlier ECG had if this one has it too: it is not absent."""
    present = {mention.entity for mention in mentions if not mention.negated}
    return [
        mention
        for mention in mentions
        if mention.pattern not in earlier or mention.entity not in present
    ]


class _Marks(NamedTuple):
    """The punctuation of a gap: it ends a clause, sets off what follows, has a comma."""

    ends_clause: bool
    sets_off: bool
    has_comma: bool


# Most gaps are one of a few: a blank, a comma, a semicolon.
@lru_cache(maxsize=2000)
def _marks(gap: str) -> _Marks:
    return _Marks(_CLAUSE_END.search(gap) is not None, _SET_OFF.search(gap) is not None, "," in gap)


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
