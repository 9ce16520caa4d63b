"""``fairseq-ecg``: programs around training. Training itself is ``fairseq-hydra-train``."""

import argparse
import logging
import sys
from collections.abc import Sequence

from fairseq_ecg.cli import (
    benchmark,
    embed,
    evaluate,
    label,
    plot,
    pool,
    predict,
    prepare,
    probe,
    report,
    saliency,
    store,
)
from fairseq_ecg.data.names import in_one_line, printable

# Whatever takes time to import is imported where it is needed: --help is to answer at once.

COMMANDS = (
    prepare,
    store,
    label,
    evaluate,
    predict,
    embed,
    saliency,
    probe,
    benchmark,
    plot,
    report,
    pool,
)
"""Modules with ``add``, which adds the command to the parser, in the order of ``--help``."""

EXIT_USER_ERROR = 2


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command.

    Args:
        argv: arguments; those of the process if None.

    Returns:
        The exit status: 0, 1 where a required score is missed, 2 where the input cannot be used, 3
        where some of its records cannot.
    """
    words = label.spelled_out(sys.argv[1:] if argv is None else argv)
    arguments = _parser().parse_args(words)
    logging.basicConfig(level=logging.WARNING, handlers=[_handler()])
    from fairseq_ecg.compat.checkpoint import CheckpointError
    from fairseq_ecg.data.errors import DataError

    try:
        return arguments.run(arguments)
    except (DataError, CheckpointError, OSError) as error:
        print(f"fairseq-ecg: {in_one_line(str(error))}", file=sys.stderr)
        return EXIT_USER_ERROR


class _InPlainCharacters(logging.Formatter):
    """Messages without what terminals obey: they name files, which may be called anything."""

    def format(self, record: logging.LogRecord) -> str:
        return "\n".join(map(printable, super().format(record).split("\n")))


def _handler() -> logging.Handler:
    handler = logging.StreamHandler()
    handler.setFormatter(_InPlainCharacters("%(message)s"))
    return handler


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="fairseq-ecg", description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    for command in COMMANDS:
        command.add(commands)
    return parser
