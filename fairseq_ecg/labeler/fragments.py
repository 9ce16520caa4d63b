"""Statements that cannot stand alone: a line end or semicolon has come between parts of one."""

import re
from collections.abc import Sequence

from fairseq_ecg.labeler.terms import AFTER, BEFORE, CONNECTIVE, Pattern, Vocabulary

_WORD = re.compile(r"\w")
_WORD_OR_END = re.compile(r"[\w.!]")


class Fragments:
    """Knows what cannot stand alone by the patterns in it.

    Args:
        vocabulary: with the patterns.
    """

    def __init__(self, vocabulary: Vocabulary):
        descriptors = vocabulary.descriptors.values()
        self._negating = frozenset(item.name for item in descriptors if item.negates)
        self._uncertain = frozenset(
            item.name for item in descriptors if item.probability is not None
        )

    def goes_on(self, patterns: Sequence[Pattern], gaps: Sequence[str]) -> bool:
        """Return whether a statement needs what follows it, as "cannot rule out" and "due to".

        So does a doubt that stands alone, as "possible"; behind an entity it may be said of that.

        Args:
            patterns: of the statement.
            gaps: text before, between and behind them.
        """
        doubted = False
        for i in range(len(patterns) - 1, -1, -1):
            pattern = patterns[i]
            if _WORD_OR_END.search(gaps[i + 1]):
                return False
            if pattern.kind == CONNECTIVE:
                return True
            if pattern.kind != BEFORE:
                return False
            if pattern.needs_object or not self._negating.isdisjoint(pattern.descriptors):
                return True
            doubted |= not self._uncertain.isdisjoint(pattern.descriptors)
        return doubted and not _WORD.search(gaps[0])

    def continues(self, patterns: Sequence[Pattern], gaps: Sequence[str]) -> bool:
        """Return whether a statement needs what precedes it, as "or" and "cannot be excluded"."""
        if not patterns or _WORD.search(gaps[0]):
            return False
        first = patterns[0].kind
        return first == CONNECTIVE or (
            first == AFTER and not any(pattern.entities for pattern in patterns)
        )
