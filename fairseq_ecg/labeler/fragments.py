"""Statements that cannot stand alone: a line end or semicolon has come between parts of one."""

import re
from collections.abc import Sequence

from fairseq_ecg.labeler.rewriting import STATEMENT_END
from fairseq_ecg.labeler.scope import Certainty
from fairseq_ecg.labeler.terms import AFTER, BEFORE, CONNECTIVE, Pattern, Vocabulary

_WORD = re.compile(r"\w")
_WORD_OR_END = re.compile(r"[\w.!]")
_LOWER_CASE = re.compile(r"[a-z]")
_SENTENCE = re.compile(r"(?:^|(?<=; )|(?<=[.!] ))[A-Z][a-z]")
_SENTENCE_END = (".", "!", "?", ":")


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
        self._certainty = Certainty(vocabulary)

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

    def states(self, patterns: Sequence[Pattern]) -> bool:
        """Return whether a statement begins with what is stated by itself, as "normal ECG"."""
        return bool(patterns) and self._certainty.is_stated(patterns[0])


class Wrapping:
    """Knows which lines of a report continue the one before, as a printer has wrapped them.

    Such a line begins in lower case, in a report that begins otherwise. In a report that is in
    lower case, or in capitals, nothing is known.

    Args:
        statements: of the report, as they are written.
    """

    def __init__(self, statements: Sequence[str]):
        first = statements[0]
        self._mixed = not _LOWER_CASE.match(first) and bool(_LOWER_CASE.search(first))
        self.is_sure = self._mixed and len(_SENTENCE.findall(STATEMENT_END.join(statements))) > 1
        """Whether other lines or sentences begin in a capital."""

    def may_continue(self, before: str, statement: str) -> bool:
        """Return whether a line may continue the one before.

        Args:
            before: that one.
            statement: the line.
        """
        return (
            self._mixed
            and _LOWER_CASE.match(statement) is not None
            and not before.endswith(_SENTENCE_END)
        )
