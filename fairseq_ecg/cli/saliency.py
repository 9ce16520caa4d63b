"""``fairseq-ecg saliency``."""

import argparse
from pathlib import Path

from fairseq_ecg.cli.recordings import add_network, add_policies, add_recordings, use


def add(commands) -> None:
    """Add the command."""
    parser = commands.add_parser(
        "saliency",
        help="tell how much every moment of recordings counts for a network",
        description="Tell how much every moment of recordings counts for a network. A run that was "
        "interrupted goes on where it was.",
    )
    add_network(parser, batch_size=16)
    add_recordings(parser)
    parser.add_argument(
        "--out",
        type=Path,
        required=True,
        metavar="FILE",
        help="to write, a row for each frame of the network, with its start and end in the "
        "recording in seconds: .csv, .tsv or .parquet; or .npy, an array float32 with a row for "
        "each segment, and <name>.rows.csv beside it, which says what its rows are",
    )
    parser.add_argument(
        "--samples",
        action="store_true",
        help="a row for each sample of the recording instead, interpolated, with its time in "
        "seconds; not as .npy",
    )
    parser.add_argument(
        "--method",
        choices=["attention", "rollout"],
        default="attention",
        help="attention: largest weight of a frame in the last layer; rollout: share of a frame "
        "in the output, followed through all layers (default: attention)",
    )
    add_policies(parser)
    parser.set_defaults(run=run, parser=parser)


def run(arguments: argparse.Namespace) -> int:
    """Compute, and say what was written."""
    import pandas as pd

    from fairseq_ecg.inference.results import END, RECORDING, SEGMENT, START
    from fairseq_ecg.inference.writing import NPY, check_form, write_table

    check_form(arguments.out, arrays=True)
    as_array = arguments.out.suffix.lower() == NPY
    if as_array and arguments.samples:
        arguments.parser.error("--samples does not go with .npy: recordings differ in length")

    def compute(model, recordings, options):
        saliency = model.saliency(recordings, method=arguments.method, **options)
        errors = dict(saliency.errors)
        if arguments.samples:
            table = _of_samples(saliency, errors)
        elif as_array:
            frames = saliency.frames["saliency"].to_numpy().reshape(-1, model.frames_per_segment)
            values = pd.DataFrame(frames, saliency.segments.index).rename(columns=str)
            table = pd.concat([saliency.segments[[START, END]], values], axis=1).reset_index()
        else:
            table = saliency.frames.reset_index()
        return {"saliency": table}, errors

    def write(parts) -> list[Path]:
        n_keys = len([RECORDING, SEGMENT, START, END])
        return write_table(arguments.out, lambda: parts.tables("saliency"), n_keys)

    settings = ("saliency", arguments.method, arguments.samples, as_array)
    return use(arguments, settings, compute, write)


def _of_samples(saliency, errors: dict):
    """Return a row for each sample of each recording; add to ``errors`` those too long for that."""
    import numpy as np
    import pandas as pd

    from fairseq_ecg.data.errors import DataError, as_data_error
    from fairseq_ecg.inference.results import RECORDING

    columns = [RECORDING, "sample", "time", "saliency"]
    tables = []
    for name, rate in saliency.recordings["sample_rate"].items():
        try:
            with as_data_error(f"{name}: cannot be interpolated"):
                values = saliency.on_signal(name)
                samples = np.arange(len(values))
                cells = (name, samples, samples / rate, values)
                tables.append(pd.DataFrame(dict(zip(columns, cells, strict=True))))
        except DataError as error:
            errors[name] = str(error)
    return pd.concat(tables) if tables else pd.DataFrame(columns=columns)
