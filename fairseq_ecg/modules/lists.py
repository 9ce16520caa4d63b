"""Lists of whole numbers as options: the configs of fairseq_signals hold them as texts."""

import ast
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from fairseq_ecg.errors import shortened

LONGEST = 1_000
"""Elements that a list may have, and numbers that a text may hold one by one."""


def parse_list(text: str | Sequence) -> Sequence:
    """Read a list such as ``"[(256, 2, 2)] * 4"``.

    The configs of fairseq_signals hold Python expressions; only lists, tuples, whole numbers,
    ``+`` and ``*`` are understood here, and nothing is executed.

    Args:
        text: the expression, or the list itself.

    Raises:
        ValueError: the text is no such list, or it is longer than `LONGEST`.
    """
    try:
        if not isinstance(text, str):
            return _short(text)
        # A parser of Python takes memory many times the length of a text.
        return _short(_evaluate(ast.parse(text, mode="eval").body) if len(text) < 100_000 else None)
    except (SyntaxError, TypeError, RecursionError, MemoryError) as error:
        raise ValueError(f"{shortened(text)} is no list of whole numbers") from error


def whole_number(number: object) -> int:
    """Return a number if it is a whole one.

    Raises:
        ValueError: it is none.
    """
    if not isinstance(number, int) or isinstance(number, bool):
        raise ValueError("no whole number")
    return number


def _evaluate(node: ast.expr) -> Any:
    match node:
        case ast.BinOp(op=ast.Add()):
            return _short(_evaluate(node.left)) + _short(_evaluate(node.right))
        case ast.BinOp(op=ast.Mult()):
            left, right = _evaluate(node.left), _evaluate(node.right)
            if isinstance(left, int):
                left, right = right, left
            if len(_short(left)) * whole_number(right) > LONGEST:
                raise ValueError("too long a list")
            return left * right
        case ast.List() | ast.Tuple():
            return _short([_evaluate(element) for element in node.elts])
    return whole_number(ast.literal_eval(node))


def _short(value: Any) -> Any:
    if not isinstance(value, Sequence) or isinstance(value, str) or len(value) > LONGEST:
        raise ValueError("no list, or too long a one")
    return value


@dataclass(frozen=True)
class NumberList:
    """An option that is a list of positive whole numbers, or the text of one.

    It is the limits of the option, see :class:`fairseq_ecg.options.Range`.

    Args:
        option: its name.
        size: what of a network the numbers are the size of, ``width`` or ``kernel``.
        least: fewest numbers.
        most: most numbers.
        example: of a text.
    """

    option: str
    size: str
    least: int
    most: int
    example: str

    def parse(self, value: str | Sequence[int]) -> list[int]:
        """Read the numbers.

        Raises:
            ValueError: these are none.
        """
        try:
            numbers = [whole_number(number) for number in parse_list(value)]
        except ValueError:
            numbers = []
        if self.least <= len(numbers) <= self.most and min(numbers) > 0:
            return numbers
        raise ValueError(
            f"{self.option}={shortened(value)} is not a list of "
            f"{self.least if self.least == self.most else f'{self.least} or more'} positive whole "
            f'numbers, for example "{self.example}"'
        )

    def sizes(self, value: str | Sequence[int]) -> dict[str, int]:
        """Size that the numbers stand for, by its name."""
        return {self.size: max(self.parse(value))}
