"""``fairseq-ecg prepare identification``."""

import argparse
from pathlib import Path

from fairseq_ecg.cli.prepare.options import add_seed, add_split_files


def add(steps) -> None:
    """Add the step."""
    parser = steps.add_parser(
        "identification",
        help="list segments for the identification of patients",
        description="Write identify/train.tsv, and for patients of whom there are two recordings "
        "and who are drawn for validation identify/valid_gallery.tsv and identify/valid_probe.tsv.",
    )
    add_split_files(parser)
    parser.add_argument(
        "--patient-col",
        required=True,
        metavar="NAME",
        help="column of the tables that names the patient",
    )
    parser.add_argument(
        "--dest",
        type=Path,
        default=Path("."),
        metavar="DIR",
        help="folder for the folder identify (default: .)",
    )
    parser.add_argument(
        "--valid-percent",
        type=float,
        default=0.2,
        metavar="P",
        help="probability of a patient to be drawn for validation (default: 0.2)",
    )
    add_seed(parser, "of the drawing")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Write the lists and say how many patients are in them."""
    from fairseq_ecg.prepare.identification import write_identification_manifests

    counts = write_identification_manifests(
        arguments.split_file_paths,
        arguments.dest,
        patient_column=arguments.patient_col,
        valid_fraction=arguments.valid_percent,
        seed=arguments.seed,
        root=arguments.root,
    )
    for name, patients in counts.items():
        print(f"{name}: {patients} patients")
    return 0
