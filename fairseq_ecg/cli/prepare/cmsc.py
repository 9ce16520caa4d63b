"""``fairseq-ecg prepare cmsc``."""

import argparse
from pathlib import Path


def add(steps) -> None:
    """Add the step."""
    parser = steps.add_parser(
        "cmsc",
        help="list pairs of segments for contrastive pre-training",
        description="Make cmsc/<name>.tsv, a list of pairs of segments of a recording, of every "
        "manifest in a folder.",
    )
    parser.add_argument("root", type=Path, metavar="ROOT", help="folder of plain manifests")
    parser.add_argument(
        "--dest",
        type=Path,
        default=Path("."),
        metavar="DIR",
        help="folder for the folder cmsc (default: .)",
    )
    parser.add_argument(
        "--ext", default="mat", metavar="EXT", help="extension of the segment files (default: mat)"
    )
    parser.add_argument(
        "--consecutive",
        action="store_true",
        help="pair only segments with consecutive numbers, so that partners are neighbours even "
        "where segments are missing",
    )
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Write the lists and say how long they are."""
    from fairseq_ecg.prepare.manifests import write_cmsc_manifests

    counts = write_cmsc_manifests(
        arguments.root,
        arguments.dest,
        extension=arguments.ext,
        consecutive=arguments.consecutive,
    )
    for name, count in counts.items():
        print(f"{name}: {count} pairs")
        if not count:
            print(f"warning: no recording of {name}.tsv has two segments to pair")
    return 0
