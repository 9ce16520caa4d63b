"""Finding phrases in text: at the borders of words, and longest first.

Nothing here goes back in the text, so that the time is proportional to its length.
"""

import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from functools import lru_cache

BLANK = "\ue000"
"""Stands where a phrase was found; a character of private use, which no text may contain."""

_WORD = re.compile(r"\w+")

# In a longer text it is faster to look for every phrase than to take the text apart into words
# after every replacement.
_LONG = 20_000


def word_starts_or_ends(character: str) -> bool:
    """Return whether a phrase that starts or ends so must stand at the border of a word."""
    return character.isalnum()


def is_word(character: str) -> bool:
    r"""Return whether a character belongs to a word, as ``\w`` in regular expressions."""
    return character.isalnum() or character == "_"


def spans(
    text: str, phrase: str, bordered: bool = True, touching: bool = True
) -> Iterator[tuple[int, int]]:
    """Yield where a phrase stands in a text, from left to right, without overlaps.

    Args:
        text: to search.
        phrase: to look for, not empty.
        bordered: where the phrase begins (ends) with a letter or digit, no letter, digit or
            underscore may stand before (behind) it.
        touching: there ``BLANK`` may stand; if not, it counts as a letter.
    """
    left = bordered and word_starts_or_ends(phrase[0])
    right = bordered and word_starts_or_ends(phrase[-1])
    start = text.find(phrase)
    while start >= 0:
        end = start + len(phrase)
        if (left and start and _joins(text[start - 1], touching)) or (
            right and end < len(text) and _joins(text[end], touching)
        ):
            start = text.find(phrase, start + 1)
        else:
            yield start, end
            start = text.find(phrase, end)


def _joins(character: str, touching: bool) -> bool:
    return is_word(character) or (character == BLANK and not touching)


def replace(text: str, phrase: str, replacement: str, bordered: bool = True) -> str:
    """Replace a phrase wherever ``spans`` finds it."""
    parts, position = [], 0
    for start, end in spans(text, phrase, bordered):
        parts += [text[position:start], replacement]
        position = end
    return "".join([*parts, text[position:]]) if parts else text


class Phrases:
    """Phrases at the borders of words, and quickly those of them that a text may contain.

    Args:
        phrases: in the order in which they are looked for.
    """

    def __init__(self, phrases: Sequence[str]):
        self.phrases = tuple(phrases)
        self._by_word: dict[str, list[int]] = defaultdict(list)
        self._without_word: list[int] = []
        # Only an underscore belongs to words and needs no border: taken out, it leaves other words.
        self._splits_words = any("_" in (phrase[0], phrase[-1]) for phrase in self.phrases)
        for i, phrase in enumerate(self.phrases):
            words = _whole_words(phrase)
            if words:
                self._by_word[max(words, key=len)].append(i)
            else:
                self._without_word.append(i)

    def candidates(self, text: str) -> list[int]:
        """Return positions of phrases, in their order; every phrase in the text is among them."""
        if self._splits_words or len(text) > _LONG:
            return list(range(len(self.phrases)))
        found = [i for i in self._without_word if self.phrases[i] in text]
        for word in _words(text):
            found += self._by_word.get(word, ())
        return sorted(found)


# Several rules look for their phrases in one text.
@lru_cache(maxsize=8)
def _words(text: str) -> frozenset[str]:
    return frozenset(_WORD.findall(text))


def _whole_words(phrase: str) -> list[str]:
    """Return the words of a phrase that are whole words of any text that contains it."""
    return [
        match.group()
        for match in _WORD.finditer(phrase)
        if (match.start() > 0 or word_starts_or_ends(phrase[0]))
        and (match.end() < len(phrase) or word_starts_or_ends(phrase[-1]))
    ]


def take_out(
    text: str, phrases: Phrases, touching: bool = True
) -> tuple[str, list[tuple[int, int, int]]]:
    """Find phrases in their order, each in what the earlier ones have left.

    Args:
        text: without ``BLANK``, but where something was taken out before.
        phrases: to look for.
        touching: at the border of a word another phrase may have been found; see ``spans``.

    Returns:
        The text with ``BLANK`` for every character that was found, and the finds: start, end and
        position of the phrase, in the order of the search.
    """
    found = []
    for i in phrases.candidates(text):
        phrase = phrases.phrases[i]
        if phrase not in text:
            continue
        parts, position = [], 0
        for start, end in spans(text, phrase, touching=touching):
            parts += [text[position:start], BLANK * (end - start)]
            position = end
            found.append((start, end, i))
        if parts:
            text = "".join([*parts, text[position:]])
    return text, found
