"""Vocabulary files: YAML or JSON, with the line of everything that stands in them."""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import yaml

from fairseq_ecg.data.documents import compose_yaml
from fairseq_ecg.errors import DataError, as_data_error

_INTEGER = re.compile(r"[-+]?[0-9]+")
_FLOAT = re.compile(r"[-+]?([0-9]+\.[0-9]*|\.[0-9]+|[0-9]+)([eE][-+]?[0-9]+)?")
_CONSTANTS = {"true": True, "false": False, "null": None, "~": None, "": None}


class Items(list):
    """A list that knows its file and the lines of its items."""

    path: Path
    line: int
    lines: list[int]

    def location(self, index: int) -> str:
        """Name the location of an item: file and line."""
        return f"{self.path}, line {self.lines[index]}"


class Fields(dict):
    """A mapping that knows its file and the lines of its keys."""

    path: Path = Path()
    line: int = 0
    lines: Mapping[Any, int] = MappingProxyType({})

    def location(self, key: Any = None) -> str:
        """Name the location of a key, or of the whole: file and line."""
        return f"{self.path}, line {self.lines.get(key, self.line)}"

    def expect(self, required: tuple[str, ...], optional: tuple[str, ...] = ()) -> None:
        """Refuse keys that are missing or unknown.

        Raises:
            DataError: naming the location, the key and those there are.
        """
        for key in required:
            if key not in self:
                raise DataError(f"{self.location()}: {key!r} is missing")
        for key in self:
            if key not in required + optional:
                known = ", ".join(required + optional)
                raise DataError(f"{self.location(key)}: unknown key {key!r}; there are {known}")

    def text(self, key: str) -> str:
        """Return a value that must be text; DataError otherwise."""
        value = self[key]
        if not isinstance(value, str) or not value:
            raise DataError(f"{self.location(key)}: {key} is {value!r}; it must be text (quote it)")
        return value

    def flag(self, key: str) -> bool:
        """Return a value that must be true or false, false where absent; DataError otherwise."""
        value = self.get(key, False)
        if not isinstance(value, bool):
            raise DataError(f"{self.location(key)}: {key} is {value!r}; it must be true or false")
        return value

    def texts(self, key: str) -> tuple[str, ...]:
        """Return a list of texts, empty where absent; DataError otherwise."""
        value = self.get(key)
        if value is None:
            return ()
        if not isinstance(value, Items):
            raise DataError(f"{self.location(key)}: {key} must be a list of texts")
        for i, item in enumerate(value):
            if not isinstance(item, str) or not item:
                raise DataError(f"{value.location(i)}: {item!r} in {key} must be text (quote it)")
        return tuple(value)

    def records(self, key: str) -> Iterator["Fields"]:
        """Yield the mappings of a list of mappings, none where absent; DataError otherwise."""
        yield from records(self.get(key), self.location(key))


def records(value: Any, location: str) -> Iterator[Fields]:
    """Yield the mappings of a list of mappings; DataError if it is something else."""
    if value is None:
        return
    if not isinstance(value, Items):
        raise DataError(f"{location}: must be a list")
    for i, item in enumerate(value):
        if not isinstance(item, Fields):
            raise DataError(f"{value.location(i)}: {item!r} must be a mapping of keys to values")
        yield item


def read_document(path: Path) -> Any:
    """Read a YAML or JSON file.

    Plain words are text but for ``true``, ``false``, ``null`` and numbers: ``no`` and ``2:1`` are
    words of ECG reports, and not what YAML 1.1 makes of them.

    Args:
        path: the file; JSON is a part of YAML.

    Returns:
        ``Items``, ``Fields``, text, numbers, true, false or None.

    Raises:
        DataError: There is no such file, it is not YAML, a key stands twice in a mapping, or it is
            nested too deep or stands for too many values.
    """
    if not path.is_file():
        raise DataError(f"{path}: no such file")
    with as_data_error(f"{path}: is not YAML or JSON in UTF-8"):
        node = compose_yaml(path.read_text(encoding="utf-8"), str(path))
        return None if node is None else _construct(node, path)


def read_records(path: Path, required: bool = False) -> Iterator[Fields]:
    """Yield the mappings of a file that lists them; none where it may be absent, and is.

    Raises:
        DataError: as `read_document`, or it is no such list.
    """
    if path.is_file() or required:
        yield from records(read_document(path), str(path))


def _construct(node: yaml.Node, path: Path) -> Any:
    if isinstance(node, yaml.ScalarNode):
        return node.value if node.style in ("'", '"', "|", ">") else _plain(node.value)
    value = Items() if isinstance(node, yaml.SequenceNode) else Fields()
    value.path = path
    value.line = node.start_mark.line + 1
    if isinstance(value, Items):
        value.lines = [item.start_mark.line + 1 for item in node.value]
        value.extend(_construct(item, path) for item in node.value)
        return value
    value.lines = {}
    for key_node, item in node.value:
        key = _construct(key_node, path)
        line = key_node.start_mark.line + 1
        if isinstance(key, list | dict):
            raise DataError(f"{path}, line {line}: a key must be text")
        if key in value:
            raise DataError(f"{path}, line {line}: {key!r} is already in line {value.lines[key]}")
        value[key] = _construct(item, path)
        value.lines[key] = line
    return value


def _plain(text: str) -> Any:
    if text in _CONSTANTS:
        return _CONSTANTS[text]
    if _INTEGER.fullmatch(text):
        return int(text)
    if _FLOAT.fullmatch(text):
        return float(text)
    return text
