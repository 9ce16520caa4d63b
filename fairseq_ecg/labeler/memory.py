"""What was made of texts that recur, within bounds."""

from typing import TypeVar

_Value = TypeVar("_Value")

# Statements of machines recur, those of people need not: the memory that they take is bounded.
_ENTRIES = 200_000

# Longer statements hardly recur, and a few of them would take as much memory as all others.
_LENGTH = 2_000


class Memory(dict[str, _Value]):
    """What was made of each text, for when it comes again.

    It forgets everything when it is full, and never remembers long texts: what it takes is bounded,
    whatever the texts. Use ``remember`` to fill it.

    Args:
        entries: that it holds at most.
        length: of the longest text that it remembers.
    """

    def __init__(self, entries: int = _ENTRIES, length: int = _LENGTH):
        super().__init__()
        self._entries = entries
        self._length = length

    def remember(self, text: str, value: _Value) -> _Value:
        """Remember what was made of a text, unless it is long, and return it."""
        if len(text) <= self._length:
            if len(self) >= self._entries:
                self.clear()
            self[text] = value
        return value
