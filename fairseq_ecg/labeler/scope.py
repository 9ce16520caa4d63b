"""How far doubt and denial reach: along lists, to what comes with a finding, into brackets."""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import accumulate

from fairseq_ecg.labeler.terms import AFTER, BEFORE, CONNECTIVE, Entity, Pattern, Vocabulary

_WORD = re.compile(r"\w")
_PHRASE_END = re.compile(r"[,;\n]|[.!](?:\s|$)")
_SEPARATORS = re.compile(r"[\s,/()]*")
_TO_SEPARATOR = re.compile(r".*(?:[,:]| - )", re.DOTALL)
_OPENED = re.compile(r"\s*\(\s*")
_COMMA = re.compile(r"\s*,\s*")
# Words that are not understood: another finding, or an adjective of the next one.
_FEW_WORDS = re.compile(r"[\s,/]*(?:\w[\w':-]*[\s,/]+){0,3}")
_ONE_ITEM = re.compile(r"\s*[\w'-]+(?:\s+[\w'-]+)?\s*,\s*")
_COMMA_AND_WORDS = re.compile(
    r"\s*(?:[\w':-]+(?:\s+[\w':-]+)?\s*)?,\s*(?:[\w'-]+(?:\s+[\w'-]+)?\s*,\s*){0,2}(?:[\w'-]+\s+){0,2}"
)
_END_OF_ITEM = re.compile(r"\s*[,;/.)]")
# Of so many gaps at most, so that endless repetitions take no time.
_SUBJECT = 4
_END_OF_LIST = re.compile(r"\s*(?:[\w'-]+\s*)?(?:$|[;.])")


class Certainty:
    """What a vocabulary says of doubt and denial.

    Args:
        vocabulary: with its descriptors, and with ``terms.Listing``.
    """

    def __init__(self, vocabulary: Vocabulary):
        entities, listing = vocabulary.entities, vocabulary.listing
        descriptors = vocabulary.descriptors.values()
        self._negating = frozenset(item.name for item in descriptors if item.negates)
        self._of_phrase = frozenset(item.name for item in descriptors if item.of_phrase)
        self._earlier = frozenset(item.name for item in descriptors if item.earlier)
        self._uncertain = frozenset(
            item.name for item in descriptors if item.probability is not None
        )
        self._generic = frozenset(
            entity.name for entity in entities.values() if entity.requires_descriptors
        )
        self._stated = _kinds(listing.stated, entities)
        self._denied = [_kinds(group, entities) for group in listing.denied]
        self._doubted = [_kinds(group, entities) for group in listing.doubted]
        self._dependent = _kinds(listing.dependent, entities) - _kinds(
            listing.independent, entities
        )

    def negates(self, pattern: Pattern) -> bool:
        """Return whether it says that an entity is absent."""
        return not self._negating.isdisjoint(pattern.descriptors)

    def is_uncertain(self, pattern: Pattern) -> bool:
        """Return whether it says how certain an entity is."""
        return not self._uncertain.isdisjoint(pattern.descriptors)

    def is_of_phrase(self, pattern: Pattern) -> bool:
        """Return whether it is said of all that is named."""
        return not self._of_phrase.isdisjoint(pattern.descriptors)

    def is_of_earlier(self, pattern: Pattern) -> bool:
        """Return whether it is said of an earlier ECG."""
        return not self._earlier.isdisjoint(pattern.descriptors)

    def names_alternatives(self, pattern: Pattern) -> bool:
        """Return whether it stands between two of which one holds, as "or"."""
        return not self._uncertain.isdisjoint(pattern.left)

    def is_generic(self, pattern: Pattern) -> bool:
        """Return whether it is no finding by itself, as "ECG" in "no ECG evidence of infarct"."""
        return all(mention.entity in self._generic for mention in pattern.entities)

    def is_stated(self, pattern: Pattern) -> bool:
        """Return whether it is stated rather than denied behind a comma."""
        return _mentions(pattern, self._stated)

    def is_dependent(self, pattern: Pattern) -> bool:
        """Return whether it is not there without what it comes with."""
        return _mentions(pattern, self._dependent)

    def are_alike(self, first: Pattern, other: Pattern, denied: bool) -> bool:
        """Return whether commas alone deny, or else doubt, both together."""
        groups = self._denied if denied else self._doubted
        return any(_mentions(first, group) and _mentions(other, group) for group in groups)


def _mentions(pattern: Pattern, names: frozenset[str]) -> bool:
    return any(mention.entity in names for mention in pattern.entities)


def _kinds(names: Iterable[str], entities: Mapping[str, Entity]) -> frozenset[str]:
    """Return entities and their kinds, without those that an overlay has removed."""
    found = {name for name in names if name in entities}
    number = -1
    while len(found) > number:
        number = len(found)
        found |= {name for name, entity in entities.items() if not found.isdisjoint(entity.parents)}
    return frozenset(found)


def counts(flags: Iterable[bool]) -> list[int]:
    """Return how many flags are set before each position and before the end."""
    return list(accumulate(flags, initial=0))


class Scope:
    """The entities of a report that its doubts and denials are said of.

    Args:
        certainty: of the vocabulary.
        has_dependents: whether the report has anything that is not there without something else.
        patterns: of the report.
        gaps: text before, between and behind them.
        starts_clause: whether a pattern is the first of its clause.
        commas: how many gaps have a comma before each gap, and before the end.
    """

    def __init__(
        self,
        certainty: Certainty,
        has_dependents: bool,
        patterns: Sequence[Pattern],
        gaps: Sequence[str],
        starts_clause: Sequence[bool],
        commas: Sequence[int],
    ):
        self._certainty = certainty
        self._has_dependents = has_dependents
        self._patterns = patterns
        self._gaps = gaps
        self._starts_clause = starts_clause
        self._commas = commas
        self._choices: list[int] = []
        self._governing: list[int] = []
        self._words_follow: list[bool] = []
        self._said: set[tuple] = set()
        self._company: dict[int, list[int]] = {}

    def is_in_phrase(self, i: int, right: int) -> bool:
        """Return whether no comma stands between a pattern and a later one."""
        return self._commas[right + 1] == self._commas[i + 1]

    def has_own_subject(self, i: int, left: int | None) -> bool:
        """Return whether an ``AFTER`` is said of words that are not understood, not of an entity.

        In "atrial pacing, other complexes not detected" these are set off from the entity.

        Args:
            i: its position.
            left: that of the entity before it.
        """
        if left is None:
            return False
        words = False
        for j in range(i, max(left, i - _SUBJECT), -1):
            separated = _TO_SEPARATOR.match(self._gaps[j])
            tail = self._gaps[j][separated.end() :] if separated else self._gaps[j]
            words |= _WORD.search(tail) is not None
            if separated:
                return words
        return False

    def can_trail(self, i: int, left: int) -> bool:
        """Return whether a ``BEFORE`` may be said of an earlier entity, as in "infarct, old".

        Args:
            i: its position.
            left: that of the entity.
        """
        if not self._governing:
            self._governing = self._counts(self._governs)
            self._words_follow = _words_follow(self._gaps)
        if self._governing[i + 1] > self._governing[left + 1]:
            return False
        return not (self._certainty.is_uncertain(self._patterns[i]) and self._words_follow[i])

    def _governs(self, pattern: Pattern) -> bool:
        """Return whether it is said of nothing but what follows it."""
        return pattern.needs_object or (pattern.kind == BEFORE and self._certainty.negates(pattern))

    def _is_chosen(self, i: int, right: int) -> bool:
        """Return whether "versus" stands between: "without capture versus artifact"."""
        if right == i + 1:
            return False
        if not self._choices:
            self._choices = self._counts(lambda pattern: pattern.left and not pattern.coordinates)
        return self._choices[right] > self._choices[i]

    def _counts(self, holds: Callable[[Pattern], object]) -> list[int]:
        """Return of how many patterns something holds before each, and before the end."""
        return counts(bool(holds(pattern)) for pattern in self._patterns)

    def reached(self, i: int, left: int | None, right: int | None) -> set[int]:
        """Return the entities that a descriptor is said of, of which one is next to it.

        Said again of the same list, it reaches nothing more: endless repetitions take no time.

        Args:
            i: position of the descriptor.
            left: of the nearest entity before it in the clause.
            right: of the nearest one behind it.
        """
        pattern = self._patterns[i]
        nearest = left if pattern.kind == AFTER else right
        # What stands in brackets is one, whatever the number of the verb.
        of_all = pattern.of_all or (pattern.kind == AFTER and ")" in self._gaps[i])
        said = pattern.kind, of_all, pattern.descriptors, pattern.needs_object, nearest
        if nearest is None or said in self._said:
            return set()
        if pattern.kind == AFTER:
            self._said.add(said)
            return self._behind(nearest, pattern, of_all)
        denied = self._certainty.negates(pattern)
        second = not self.is_in_phrase(i, nearest)
        if second and not (denied and self._is_one_item(i, nearest)):
            return set()
        if denied and self._is_chosen(i, nearest):
            return set()
        self._said.add(said)
        found = self._listed_from(nearest, pattern)
        if second and not self._has_alternatives(found):
            return set()
        return found.union(*map(self._dependents, found)) if self._has_dependents else found

    def _behind(self, nearest: int, pattern: Pattern, of_all: bool) -> set[int]:
        """Return what an ``AFTER`` is said of."""
        denied = self._certainty.negates(pattern)
        whole = self._certainty.is_of_phrase(pattern)
        found = self._listed_before(nearest, whole) if of_all or whole else {nearest}
        if not self._has_dependents:
            return found
        return found.union(*(self._hosts(j, denied) for j in found))

    def _is_one_item(self, i: int, nearest: int) -> bool:
        """Return whether nothing but an item that is not understood stands between."""
        return nearest == i + 1 and _ONE_ITEM.fullmatch(self._gaps[nearest]) is not None

    def _has_alternatives(self, found: set[int]) -> bool:
        between = self._patterns[min(found) : max(found)]
        return any(map(self._certainty.names_alternatives, between))

    def _dependents(self, i: int) -> list[int]:
        """Return what comes "with" an entity and is not there without it, or stands in brackets."""
        if i not in self._company:
            self._company[i] = found = []
            j = self._over_with(i, 1)
            while j is not None and self._certainty.is_dependent(self._patterns[j]):
                found.append(j)
                j = self._over_with(j, 1)
        return self._company[i]

    def _hosts(self, i: int, denied: bool) -> list[int]:
        """Return what an entity depends on, as far as what is said of the one is of the other.

        That a block is gone says nothing of the flutter that it came with.
        """
        found = []
        while self._certainty.is_dependent(self._patterns[i]):
            host = self._over_with(i, -1)
            if (
                host is None
                or self._certainty.is_stated(self._patterns[host])
                or (denied and not _OPENED.fullmatch(self._gaps[i]))
            ):
                break
            found.append(host)
            i = host
        return found

    def _over_with(self, i: int, step: int) -> int | None:
        """Return the next entity in a direction, over "with" and descriptors or an open bracket."""
        end = len(self._patterns) if step > 0 else -1
        if i + step == end or self._starts_clause[i + max(step, 0)]:
            return None
        accompanied = _OPENED.fullmatch(self._gaps[i + max(step, 0)]) is not None
        for j in range(i + step, end, step):
            pattern, gap = self._patterns[j], j if step > 0 else j + 1
            if self._starts_clause[gap] or not _SEPARATORS.fullmatch(self._gaps[gap]):
                return None
            if pattern.entities:
                return j if accompanied else None
            if self._certainty.is_uncertain(pattern) or self._certainty.negates(pattern):
                return None
            if pattern.kind == CONNECTIVE and not pattern.accompanies:
                return None
            accompanied |= pattern.accompanies
        return None

    def _listed_from(self, first: int, said: Pattern) -> set[int]:
        """Return the first entity that something is said of, and those listed behind it.

        A list is made of commas, slashes and connectives that coordinate, with one of the latter:
        in "no ischemia, injury or infarct" all are denied. Commas alone list what is alike: in "no
        infarct, sinus rhythm" one is denied. Doubt ends before another descriptor of certainty, and
        at commas, but in a list of alternatives: in "possible infarct, and left axis deviation" the
        axis is certain.

        Args:
            first: position of the first entity.
            said: the descriptor.
        """
        patterns, gaps, certainty = self._patterns, self._gaps, self._certainty
        denied = certainty.negates(said)
        governed = denied or said.needs_object
        whole = certainty.is_of_phrase(said)
        found, pending, last = {first}, [], first
        coordinated = certainty.is_generic(patterns[first])
        comma = alternatives = closed = False
        for j in range(first + 1, len(patterns)):
            if self._starts_clause[j]:
                break
            pattern, gap = patterns[j], gaps[j]
            alike = governed and certainty.are_alike(patterns[first], pattern, denied)
            added = alike and not closed and self._is_added(last, j, first, denied)
            words = added or (governed and self._is_beside_coordination(j, said))
            if (
                not (_FEW_WORDS if words else _SEPARATORS).fullmatch(gap)
                or self._ends_list(pattern, whole, denied)
                or (certainty.is_uncertain(pattern) and not (denied and coordinated))
            ):
                break
            opened = j - 1 == last and _OPENED.fullmatch(gap) is not None
            comma |= "," in gap
            coordinated |= pattern.kind == CONNECTIVE or "/" in gap or opened
            alternatives |= certainty.names_alternatives(pattern)
            if alternatives and governed:  # also where the last one is not understood
                found.update(pending)
                pending.clear()
            if not pattern.entities:
                continue
            if denied and (comma or opened) and certainty.is_stated(pattern):
                break
            if coordinated and comma and not (denied or alternatives or alike):
                break
            pending.append(j)
            if coordinated or added:
                found.update(pending)
                pending.clear()
            if coordinated:
                comma = alternatives = False
                closed = True  # in "no infarct or ischemia, LVH" it is there
            coordinated, last = False, j
        return found

    def _is_added(self, last: int, j: int, first: int, denied: bool) -> bool:
        """Return whether a comma alone adds an entity to what is denied, or doubted, before it.

        What is denied stands bare: in "no infarct, ST elevation in V2" the ST elevation is there.
        """
        if not denied:
            return _COMMA_AND_WORDS.fullmatch(self._gaps[last + 1]) is not None
        if last != j - 1 or not _COMMA.fullmatch(self._gaps[j]):
            return False
        gap, behind = self._gaps[j + 1], self._patterns[j + 1 : j + 2]
        if behind and behind[0].coordinates:
            return _SEPARATORS.fullmatch(gap) is not None
        ended = not behind or self._starts_clause[j + 1]
        plain = _END_OF_LIST if last > first and ended else _END_OF_ITEM
        return plain.match(gap) is not None or (ended and not gap.strip())

    def _is_beside_coordination(self, j: int, said: Pattern) -> bool:
        """Return whether the text before a pattern is an item of a list, if of unknown words."""
        before, pattern = self._patterns[j - 1], self._patterns[j]
        if pattern.coordinates and (bool(pattern.left) or said.needs_object):
            return True
        return before.coordinates and bool(before.left)

    def _listed_before(self, last: int, whole: bool) -> set[int]:
        """Return the last entity of a list and those before it, see ``_listed_from``."""
        patterns, gaps = self._patterns, self._gaps
        found = {last}
        coordinated = False
        for j in range(last, 0, -1):
            pattern, gap = patterns[j - 1], gaps[j]
            if (
                self._starts_clause[j]
                or not _SEPARATORS.fullmatch(gap)
                or self._ends_list(pattern, whole, denied=True)
                or "(" in gap
            ):
                break
            coordinated |= pattern.kind == CONNECTIVE or "/" in gap
            if pattern.entities:
                if not coordinated:
                    break
                found.add(j - 1)
        return found

    def _ends_list(self, pattern: Pattern, whole: bool, denied: bool) -> bool:
        """Return whether a list ends at a pattern.

        Args:
            pattern: of the report.
            whole: the list is all that is named, what comes "with" it included.
            denied: it is denied, not doubted, as both of what stands around "versus" are.
        """
        goes_on = (
            pattern.coordinates
            or (whole and pattern.accompanies)
            or (not denied and self._certainty.names_alternatives(pattern))
        )
        return (pattern.kind == CONNECTIVE and not goes_on) or self._certainty.negates(pattern)


def _words_follow(gaps: Sequence[str]) -> list[bool]:
    """Return whether a word that is not understood follows each pattern before the next comma."""
    follow, found = False, []
    for gap in reversed(gaps[1:]):
        end = _PHRASE_END.search(gap)
        within = gap[: end.start()] if end else gap
        follow = bool(_WORD.search(within)) or (follow and end is None)
        found.append(follow)
    return found[::-1]
