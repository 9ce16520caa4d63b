"""Pickles that take for ever: found before they are read."""

import pickletools
from typing import IO

MOST_LEVELS = 20
"""Tuples in one another; those of a checkpoint, of what tensors are made of, are three."""

_TUPLES = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}
_TAKEN = {"APPEND": 1, "SETITEM": 2, "REDUCE": 1, "NEWOBJ": 1, "BUILD": 1, "POP": 1}
_TO_MARK = ("APPENDS", "SETITEMS", "ADDITEMS", "POP_MARK")


def check_tuples(file: IO[bytes]) -> None:
    """Look through a pickle for tuples that are too deep, without making anything.

    A tuple of twice the same tuple, and so on, is a few bytes for each level, and to find its place
    in a dict takes twice as long with each.

    Args:
        file: where a pickle begins; is read to its end.

    Raises:
        ValueError: there are more than `MOST_LEVELS`, or it is no pickle.
    """
    stacks: list[list[int]] = [[]]
    memo: dict[int, int] = {}
    for opcode, argument, _ in pickletools.genops(file):
        name, stack = opcode.name, stacks[-1]
        if name == "MARK":
            stacks.append([])
        elif name in _TUPLES or name == "TUPLE":
            parts = [stack.pop() for _ in range(_TUPLES[name])] if name in _TUPLES else stacks.pop()
            stacks[-1].append(1 + max(parts, default=0))
            if stacks[-1][-1] > MOST_LEVELS:
                raise ValueError(f"more than {MOST_LEVELS} tuples are in one another")
        elif name in _TO_MARK:
            stacks.pop()
        elif name in _TAKEN:
            del stack[len(stack) - _TAKEN[name] :]
            if name in ("REDUCE", "NEWOBJ"):
                stack[-1] = 0  # what was made in place of what made it
        elif name in ("BINPUT", "LONG_BINPUT", "PUT"):
            memo[argument] = stack[-1]
        elif name == "MEMOIZE":
            memo[len(memo)] = stack[-1]
        elif name in ("BINGET", "LONG_BINGET", "GET"):
            stack.append(memo[argument])
        elif name == "DUP":
            stack.append(stack[-1])
        elif name == "BINPERSID":
            stack[-1] = 0
        elif name in ("LIST", "DICT", "FROZENSET", "OBJ", "INST"):
            stacks.pop()
            stacks[-1].append(0)
        elif name == "STACK_GLOBAL":
            del stack[-2:]
            stack.append(0)
        elif opcode.stack_after and not opcode.stack_before:
            stack.append(0)
