"""From the text of a report to the patterns in it.

Reports are made of statements that recur. A statement is rewritten and searched once, with ``;`` in
the place of its neighbours: no rule and no pattern looks farther, but for cutting a report off,
which is done before, and lists of leads, for which a report that has several is read as a whole.
"""

import re
from collections.abc import Callable
from typing import NamedTuple

from fairseq_ecg.labeler.phrases import BLANK, Phrases, take_out
from fairseq_ecg.labeler.rewriting import STATEMENT_END, Rewriter, Rule
from fairseq_ecg.labeler.terms import CONNECTIVE, ENTITY, Pattern, Vocabulary

_END = STATEMENT_END[0]

# Statements of machines recur, those of people need not: the memory that they take is bounded.
_REMEMBERED = 200_000


class Reading(NamedTuple):
    """A text, rewritten, and the patterns in it.

    Attributes:
        text: rewritten.
        patterns: positions in the vocabulary, in the order of the text.
        gaps: text before, between and behind them.
        met: rules that depend on other statements.
    """

    text: str
    patterns: tuple[int, ...]
    gaps: tuple[str, ...]
    met: frozenset[Rule] = frozenset()

    @property
    def unmatched(self) -> str:
        """The text without its patterns."""
        return "".join(self.gaps)

    @property
    def stripped(self) -> str:
        """Letters, digits and blanks of ``unmatched``."""
        return re.sub(r"[^\w\s]|_", "", self.unmatched).strip()


class Reader:
    """Reads reports.

    Args:
        vocabulary: whose rules rewrite them and whose patterns are looked for.
        touching: patterns may touch each other at the border of a word.
        is_foreign: whether a word is another language's; see ``Rewriter``.
    """

    def __init__(
        self,
        vocabulary: Vocabulary,
        touching: bool,
        is_foreign: Callable[[str], bool] | None = None,
    ):
        self._touching = touching
        self._rewriter = Rewriter(vocabulary.rewriting, is_foreign)
        patterns = vocabulary.patterns
        self._order = sorted(range(len(patterns)), key=lambda i: _rank(patterns[i]))
        self._phrases = Phrases([patterns[i].text for i in self._order])
        self._remembered: dict[str, Reading] = {}

    def read(self, report: str) -> Reading:
        """Read a report, statement by statement.

        Args:
            report: any text.

        Returns:
            The same as of the report taken as a whole, faster: most statements recur.
        """
        report = self._cut(report)
        statements = report.split(STATEMENT_END)
        if len(statements) == 1:
            return self._statement(report)
        last = len(statements) - 1
        readings = []
        met: set[Rule] = set()
        for i, statement in enumerate(statements):
            before = STATEMENT_END if i else ""
            reading = self._statement(before + statement + (_END if i < last else ""))
            if reading.met:
                if not met.isdisjoint(reading.met):
                    return self._search(report)
                met |= reading.met
            readings.append(reading)
        return _joined(readings)

    def statements(self, report: str) -> list[str]:
        """Return the statements of a report, as they are written."""
        return [statement.strip() for statement in self._cut(report).split(STATEMENT_END)]

    def _cut(self, report: str) -> str:
        return self._rewriter.cut(report.replace(BLANK, "\ufffd"))

    def _statement(self, text: str) -> Reading:
        reading = self._remembered.get(text)
        if reading is None:
            if len(self._remembered) >= _REMEMBERED:
                self._remembered.clear()
            reading = self._remembered[text] = self._search(text)
        return reading

    def _search(self, text: str) -> Reading:
        text, met = self._rewriter.rewrite(text)
        _, found = take_out(text, self._phrases, self._touching)
        patterns, gaps, position = [], [], 0
        for start, end, i in sorted(found):
            patterns.append(self._order[i])
            gaps.append(text[position:start])
            position = end
        return Reading(text, tuple(patterns), (*gaps, text[position:]), met)


def _rank(pattern: Pattern) -> tuple[int, int]:
    """Order of the search: early descriptors, entities, descriptors, connectives; longest first."""
    if pattern.first:
        turn = 0
    elif pattern.kind == ENTITY:
        turn = 1
    else:
        turn = 3 if pattern.kind == CONNECTIVE else 2
    return turn, -len(pattern.text)


def _joined(readings: list[Reading]) -> Reading:
    """Join statements, each with the ``;`` of its neighbours at its ends."""
    text = [readings[0].text]
    patterns = [*readings[0].patterns]
    gaps = [*readings[0].gaps]
    for reading in readings[1:]:
        # The ; behind the one is the ; before the other.
        text.append(reading.text[1:])
        patterns += reading.patterns
        gaps[-1] += reading.gaps[0][1:]
        gaps += reading.gaps[1:]
    return Reading("".join(text), tuple(patterns), tuple(gaps))
