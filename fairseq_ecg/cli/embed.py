"""``fairseq-ecg embed``."""

import argparse
from pathlib import Path

from fairseq_ecg.cli.recordings import (
    add_network,
    add_policies,
    add_recordings,
    use,
    writer_of_tables,
)


def add(commands) -> None:
    """Add the command."""
    parser = commands.add_parser(
        "embed",
        help="encode recordings as vectors",
        description="Encode recordings as vectors: the outputs of the encoder, averaged over the "
        "frames of a segment and over the segments of a recording. Pre-trained networks do as "
        "well as fine-tuned ones; nothing is masked. A run that was interrupted goes on where it "
        "was.",
    )
    add_network(parser, batch_size=32)
    add_recordings(parser)
    forms = ".csv, .tsv or .parquet, or .npy, an array float32 with <name>.rows.csv beside it, "
    forms += "which says what its rows are"
    parser.add_argument(
        "--out",
        type=Path,
        required=True,
        metavar="FILE",
        help=f"to write, a row for each recording: {forms}",
    )
    parser.add_argument(
        "--segments",
        type=Path,
        metavar="FILE",
        help="to write, a row for each segment of each recording: likewise",
    )
    add_policies(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Encode, and say what was written."""
    write = writer_of_tables(arguments, arrays=True)

    def compute(model, recordings, options):
        embeddings = model.embed(recordings, **options)
        return embeddings.columns(), embeddings.errors

    return use(arguments, ("embed",), compute, write)
