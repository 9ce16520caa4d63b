"""Options of commands that read recordings in any form."""

import argparse

from fairseq_ecg.cli.prepare.options import words

METHODS = ("attention", "rollout")
"""Of the saliency; the first is meant where none is named."""


def add_recordings(parser: argparse.ArgumentParser) -> None:
    """Add the recordings, and what their files may not say."""
    parser.add_argument(
        "recordings",
        nargs="+",
        metavar="RECORDING",
        help="file of any known format, WFDB record, URL, folder, or table with a column 'path'",
    )
    group = parser.add_argument_group("what files do not say themselves")
    group.add_argument("--sample-rate", type=float, metavar="HZ", help="in Hz")
    group.add_argument("--rows", type=words, metavar="LEADS", help="leads of the rows, in order")
    group.add_argument("--units", metavar="UNIT", help="of the samples: mV, uV, V")
    group.add_argument(
        "--counts-per-mv", type=float, metavar="N", help="of the converter, in place of units"
    )
    group.add_argument("--format", help="of the files, where name and content do not tell it")


def recordings_of(arguments: argparse.Namespace) -> list:
    """List the recordings that are named, to be read when it is their turn."""
    from fairseq_ecg.inference.recordings import Description, recordings_in

    return recordings_in(
        arguments.recordings,
        Description(
            arguments.sample_rate,
            arguments.rows,
            arguments.units,
            arguments.counts_per_mv,
            arguments.format,
        ),
    )


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
        metavar="P|CSV",
        help="from which probability on a label holds: one for all, or a table with the columns "
        "label and threshold (default: 0.5)",
    )


def _number_or_table(text: str) -> float | str:
    try:
        return float(text)
    except ValueError:
        return text
