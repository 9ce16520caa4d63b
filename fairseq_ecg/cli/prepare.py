"""``fairseq-ecg prepare``."""

import argparse
from pathlib import Path

from fairseq_ecg.cli.options import add_segment_options


def add(commands) -> None:
    """Add the command."""
    parser = commands.add_parser(
        "prepare",
        help="make WFDB records ready for training",
        description="Make WFDB records ready for training: resample, standardise and cut them "
        "into segments, divide them by patient, and write the manifests and label files that "
        "the tasks read.",
    )
    parser.add_argument(
        "--records",
        type=Path,
        required=True,
        metavar="DIR",
        help="folder of WFDB records: 12 leads in any order, in mV or uV",
    )
    parser.add_argument(
        "--labels",
        type=Path,
        required=True,
        metavar="CSV",
        help="table with the column 'record' (path below --records, without extension), the "
        "patient's column, and one column of 0 and 1 per label; its records are taken",
    )
    parser.add_argument(
        "--patient-column",
        required=True,
        metavar="NAME",
        help="column of --labels that names the patient",
    )
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder to write to")
    add_segment_options(parser)
    parser.add_argument(
        "--fractions",
        type=_numbers,
        default=(0.7, 0.1, 0.2),
        metavar="TRAIN,VALID,TEST",
        help="of the patients in each split (default: 0.7,0.1,0.2)",
    )
    parser.add_argument(
        "--seed", type=int, default=1, help="of the division into splits (default: 1)"
    )
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Prepare and say what was prepared."""
    from fairseq_ecg.prepare import prepare

    summary = prepare(
        arguments.records,
        arguments.labels,
        arguments.out,
        patient_column=arguments.patient_column,
        sample_rate=arguments.sample_rate,
        segment_seconds=arguments.segment_seconds,
        fractions=arguments.fractions,
        seed=arguments.seed,
    )
    for split, segments in summary.segments.items():
        print(
            f"{split}: {segments} segments of {summary.recordings[split]} recordings "
            f"of {summary.patients[split]} patients"
        )
    if summary.too_short:
        print(f"{summary.too_short} recordings dropped: shorter than one segment")
    for label in summary.untrainable:
        print(
            f"warning: {label!r} holds in no recording of the training split, so that its "
            "pos_weight is infinite: remove its column or choose other fractions"
        )
    return 0


def _numbers(text: str) -> tuple[float, ...]:
    try:
        return tuple(float(part) for part in text.split(","))
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r}: give numbers like 0.7,0.1,0.2") from None
