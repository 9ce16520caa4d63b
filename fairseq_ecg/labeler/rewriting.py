"""Rules that bring the wording of a report to the one that patterns are written in.

``README.md`` lists the rules as they stand in files.
"""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from dataclasses import replace as replace_field
from functools import cached_property, lru_cache
from itertools import product

from fairseq_ecg.labeler.phrases import Phrases, is_word, replace, take_out

compiled = lru_cache(maxsize=10_000)(re.compile)
"""``re.compile``, which remembers no more than 512: files are checked, then their rules apply."""

STATEMENT_END = "; "
"""What ends a statement. No rule but ``Cut`` and ``LeadList`` looks beyond."""


class Rule:
    """One step of rewriting."""

    def apply(self, text: str, met: set["Rule"]) -> str:
        """Rewrite a text.

        Args:
            text: of a report, or of a statement with the ends of its neighbours.
            met: rules whose effect depends on other statements add themselves where they apply.
        """
        raise NotImplementedError


@dataclass(frozen=True)
class Cut(Rule):
    """Cut the report off where one of the phrases begins, in whatever case."""

    phrases: tuple[str, ...]

    @cached_property
    def _regex(self) -> re.Pattern:
        return re.compile("|".join(re.escape(phrase) for phrase in self.phrases), re.IGNORECASE)

    @cached_property
    def _lowered(self) -> list[str]:
        return [phrase.lower() for phrase in self.phrases]

    def apply(self, text: str, met: set[Rule]) -> str:  # noqa: D102
        if text.isascii():  # where lowering the case decides, and is much faster
            lowered = text.lower()
            if not any(phrase in lowered for phrase in self._lowered):
                return text.strip()
        match = self._regex.search(text)
        return (text[: match.start()] if match else text).strip()


@dataclass(frozen=True)
class Replace(Rule):
    """Replace phrases one after another: what one has written, a later one may replace.

    Attributes:
        table: phrases and what takes their place.
        bordered: only whole words, see ``phrases.spans``.
        ignore_case: for text that is not in lower case yet.
    """

    table: tuple[tuple[str, str], ...]
    bordered: bool = True
    ignore_case: bool = False

    @cached_property
    def _phrases(self) -> Phrases:
        return Phrases([phrase for phrase, _ in self.table])

    @cached_property
    def _regexes(self) -> list[re.Pattern]:
        return [re.compile(_bordered(key, self.bordered), re.IGNORECASE) for key, _ in self.table]

    def apply(self, text: str, met: set[Rule]) -> str:  # noqa: D102
        if self.ignore_case:
            for regex, (_, replacement) in zip(self._regexes, self.table, strict=True):
                text = regex.sub(lambda _, new=replacement: new, text)
            return text
        if not self.bordered:
            for phrase, replacement in self.table:
                text = text.replace(phrase, replacement)
            return text
        candidates = self._phrases.candidates(text)
        while candidates:
            i = candidates.pop(0)
            phrase, replacement = self.table[i]
            if phrase not in text:
                continue
            before, text = text, replace(text, phrase, replacement)
            if text != before:
                candidates = [j for j in self._phrases.candidates(text) if j > i]
        return text


def _bordered(phrase: str, bordered: bool) -> str:
    left = r"(?<!\w)" if bordered and phrase[0].isalnum() else ""
    right = r"(?!\w)" if bordered and phrase[-1].isalnum() else ""
    return left + re.escape(phrase) + right


@dataclass(frozen=True)
class Lower(Rule):
    """Lower the case."""

    def apply(self, text: str, met: set[Rule]) -> str:  # noqa: D102
        return text.lower()


@dataclass(frozen=True)
class Append(Rule):
    """Add to a report that ends in one of some ways."""

    endings: tuple[str, ...]
    text: str

    def apply(self, text: str, met: set[Rule]) -> str:  # noqa: D102
        return text + self.text if text.endswith(self.endings) else text


@dataclass(frozen=True)
class Regex(Rule):
    """Replace regular expressions, one after another.

    Attributes:
        table: regular expressions and what takes the place of a match.
        where: regular expression without a match of which a text stays as it is, to save time.
    """

    table: tuple[tuple[str, str], ...]
    where: str = ""

    @cached_property
    def _where(self) -> re.Pattern:
        return compiled(self.where)

    @cached_property
    def _regexes(self) -> list[tuple[str, re.Pattern, str]]:
        return [(required(regex), compiled(regex), text) for regex, text in self.table]

    def apply(self, text: str, met: set[Rule]) -> str:  # noqa: D102
        if not self._where.search(text):
            return text
        for piece, regex, replacement in self._regexes:
            if piece in text:
                text = regex.sub(replacement, text)
        return text


def required(regex: str) -> str:
    """Return the longest piece of text that any match of a regular expression contains.

    Only what stands outside of groups is looked at. To search for it first saves time.
    """
    if compiled(regex).flags & (re.IGNORECASE | re.VERBOSE):
        return ""
    runs, depth = [""], 0
    for part in _PART.findall(regex):
        depth += (part == "(") - (part == ")")
        if part == "|" and not depth:
            return ""
        if not depth and (part[-1] not in ".^$*+?)}]" if len(part) == 1 else _is_escaped(part)):
            runs[-1] += part[-1]
            continue
        if not depth and part[0] in "*?{":
            runs[-1] = runs[-1][:-1]  # perhaps it is not there
        runs.append("")
    return max(runs, key=len)


# An escape, a set, how often something is repeated, or a character.
_PART = re.compile(r"\\.|\[\^?\]?(?:[^\]\\]|\\.)*\]|\{[^}]*\}|.", re.DOTALL)


def _is_escaped(part: str) -> bool:
    """Return whether a part of a regular expression is a character that would mean another."""
    return part[0] == "\\" and not part[1].isalnum()


@dataclass(frozen=True)
class Spelling(Rule):
    """Correct words that are one slip away from a known one.

    A slip is a letter too many, missing or wrong, or two neighbours that changed places. What is a
    slip away from several known words stays as it is, and so do short words.

    Attributes:
        words: that are known, in lower case.
        keep: words that stay as they are, though a slip away from a known one.
        is_foreign: whether a word is another language's, and therefore stays as it is.
    """

    words: tuple[str, ...]
    keep: tuple[str, ...] = ()
    is_foreign: Callable[[str], bool] | None = None

    @cached_property
    def _known(self) -> frozenset[str]:
        return frozenset(self.words)

    @cached_property
    def _kept(self) -> frozenset[str]:
        return self._known.union(self.keep)

    @cached_property
    def _by_part(self) -> dict[str, list[str]]:
        """Known words by what is left of each without one of its letters, and by themselves."""
        by_part: dict[str, list[str]] = {}
        for word in self._known:
            for part in {word, *_without_a_letter(word)}:
                by_part.setdefault(part, []).append(word)
        return by_part

    def apply(self, text: str, met: set[Rule]) -> str:  # noqa: D102
        return _LONG_WORD.sub(self._corrected, text)

    def _corrected(self, match: re.Match) -> str:
        word = match.group()
        if word in self._kept:
            return word
        close = {
            known
            for part in (word, *_without_a_letter(word))
            for known in self._by_part.get(part, ())
            if _is_a_slip(word, known)
        }
        if len(close) != 1 or (self.is_foreign and self.is_foreign(word)):
            return word
        return close.pop()


# Of shorter words too many are a slip away from another; longer ones are no words.
_LONG_WORD = re.compile(r"(?<!\w)[a-z]{6,30}(?!\w)")


def _without_a_letter(word: str) -> list[str]:
    return [word[:i] + word[i + 1 :] for i in range(len(word))]


def _is_a_slip(word: str, known: str) -> bool:
    """Return whether one slip makes a word of a known one, given that they share a part."""
    if abs(len(word) - len(known)) == 1:
        return True
    if len(word) != len(known):
        return False
    wrong = [i for i, letters in enumerate(zip(word, known, strict=True)) if len(set(letters)) > 1]
    if len(wrong) == 1:
        return True
    swapped = len(wrong) == 2 and wrong[1] == wrong[0] + 1
    return swapped and word[wrong[0]] == known[wrong[1]] and word[wrong[1]] == known[wrong[0]]


@dataclass(frozen=True)
class LeadList(Rule):
    """Say for each lead what a text says of a list of leads.

    Where a report has several such lists, each becomes the union of all.

    Attributes:
        before: regular expression of what precedes the leads.
        after: likewise of what follows them.
        each: what to write for a lead, with ``{lead}`` for its name.
    """

    before: str
    after: str
    each: str

    @cached_property
    def _context(self) -> re.Pattern:
        return re.compile(self.before)

    @cached_property
    def _regex(self) -> re.Pattern:
        lead = "(?:iii|ii|i|avr|avl|avf|v[1-6])"
        leads = rf"(?P<leads>{lead}(?:[ ,]+{lead})*)(?!\w)"
        return re.compile(f"{self.before}{leads}{self.after}")

    def apply(self, text: str, met: set[Rule]) -> str:  # noqa: D102
        if not self._context.search(text):
            return text
        met.add(self)  # also where no leads follow: a list elsewhere may be written the same
        lists = [(match.group(), match["leads"]) for match in self._regex.finditer(text)]
        leads = [lead for _, listed in lists for lead in re.split("[ ,]+", listed)]
        if len(lists) * len(leads) > _MANY_LEADS:
            phrases = STATEMENT_END.join(self.each.format(lead=lead) for lead in sorted(set(leads)))
            return self._regex.sub(lambda _: phrases, text)
        phrases = STATEMENT_END.join(self.each.format(lead=lead) for lead in leads)
        for written, _ in lists:
            text = text.replace(written, phrases)
        return text


# Of endless lists, which no report has, each lead is listed once.
_MANY_LEADS = 2000


@dataclass(frozen=True)
class Measurement(Rule):
    """Say in words what a number means.

    Attributes:
        before: regular expression of what precedes the number.
        after: likewise of what follows it.
        ranges: lower limit, upper limit (below it) and what to write for the whole.
    """

    before: str
    after: str
    ranges: tuple[tuple[float, float, str], ...]

    @cached_property
    def _regex(self) -> re.Pattern:
        return re.compile(
            rf"(?<!\w){self.before}(?P<value>\d{{1,6}}(?:\.\d{{1,6}})?)(?!\w){self.after}"
        )

    def apply(self, text: str, met: set[Rule]) -> str:  # noqa: D102
        return self._regex.sub(self._in_words, text) if _DIGIT.search(text) else text

    def _in_words(self, match: re.Match) -> str:
        value = float(match["value"])
        for low, high, words in self.ranges:
            if low <= value < high:
                return words
        return match.group()


_DIGIT = re.compile(r"\d")


@dataclass(frozen=True)
class Family(Rule):
    """Replace what templates make of groups of words, longest first.

    What was replaced is not replaced again within the family, where it counts as a word.

    Attributes:
        groups: words and what they become.
        templates: texts with ``[n]`` for a word of group n, and what they become, with ``[k]`` for
            what the word in the k-th slot of the template becomes.
    """

    groups: tuple[Mapping[str, str], ...]
    templates: tuple[tuple[str, str], ...]

    __hash__ = object.__hash__

    @cached_property
    def table(self) -> dict[str, str]:
        """All texts and what they become, longest first; of two ways to one text the first."""
        table: dict[str, str] = {}
        for template, replacement in self.templates:
            slots = [int(slot) for slot in _SLOT.findall(template)]
            for words in product(*(self.groups[slot].items() for slot in slots)):
                text = _fill(template, [word for word, _ in words])
                by_slot = {f"[{k}]": becomes for k, (_, becomes) in enumerate(words)}
                table.setdefault(
                    text, _SLOT.sub(lambda match, new=by_slot: new[match.group()], replacement)
                )
        return dict(sorted(table.items(), key=lambda item: -len(item[0])))

    @cached_property
    def _phrases(self) -> Phrases:
        return Phrases(list(self.table))

    def apply(self, text: str, met: set[Rule]) -> str:  # noqa: D102
        _, found = take_out(text, self._phrases, touching=False)
        parts, position = [], 0
        for start, end, i in sorted(found):
            parts += [text[position:start], self.table[self._phrases.phrases[i]]]
            position = end
        return "".join([*parts, text[position:]])


@dataclass(frozen=True)
class SharedNoun(Rule):
    """Repeat a noun, and what stands before a list, for each of the words that share them.

    "Premature ventricular, junctional and fusion complexes" becomes "premature ventricular
    complexes, premature junctional complexes and premature fusion complexes". A list ends in "and",
    "or" or a slash; commas alone make none.

    Attributes:
        nouns: that are shared.
        words: that may share one.
        before: words that stand before one of the list, or before the noun, and hold for all.
    """

    nouns: tuple[str, ...]
    words: tuple[str, ...]
    before: tuple[str, ...] = ()

    @cached_property
    def _regex(self) -> re.Pattern:
        before = f"(?:(?:{_any(self.before)}) )?" if self.before else ""
        item = f"{before}(?:{_any(self.words)})"
        # The border before the list is checked later: a search for first letters is faster.
        return re.compile(
            f"(?P<list>{item}(?:, ?{item})*(?:,?(?:{_any(_ENDS_OF_LISTS)})){item})"
            f" (?P<noun>{before}(?:{_any(self.nouns)}))(?!\\w)"
        )

    @cached_property
    def _item(self) -> re.Pattern:
        before = f"(?:(?P<before>{_any(self.before)}) )?" if self.before else "(?P<before>)"
        return re.compile(f"(?<!\\w){before}(?P<word>{_any(self.words)})(?!\\w)")

    def apply(self, text: str, met: set[Rule]) -> str:  # noqa: D102
        if not any(end in text for end in _ENDS_OF_LISTS):
            return text
        return self._regex.sub(self._repeated, text)

    def _repeated(self, match: re.Match) -> str:
        if match.start() and is_word(match.string[match.start() - 1]):
            return match.group()
        befores = [item["before"] for item in self._item.finditer(match["list"]) if item["before"]]
        before = f"{befores[0]} " if befores else ""
        noun = match["noun"]
        return self._item.sub(lambda item: f"{before}{item['word']} {noun}", match["list"])


_ENDS_OF_LISTS = (" and ", " or ", " and/or ", " plus ", "/")


def _any(words: Iterable[str]) -> str:
    """Return a regular expression of any of some words, of which the longest is preferred."""
    return "|".join(re.escape(word) for word in sorted(words, key=len, reverse=True))


_SLOT = re.compile(r"\[(\d+)\]")


def _fill(template: str, words: Iterable[str]) -> str:
    remaining = iter(words)
    return _SLOT.sub(lambda _: next(remaining), template)


class Rewriter:
    """Applies rules in turn.

    Args:
        rules: those that cut come first.
        is_foreign: whether a word is another language's; its spelling is not corrected.
    """

    def __init__(self, rules: Sequence[Rule], is_foreign: Callable[[str], bool] | None = None):
        self._cuts = [rule for rule in rules if isinstance(rule, Cut)]
        self._rules = [
            replace_field(rule, is_foreign=is_foreign) if isinstance(rule, Spelling) else rule
            for rule in rules
            if not isinstance(rule, Cut)
        ]

    def cut(self, text: str) -> str:
        """Cut a report off where its rules say so."""
        for rule in self._cuts:
            text = rule.apply(text, set())
        return text.strip()

    def rewrite(self, text: str) -> tuple[str, frozenset[Rule]]:
        """Rewrite a text that has been cut.

        Args:
            text: a report; or a statement of it, with ``;`` where there is another one.

        Returns:
            The new text, and the rules whose effect depends on other statements.
        """
        met: set[Rule] = set()
        for rule in self._rules:
            text = rule.apply(text, met)
        return text.strip(), frozenset(met)
