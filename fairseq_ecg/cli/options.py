"""Options that several commands have."""

import argparse
from pathlib import Path


def add_segment_options(parser: argparse.ArgumentParser) -> None:
    """Add ``--sample-rate`` and ``--segment-seconds``."""
    parser.add_argument(
        "--sample-rate",
        type=int,
        default=500,
        metavar="HZ",
        help="of the segments that the network reads, in Hz (default: 500)",
    )
    parser.add_argument(
        "--segment-seconds",
        type=float,
        default=5.0,
        metavar="S",
        help="length of these segments in seconds (default: 5)",
    )


def add_verify(parser: argparse._ActionsContainer) -> None:
    """Add ``--verify``."""
    parser.add_argument(
        "--verify",
        action="store_true",
        help="leave out recordings that there is reason to doubt: other samples than the checksums "
        "of the file say, or more of them (otherwise they are used, and the reasons told)",
    )


def add_label_definition(parser: argparse.ArgumentParser, required: bool) -> None:
    """Add ``--label-def``."""
    parser.add_argument(
        "--label-def",
        type=Path,
        required=required,
        metavar="CSV",
        help="names of the labels, labels/label_def.csv",
    )
