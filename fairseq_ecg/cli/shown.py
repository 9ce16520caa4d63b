"""Options of commands that show recordings."""

import argparse
from pathlib import Path

METHODS = ("attention", "rollout")
"""Of the saliency; the first is meant where none is named."""


def add_part(parser: argparse.ArgumentParser, seconds: float) -> None:
    """Add ``--start`` and ``--length``.

    Args:
        parser: to add them to.
        seconds: that are shown unless others are asked for.
    """
    parser.add_argument(
        "--start",
        type=float,
        default=0.0,
        metavar="S",
        help="of what is shown, in seconds from the start of the recording (default: 0)",
    )
    parser.add_argument(
        "--length",
        type=float,
        default=seconds,
        metavar="S",
        help=f"of what is shown, in seconds (default: {seconds:g})",
    )


def add_thresholds(parser: argparse.ArgumentParser) -> None:
    """Add ``--thresholds``."""
    parser.add_argument(
        "--thresholds",
        type=_number_or_table,
        default=0.5,
        metavar="P|CSV",
        help="from which probability on a label holds: one for all, or a table with the columns "
        "label and threshold (default: 0.5)",
    )


def _number_or_table(text: str) -> float | Path:
    try:
        return float(text)
    except ValueError:
        return Path(text)
