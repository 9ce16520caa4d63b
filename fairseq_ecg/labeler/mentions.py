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


class _Lists(NamedTuple):
    """Lists of entities in a report.

    Attributes:
        patterns: of the report.
        gaps: text before each.
        starts_clause: whether it is the first of its clause.
        said: which descriptors have been said of which list.
    """

    patterns: Sequence[Pattern]
    gaps: Sequence[str]
    starts_clause: Sequence[bool]
    said: set[tuple]


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
        first_of_clause = frozenset(ends)
        starts_clause = [i in first_of_clause for i in range(len(patterns))]
        lists = _Lists(patterns, gaps, starts_clause, set())
        for i, (pattern, (left, right)) in enumerate(zip(patterns, around, strict=True)):
            same_phrase = right is not None and commas[right + 1] == commas[i + 1]
            if pattern.kind == CONNECTIVE:
                # It joins what stands next to it: in "LVH, drug effect or infarct" not LVH.
                near_left = None if _WORD.search(gaps[i]) else left
                _give(given, pattern, near_left, right if same_phrase else None)
                continue
            negates = not self._negating.isdisjoint(pattern.descriptors)
            doubts = not negates and not self._uncertain.isdisjoint(pattern.descriptors)
            if negates and self._semantics.negation == "clause":
                negated |= self._reached(lists, pattern, left, right if same_phrase else None)
                continue
            if (
                self._semantics.trailing_descriptors
                and pattern.kind == BEFORE
                and not negates
                and right is None
                and left is not None
                and set_off[i + 1] > set_off[left + 1]
                and not (doubts and _WORD.search(gaps[i + 1]))
            ):
                given[left] += pattern.descriptors
                continue
            _give(given, pattern, left, right)
            if doubts and self._semantics.shared_certainty:
                reached = self._reached(lists, pattern, left, right if same_phrase else None)
                for other in sorted(reached - {left if pattern.kind == AFTER else right}):
                    given[other] += pattern.descriptors
        return given, negated

    def _reached(
        self, lists: _Lists, pattern: Pattern, left: int | None, right: int | None
    ) -> set[int]:
        """Return the entities that a descriptor is said of, of which one is next to it.

        Said again of the same list, it reaches nothing more: endless repetitions take no time.
        """
        nearest = left if pattern.kind == AFTER else right
        said = pattern.kind, pattern.of_all, pattern.descriptors, nearest
        if nearest is None or said in lists.said:
            return set()
        lists.said.add(said)
        if pattern.kind == BEFORE:
            denied = not self._negating.isdisjoint(pattern.descriptors)
            return self._listed_from(lists, nearest, denied=denied)
        return self._listed_before(lists, nearest) if pattern.of_all else {nearest}

    def _listed_from(self, lists: _Lists, first: int, *, denied: bool) -> set[int]:
        """Return the first entity that something is said of, and those listed behind it.

        A list is made of commas, slashes and connectives that coordinate, with one of the latter:
        in "no ischemia, injury or infarct" all are denied, in "no infarct, sinus rhythm" one is.

        Args:
            lists: of a report.
            first: position of the first entity.
            denied: it is denied, not doubted. Doubt ends before another descriptor of certainty,
                and at commas, but in a list of alternatives: in "possible infarct, and left axis
                deviation" the axis is certain.
        """
        patterns, gaps, starts_clause, _ = lists
        found, pending = {first}, [first]
        coordinated = self._is_generic(patterns[first])
        comma = alternatives = False
        for j in range(first + 1, len(patterns)):
            pattern = patterns[j]
            certainty = not self._uncertain.isdisjoint(pattern.descriptors)
            if (
                starts_clause[j]
                or self._ends_list(pattern, gaps[j])
                or (certainty and not (denied and coordinated))
            ):
                break
            coordinated |= pattern.kind == CONNECTIVE or "/" in gaps[j]
            comma |= "," in gaps[j]
            alternatives |= not self._uncertain.isdisjoint(pattern.left)
            if pattern.entities:
                pending.append(j)
                if coordinated:
                    if comma and not (denied or alternatives):
                        break
                    found.update(pending)
                    pending.clear()
                    comma = alternatives = False
                coordinated = False
        return found

    def _listed_before(self, lists: _Lists, last: int) -> set[int]:
        """Return the last entity of a list and those before it, see ``_listed_from``."""
        patterns, gaps, starts_clause, _ = lists
        found = {last}
        coordinated = False
        for j in range(last, 0, -1):
            pattern = patterns[j - 1]
            if starts_clause[j] or self._ends_list(pattern, gaps[j]):
                break
            coordinated |= pattern.kind == CONNECTIVE or "/" in gaps[j]
            if pattern.entities:
                if not coordinated:
                    break
                found.add(j - 1)
        return found

    def _ends_list(self, pattern: Pattern, gap: str) -> bool:
        """Return whether a list ends at a pattern with some text between it and the list."""
        return (
            not _LISTED.fullmatch(gap)
            or (pattern.kind == CONNECTIVE and not pattern.coordinates)
            or not self._negating.isdisjoint(pattern.descriptors)
        )

    def _is_generic(self, pattern: Pattern) -> bool:
        """Return whether it is no finding by itself, as "ECG" in "no ECG evidence of infarct"."""
        return all(mention.entity in self._generic for mention in pattern.entities)


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
