"""``fairseq-ecg prepare subset``."""

import argparse
from pathlib import Path

from fairseq_ecg.cli.prepare.options import add_seed


def add(steps) -> None:
    """Add the step."""
    parser = steps.add_parser(
        "subset",
        help="take a part of the training recordings",
        description="Write manifests whose train.tsv, plain or CMSC, has a part of the recordings, "
        "each with all its segments; the other manifests are copied.",
    )
    parser.add_argument(
        "--manifest-dir", type=Path, required=True, metavar="DIR", help="folder of manifests"
    )
    parser.add_argument(
        "--percent",
        required=True,
        metavar="P",
        help="fraction of the recordings to keep, a decimal such as 0.1",
    )
    parser.add_argument(
        "--save-dir",
        type=Path,
        metavar="DIR",
        help="folder to write to, which must not exist (default: P in the folder of manifests, "
        "0.5 for 0.50)",
    )
    add_seed(parser, "of the drawing; with the same one a larger part holds a smaller one")
    parser.add_argument(
        "--meta-splits",
        type=Path,
        metavar="CSV",
        help="recordings with the column --patient-col: draw patients in place of recordings",
    )
    parser.add_argument(
        "--patient-col", metavar="NAME", help="column of --meta-splits that names the patient"
    )
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Write the manifests and say how long they are."""
    from fairseq_ecg.data.errors import DataError
    from fairseq_ecg.prepare.subset import write_subset

    try:
        fraction = float(arguments.percent)
    except ValueError:
        raise DataError(f"--percent {arguments.percent}: give a decimal such as 0.1") from None
    counts = write_subset(
        arguments.manifest_dir,
        fraction,
        arguments.save_dir or arguments.manifest_dir / str(fraction),
        seed=arguments.seed,
        meta_splits=arguments.meta_splits,
        patient_column=arguments.patient_col,
    )
    for name, count in counts.items():
        print(f"{name}: {count} lines")
    return 0
