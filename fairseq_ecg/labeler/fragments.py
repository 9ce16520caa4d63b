"""Statements that cannot stand alone: a line end or semicolon has come between parts of one."""

import re
from collections.abc import Sequence
from functools import cached_property

from fairseq_ecg.labeler.rewriting import STATEMENT_END
from fairseq_ecg.labeler.scope import Certainty
from fairseq_ecg.labeler.terms import AFTER, BEFORE, CONNECTIVE, Pattern, Vocabulary

_WORD = re.compile(r"\w")
_WORD_OR_END = re.compile(r"[\w.!]")
_SEPARATOR = re.compile(r"[,.:;]")
_LOWER_CASE = re.compile(r"[a-z]")
_SENTENCE = re.compile(r"(?:^|(?<=; )|(?<=[.!] ))[A-Z][a-z]")
# Lines that are looked at to find out whether they are one, so that endless ones take no time.
_AHEAD = 4
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
        self._unfinished = frozenset(vocabulary.listing.unfinished)

    def goes_on(self, patterns: Sequence[Pattern], gaps: Sequence[str]) -> bool:
        """Return whether a statement needs what follows it, as "cannot rule out" and "due to".

        So does a doubt that stands alone, as "possible"; behind an entity it may be said of that.

        Args:
            patterns: of the statement.
            gaps: text before, between and behind them.
        """
        if gaps[-1].rstrip(" ;").rpartition(" ")[2] in self._unfinished:
            return True
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

    def begins_within(self, line: str) -> bool:
        """Return whether a line begins in a word that no statement begins in, as "of"."""
        return line.partition(" ")[0] in self._unfinished

    def qualifies(self, patterns: Sequence[Pattern], gaps: Sequence[str]) -> bool:
        """Return whether a statement ends in what qualifies an entity behind it, as "acute".

        An age behind a comma qualifies what precedes it: "infarct, old". Words may follow what
        needs an object, as in "no evidence of chamber".
        """
        if not patterns or patterns[-1].kind != BEFORE:
            return False
        last = patterns[-1]
        negates, doubts = self._certainty.negates(last), self._certainty.is_uncertain(last)
        if _WORD.search(gaps[-1]):
            governs = last.needs_object or (negates and " " in last.text)
            return governs and not _SEPARATOR.search(gaps[-1].rstrip(" ;"))
        return negates or doubts or "," not in gaps[-2]

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
        self._statements = statements

    @cached_property
    def is_sure(self) -> bool:
        """Whether other lines or sentences begin in a capital."""
        return self._mixed and len(_SENTENCE.findall(STATEMENT_END.join(self._statements))) > 1

    def may_continue(self, i: int) -> bool:
        """Return whether a line may continue the one before.

        Args:
            i: its position in the report.
        """
        return (
            self._mixed
            and _LOWER_CASE.match(self._statements[i]) is not None
            and not self._statements[i - 1].endswith(_SENTENCE_END)
        )

    def rest(self, i: int) -> str:
        """Return a line with those that may continue it, a few at most."""
        end = i + 1
        while end < min(i + _AHEAD, len(self._statements)) and self.may_continue(end):
            end += 1
        return " ".join(self._statements[i:end])
