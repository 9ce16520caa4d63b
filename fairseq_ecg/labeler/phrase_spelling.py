"""Words too short to be corrected by themselves, corrected beside a word that they belong to."""

import re
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

from fairseq_ecg.labeler.rewriting import Rule

_WORD = re.compile(r"(?<!\w)[a-z0-9]+(?!\w)")
# Of shorter words too many are a slip away from another.
_SHORTEST = 4


@dataclass(frozen=True)
class PhraseSpelling(Rule):
    """Correct a word that is a slip away from what its neighbour makes likely.

    "Hart block" becomes "heart block", and "hart rate" becomes "heart rate"; "hart" alone stays. A
    slip is a letter missing or doubled, or two neighbours that changed places; a wrong letter is
    none, as too many short words differ by one ("t have", "t wave").

    Attributes:
        phrases: of two words each, in lower case.
        keep: words that stay as they are.
    """

    phrases: tuple[str, ...]
    keep: tuple[str, ...] = ()

    @cached_property
    def _after(self) -> dict[str, dict[str, str]]:
        """By the first word of phrases, slips of their second word, and what they are slips of."""
        return self._slips_by_neighbour([tuple(phrase.split()) for phrase in self.phrases])

    @cached_property
    def _before(self) -> dict[str, dict[str, str]]:
        """By the second word of phrases, slips of their first word."""
        return self._slips_by_neighbour([tuple(phrase.split()[::-1]) for phrase in self.phrases])

    @cached_property
    def _slips(self) -> frozenset[str]:
        sides = (*self._after.values(), *self._before.values())
        return frozenset(slip for slips in sides for slip in slips)

    def _slips_by_neighbour(self, pairs: list[tuple[str, ...]]) -> dict[str, dict[str, str]]:
        kept = {word for pair in pairs for word in pair}.union(self.keep)
        slips: dict[str, dict[str, str]] = {}
        for neighbour, word in pairs:
            slips.setdefault(neighbour, {}).update(dict.fromkeys(_slips_of(word) - kept, word))
        return slips

    def apply(self, text: str, met: set[Rule]) -> str:  # noqa: D102
        if self._slips.isdisjoint(_WORD.findall(text)):
            return text
        matches = list(_WORD.finditer(text))
        words = [match.group() for match in matches]
        for i, (left, right) in enumerate(pairwise(matches)):
            if text[left.end() : right.start()] == " ":
                words[i] = self._before.get(words[i + 1], {}).get(words[i], words[i])
                words[i + 1] = self._after.get(words[i], {}).get(words[i + 1], words[i + 1])
        parts, position = [], 0
        for match, word in zip(matches, words, strict=True):
            parts += [text[position : match.start()], word]
            position = match.end()
        return "".join([*parts, text[position:]])


def _slips_of(word: str) -> set[str]:
    """Return what a slip makes of a word."""
    if len(word) < _SHORTEST or not word.isalpha():
        return set()
    missing = {word[:i] + word[i + 1 :] for i in range(len(word))}
    doubled = {word[: i + 1] + word[i:] for i in range(len(word))}
    swapped = {word[:i] + word[i + 1] + word[i] + word[i + 2 :] for i in range(len(word) - 1)}
    return missing | doubled | swapped
