"""``fairseq-ecg prepare combine``."""

import argparse
from pathlib import Path


def add(steps) -> None:
    """Add the step."""
    parser = steps.add_parser(
        "combine",
        help="join the manifests of several folders",
        description="Join the manifests of the same name in several folders, on a root that they "
        "have in common.",
    )
    parser.add_argument(
        "manifest_dirs", type=Path, nargs="+", metavar="DIR", help="folders of manifests"
    )
    parser.add_argument(
        "--dest", type=Path, required=True, metavar="DIR", help="folder to write to"
    )
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Join the manifests and say how long they are."""
    from fairseq_ecg.prepare.combine import combine_manifests

    for name, count in combine_manifests(arguments.manifest_dirs, arguments.dest).items():
        print(f"{name}: {count} lines")
    return 0
