"""Names of files: those that files of any origin give, and those that people are shown."""

import os
import re
import unicodedata
from pathlib import PurePosixPath
from typing import Any

from fairseq_ecg.errors import DataError

LONGEST_NAME = 255
"""Bytes of the longest name that file systems take."""

_SHOWN = 60
"""Characters of a refused name that its message shows."""


def plain_name(where: str, name: Any, what: str) -> str:
    """Return a name that a file gives, once it is known to stay in the folder it is used in.

    Args:
        where: names the file that gives it.
        name: what the file gives.
        what: the field that it is given in, such as ``the file of a shard``.

    Returns:
        ``name``.

    Raises:
        DataError: it is no text; is empty, ``.`` or ``..``; has a separator of folders of any
            system, a drive or a control character; or is longer than file systems take.
    """
    fault = _fault_of(name)
    if fault:
        raise DataError(
            f"{where}: {what} is {_shortened(name)}, which {fault}. It must be the plain name of a "
            "file in a folder; correct it if you trust where the file is from"
        )
    return name


def path_below(where: str, path: Any, what: str, folder: str) -> str:
    """Return a path that a file gives, once it is known to stay below the folder it is used in.

    Args:
        where: names the file that gives it.
        path: what the file gives, perhaps with folders, ``p10/s1.mat`` for instance.
        what: the field that it is given in.
        folder: says which folder that is, in the error message.

    Returns:
        ``path``.

    Raises:
        DataError: it is no text, is absolute or a URL, leaves the folder, or a part of it is
            refused as by `plain_name`.
    """
    if isinstance(path, str) and _CERTAINLY_BELOW(path):
        return path
    parts = PurePosixPath(path).parts if isinstance(path, str) else [path]
    fault = next(filter(None, map(_fault_of, parts or [""])), "")
    if isinstance(path, str) and "://" in path:
        fault = "is a URL"
    if fault:
        raise DataError(
            f"{where}: {what} is {_shortened(path)}, which {fault}; it is not below {folder}. "
            "Correct it if you trust where the file is from"
        )
    return path


_PLAIN = "[A-Za-z0-9_][A-Za-z0-9_.-]{0,99}"
_CERTAINLY_PLAIN = re.compile(_PLAIN).fullmatch
_CERTAINLY_BELOW = re.compile(f"({_PLAIN}/)*{_PLAIN}").fullmatch
"""Say quickly of nearly all names and paths that there is nothing to look for."""


def printable(text: str) -> str:
    r"""Return text with what terminals obey and files of UTF-8 do not hold as escapes.

    Control characters, marks that turn the direction of writing, and line separators become
    ``\x1b`` or ``\u202e``; bytes of file names that are not UTF-8 become ``\xe9``. All other
    characters stay, so that names of nearly all files do.
    """
    if text.isascii() and text.isprintable():
        return text
    return "".join(_escaped(c) if _UNSEEN.match(c) else c for c in text)


def in_one_line(text: str) -> str:
    """Return a message as `printable` text of one line."""
    return printable(" ".join(text.split()))


_UNSEEN = re.compile("[\0-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


def _escaped(character: str) -> str:
    number = ord(character)
    if 0xDC80 <= number <= 0xDCFF:  # as Python reads bytes that are not UTF-8
        number -= 0xDC00
    return f"\\x{number:02x}" if number < 0x100 else f"\\u{number:04x}"


def _fault_of(name: object) -> str:
    """What keeps something from being a plain name; empty if nothing does."""
    if not isinstance(name, str):
        return "is no text"
    if _CERTAINLY_PLAIN(name):
        return ""
    if not name.strip(". ") and name != "..":
        return "names no file"
    if name == ".." or "/" in name or "\\" in name:
        return "names another folder"
    if re.match(r"[A-Za-z]:", name):
        return "names a drive"
    if any(unicodedata.category(character) in ("Cc", "Zl", "Zp") for character in name):
        return "has control characters"
    try:
        n_bytes = len(os.fsencode(name))
    except UnicodeEncodeError:
        return "no file can have as its name"
    return f"is longer than {LONGEST_NAME} bytes" if n_bytes > LONGEST_NAME else ""


def _shortened(name: object) -> str:
    """A value for a message, in one line of plain characters."""
    if not isinstance(name, str):
        return f"of type {type(name).__name__}"
    text = ascii(name[: _SHOWN + 1])
    return text if len(text) <= _SHOWN + 2 else f"{text[:_SHOWN]}..."
