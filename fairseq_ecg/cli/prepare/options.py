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


def add_seed(parser: argparse.ArgumentParser, what: str) -> None:
    """Add ``--seed``, the seed of ``what``."""
    parser.add_argument("--seed", type=_seed, default=1, metavar="N", help=f"{what} (default: 1)")


def add_split_files(parser: argparse.ArgumentParser) -> None:
    """Add ``--split-file-paths`` and ``--root``."""
    parser.add_argument(
        "--split-file-paths",
        type=_paths,
        required=True,
        metavar="CSV,CSV",
        help="segments and their splits, segmented_split.csv of each source",
    )
    parser.add_argument(
        "--root",
        type=Path,
        metavar="DIR",
        help="what relative paths in the tables are relative to (default: the folder of the table)",
    )


def words(text: str) -> tuple[str, ...]:
    """Read names separated by commas."""
    names = tuple(name.strip() for name in text.split(","))
    if not all(names):
        raise argparse.ArgumentTypeError(f"{text!r}: give names separated by commas")
    return names


def _seed(text: str) -> int:
    if not text.isdecimal() or int(text) >= 2**32:
        raise argparse.ArgumentTypeError(f"{text}: give a whole number below 2^32, not below 0")
    return int(text)


def _paths(text: str) -> tuple[Path, ...]:
    return tuple(map(Path, words(text)))
