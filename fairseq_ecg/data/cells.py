"""Cells of tables that people open in spreadsheets, which take some texts for formulas.

A text that a spreadsheet would compute gets an apostrophe before it, as spreadsheets themselves
mark text. Numbers stay numbers, also where they are text. Tables whose names are written so can be
joined; without the first apostrophe of such a cell the text is what it was.
"""

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd

_COMPUTED = re.compile("'*[=+\\-@\t\r\n\uff1d\uff0b\uff0d\uff20]")


def cell(text: str) -> str:
    """Return text as it is written into a cell.

    Args:
        text: of any kind.

    Returns:
        The text; with an apostrophe before it where a spreadsheet would take it for a formula, or
        where it has such an apostrophe already.
    """
    return f"'{text}" if _COMPUTED.match(text) and not _is_number(text) else text


def as_cells(table: "pd.DataFrame") -> "pd.DataFrame":
    """Return a table whose texts, in columns and in their names, are written by `cell`."""
    import pandas as pd

    written = table.rename(columns=lambda name: cell(str(name)))
    for name, values in written.items():
        if not pd.api.types.is_numeric_dtype(values):
            written[name] = values.map(
                lambda value: cell(value) if isinstance(value, str) else value
            )
    return written


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
