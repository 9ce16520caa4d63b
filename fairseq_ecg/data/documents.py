"""YAML, and JSON which is a part of it, that somebody else may have written.

A few hundred bytes of aliases stand for as many values as one likes, and PyYAML's parsers recurse
into what is nested, libyaml's until it crashes: both are counted first, event by event.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import yaml

from fairseq_ecg.errors import DataError, as_data_error
from fairseq_ecg.limits import check_limit, limit_of

# libyaml is several times faster and not in every build of PyYAML.
_Loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

_FAR = 20
"""How far beyond the limit levels are counted, so that the message says how many there are."""


def load_yaml(text: str, where: str) -> Any:
    """Read a document as what it means.

    Args:
        text: of the document.
        where: names the file in error messages.

    Raises:
        DataError: it is no YAML, nested too deep, or stands for too many values.
    """
    return _read(text, where, yaml.load)


def compose_yaml(text: str, where: str) -> yaml.Node | None:
    """Read a document as nodes, which know their lines; None if it is empty.

    Args:
        text: of the document.
        where: names the file in error messages.

    Raises:
        DataError: it is no YAML, nested too deep, or stands for too many values.
    """
    return _read(text, where, yaml.compose)


def _read(text: str, where: str, read: Callable[[str, type], Any]) -> Any:
    with _fault_in(where):
        _check(text, where)
        return read(text, _Loader)


@contextmanager
def _fault_in(where: str) -> Iterator[None]:
    try:
        with as_data_error(f"{where}: is no YAML", but=(yaml.MarkedYAMLError,)):
            yield
    except yaml.MarkedYAMLError as error:
        line = f", line {error.problem_mark.line + 1}" if error.problem_mark else ""
        raise DataError(f"{where}{line}: is no YAML: {error.problem or error.context}") from None


@dataclass
class _Extent:
    """Of a value with what is in it.

    Args:
        values: how many.
        depth: levels.
    """

    values: int = 1
    depth: int = 0

    def add(self, other: "_Extent") -> None:
        self.values += other.values
        self.depth = max(self.depth, other.depth + 1)


def _check(text: str, where: str) -> None:
    """Compare depth and number of values, each alias as what it repeats, with the limits."""
    named: dict[str, _Extent] = {}
    outer: list[tuple[_Extent, str | None]] = [(_Extent(), None)]
    for event in yaml.parse(text, _Loader):
        if isinstance(event, yaml.CollectionStartEvent):
            outer.append((_Extent(), event.anchor))
            if len(outer) > _FAR * limit_of("nesting"):  # libyaml looks at all levels each time
                check_limit(where, "nesting", len(outer) - 1)
            continue
        if isinstance(event, yaml.CollectionEndEvent):
            found, anchor = outer.pop()
        elif isinstance(event, yaml.ScalarEvent):
            found, anchor = _Extent(), event.anchor
        elif isinstance(event, yaml.AliasEvent):
            found, anchor = named.get(event.anchor, _Extent()), None
            if any(event.anchor == open_anchor for _, open_anchor in outer):
                line = event.start_mark.line + 1
                raise DataError(f"{where}, line {line}: {event.anchor!r} stands within itself")
        else:
            continue
        if anchor is not None:
            named[anchor] = found
        outer[-1][0].add(found)
    whole = outer[0][0]
    check_limit(where, "nodes", whole.values)
    check_limit(where, "nesting", whole.depth)
