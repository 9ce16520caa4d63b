"""From the text of a report to the patterns in it.

Reports are made of statements that recur. A statement is rewritten and searched once, with ``;`` in
the place of its neighbours: no rule and no pattern looks farther, but for cutting a report off,
which is done before, and lists of leads, for which a report that has several is read as a whole.
A statement that cannot stand alone is first joined to its neighbour.
"""

import re
from collections.abc import Callable
from typing import NamedTuple

from fairseq_ecg.labeler.fragments import Fragments, Wrapping
from fairseq_ecg.labeler.memory import Memory
from fairseq_ecg.labeler.phrases import BLANK, Phrases, take_out
from fairseq_ecg.labeler.rewriting import STATEMENT_END, Rewriter, Rule
from fairseq_ecg.labeler.semantics import Semantics
from fairseq_ecg.labeler.terms import CONNECTIVE, ENTITY, Pattern, Vocabulary

_END = STATEMENT_END[0]

# Of endless fragments, which no report has, so many are joined.
_JOINED = 12

_LOWER_CASE_LINE = re.compile(f"{STATEMENT_END}[a-z]")


class Reading(NamedTuple):
    """A text, rewritten, and the patterns in it.

    Attributes:
        text: rewritten.
        patterns: positions in the vocabulary, in the order of the text.
        gaps: text before, between and behind them.
        met: rules that depend on other statements.
        goes_on: it needs what follows it.
        continues: it needs what precedes it.
        is_fragment: it needs a neighbour, or may be the rest of one, as it begins in lower case.
        is_special: it is a fragment, or has rules that depend on other statements.
    """

    text: str
    patterns: tuple[int, ...]
    gaps: tuple[str, ...]
    met: frozenset[Rule] = frozenset()
    goes_on: bool = False
    continues: bool = False
    is_fragment: bool = False
    is_special: bool = False

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
        semantics: whether patterns may touch, and whether fragments are joined.
        is_foreign: whether a word is another language's; see ``Rewriter``.
    """

    def __init__(
        self,
        vocabulary: Vocabulary,
        semantics: Semantics,
        is_foreign: Callable[[str], bool] | None = None,
    ):
        self._touching = semantics.touching
        self._fragments = Fragments(vocabulary) if semantics.fragments else None
        self._rewriter = Rewriter(vocabulary.rewriting, is_foreign)
        patterns = vocabulary.patterns
        self._order = sorted(range(len(patterns)), key=lambda i: _rank(patterns[i]))
        self._patterns = patterns
        self._phrases = Phrases([patterns[i].text for i in self._order])
        self._remembered: Memory[Reading] = Memory()
        # Of a report that was read, the statements are often asked for next.
        self._latest: tuple[str, list[str]] = ("", [""])

    def read(self, report: str) -> Reading:
        """Read a report, statement by statement.

        Args:
            report: any text.

        Returns:
            The same as of the report taken as a whole, faster: most statements recur.
        """
        statements = self._cut(report).split(STATEMENT_END)
        readings, special = self._apart(statements)
        if special and any(reading.is_fragment for reading in readings):
            statements, readings = self._with_fragments(statements, readings)
        self._latest = report, statements
        if special and len(readings) > 1:
            met = [rule for reading in readings for rule in reading.met]
            if len(set(met)) < len(met):
                return self._search(STATEMENT_END.join(statements))
        return _joined(readings) if len(readings) > 1 else readings[0]

    def statements(self, report: str) -> list[str]:
        """Return the statements of a report as they are written, fragments joined."""
        if self._latest[0] != report:
            self.read(report)
        return [statement.strip() for statement in self._latest[1]]

    def _apart(self, statements: list[str]) -> tuple[list[Reading], bool]:
        """Read statements one by one, with the ends of their neighbours; is any one special?"""
        last = len(statements) - 1
        readings, special = [], False
        for i, statement in enumerate(statements):
            before = STATEMENT_END if i else ""
            reading = self._statement(before + statement + (_END if i < last else ""))
            readings.append(reading)
            if reading.is_special:
                special = True
        return readings, special

    def _with_fragments(
        self, statements: list[str], readings: list[Reading]
    ) -> tuple[list[str], list[Reading]]:
        """Join what cannot stand alone to its neighbour."""
        wrapping = Wrapping(statements)
        joined, found = [statements[0]], [readings[0]]
        fragments = 1
        for i in range(1, len(statements)):
            if fragments < _JOINED and (
                found[-1].goes_on
                or readings[i].continues
                or self._is_wrapped(joined[-1], found[-1], readings[i], wrapping, i)
            ):
                fragments += 1
                joined[-1] = f"{joined[-1].rstrip(_END)} {statements[i]}"
                before = STATEMENT_END if len(joined) > 1 else ""
                end = _END if i < len(statements) - 1 else ""
                found[-1] = self._statement(before + joined[-1] + end)
            else:
                fragments = 1
                joined.append(statements[i])
                found.append(readings[i])
        return joined, found

    def _is_wrapped(
        self, before: str, first: Reading, second: Reading, wrapping: Wrapping, i: int
    ) -> bool:
        """Return whether a line continues the one before.

        It may by its case. It does if the one before ends in a descriptor of what follows, if
        another thing is found where they meet, as in "left bundle" and "branch block", or, unless
        it states something by itself, if the one before ends in a comma or other lines begin in a
        capital. Nothing is lost by that, as it would be behind "confirmed by".

        Args:
            before: the one before, with what is joined to it.
            first: the same, read.
            second: the line, read.
            wrapping: of the report.
            i: position of the line.
        """
        if self._fragments is None or not wrapping.may_continue(i):
            return False
        patterns = [self._patterns[k] for k in first.patterns]
        rest = wrapping.rest(i)
        if self._fragments.qualifies(patterns, first.gaps) or self._fragments.begins_within(rest):
            return True
        together = set(self._statement(f"{before} {rest}").patterns)
        apart = {*first.patterns, *self._statement(rest).patterns}
        if together - apart:
            return True
        if self._fragments.states([self._patterns[k] for k in second.patterns]):
            return False
        return apart <= together and (wrapping.is_sure or before.rstrip().endswith(","))

    def _cut(self, report: str) -> str:
        return self._rewriter.cut(report.replace(BLANK, "\ufffd"))

    def _statement(self, text: str) -> Reading:
        reading = self._remembered.get(text)
        if reading is None:
            reading = self._remembered.remember(text, self._search(text))
        return reading

    def _search(self, text: str) -> Reading:
        in_lower_case = self._fragments is not None and bool(_LOWER_CASE_LINE.match(text))
        text, met = self._rewriter.rewrite(text)
        _, found = take_out(text, self._phrases, self._touching)
        patterns, gaps, position = [], [], 0
        for start, end, i in sorted(found):
            patterns.append(self._order[i])
            gaps.append(text[position:start])
            position = end
        gaps.append(text[position:])
        goes_on = continues = False
        if self._fragments is not None:
            found_patterns = [self._patterns[i] for i in patterns]
            goes_on = self._fragments.goes_on(found_patterns, gaps)
            continues = self._fragments.continues(found_patterns, gaps)
        fragment = goes_on or continues or in_lower_case
        return Reading(
            text,
            tuple(patterns),
            tuple(gaps),
            met,
            goes_on,
            continues,
            fragment,
            fragment or bool(met),
        )


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
