"""What steps that read recordings say at their end."""

from pathlib import Path
from typing import TYPE_CHECKING

from fairseq_ecg.cli.options import EXIT_SOME_LEFT_OUT

if TYPE_CHECKING:
    import pandas as pd

    from fairseq_ecg.prepare.archive import Prepared


def said(prepared: "Prepared", folder: Path, suffix: str = "") -> int:
    """Print what became of the records of an archive; return the exit status.

    Args:
        prepared: records.
        folder: of the tables.
        suffix: of their names.
    """
    print(prepared.summary.to_string(index=False))
    if len(prepared.doubts):
        print(
            f"{prepared.doubts['record'].nunique()} records are doubtful, see "
            f"{folder / f'doubts{suffix}.csv'}; the first: {prepared.doubts['doubt'].iloc[0]}"
        )
    return left_out(prepared.quarantine, folder / f"quarantine{suffix}.csv")


def left_out(quarantine: "pd.DataFrame", path: Path) -> int:
    """Print which records cannot be used; return the exit status.

    Args:
        quarantine: rows of ``path``, with ``reason``.
        path: of the table.
    """
    if not len(quarantine):
        return 0
    print(
        f"{len(quarantine)} records cannot be used, see {path}; the first: "
        f"{quarantine['reason'].iloc[0]}"
    )
    return EXIT_SOME_LEFT_OUT
