"""Names that stand in files of strangers and become names of files."""

import os
import re
import unicodedata

from fairseq_ecg.data.errors import DataError

LONGEST_NAME = 255
"""Bytes of the longest name that file systems take."""

_SHOWN = 60
"""Characters of a refused name that its message shows."""


def plain_name(where: str, name: object, what: str) -> str:
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


def _fault_of(name: object) -> str:
    """What keeps something from being a plain name; empty if nothing does."""
    if not isinstance(name, str):
        return "is no text"
    if not name.strip(". "):
        return "names no file"
    if "/" in name or "\\" in name:
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
