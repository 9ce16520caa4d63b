"""Options that several steps have, and what they are made of."""

import argparse
from pathlib import Path


def add_processed_root(parser: argparse.ArgumentParser) -> None:
    """Add ``--processed-root``."""
    parser.add_argument(
        "--processed-root",
        type=Path,
        required=True,
        metavar="DIR",
        help="folder of everything that is made of the source, one for each source",
    )


def words(text: str) -> tuple[str, ...]:
    """Read names separated by commas."""
    names = tuple(name.strip() for name in text.split(","))
    if not all(names):
        raise argparse.ArgumentTypeError(f"{text!r}: give names separated by commas")
    return names
