"""Tables that an archive holds besides its records."""

from contextlib import ExitStack
from pathlib import Path
from typing import TextIO

from fairseq_ecg.prepare.atomic import replacing
from fairseq_ecg.prepare.sources.source import Source


def write_extra_tables(source: Source, folder: Path) -> list[str]:
    """Write what ``source.tables()`` yields as ``<name>.csv``, a piece at a time.

    Args:
        source: the archive.
        folder: to write to; made where absent.

    Returns:
        Names of the tables. Either all are written or, where one cannot be read, none.

    Raises:
        DataError: a table is missing or damaged.
    """
    files: dict[str, TextIO] = {}
    with ExitStack() as stack:
        for name, rows in source.tables():
            first = name not in files
            if first:
                path = stack.enter_context(replacing(folder / f"{name}.csv"))
                files[name] = stack.enter_context(open(path, "w", newline="", encoding="utf-8"))
            rows.to_csv(files[name], index=False, header=first)
    return list(files)
