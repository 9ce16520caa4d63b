"""The text of a report whose lines are columns of a table."""

import re
from collections.abc import Iterable

_LINE_ENDS = re.compile(r";[;\s]*")
_LINE_END = "; "


def joined_lines(lines: Iterable[str]) -> str:
    """Join the lines of a report by ``; ``, as fairseq_signals joins those of MIMIC-IV-ECG.

    Args:
        lines: in order; what is empty, and what ends a line already, is left out.

    Returns:
        The report.
    """
    return _LINE_ENDS.sub(_LINE_END, _LINE_END.join(lines)).strip(_LINE_END)
