"""Options that several commands have."""

import argparse
from pathlib import Path

EXIT_SOME_LEFT_OUT = 3
"""Exit status of commands that left out recordings which cannot be used, and did the others."""


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
        "of the file say, or more of them (otherwise they are used, and the reasons reported)",
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


def add_checkpoint_options(parser: argparse._ActionsContainer) -> None:
    """Add what may have to be said of a checkpoint, for `checkpoint_options`."""
    for name, what in (("mean", "mean"), ("std", "standard deviation")):
        parser.add_argument(
            f"--{name}-path",
            type=Path,
            metavar="TXT",
            help=f"{what} of each lead, of a network that was trained on leads normalised by it",
        )
    parser.add_argument(
        "--allow-damaged",
        action="store_true",
        default=None,
        help="read a checkpoint although its checksums differ from what is there",
    )


def checkpoint_options(arguments: argparse.Namespace) -> dict[str, object]:
    """Return these options by the names that ``load_model`` has for them."""
    return {name: getattr(arguments, name) for name in ("mean_path", "std_path", "allow_damaged")}
