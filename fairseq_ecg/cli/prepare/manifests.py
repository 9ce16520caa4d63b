"""``fairseq-ecg prepare manifests``."""

import argparse
from pathlib import Path

from fairseq_ecg.cli.prepare.options import add_split_files, words


def add(steps) -> None:
    """Add the step."""
    parser = steps.add_parser(
        "manifests",
        help="list the segments of each split",
        description="Write <split>.tsv, the list of segments that task.data points at, of one or "
        "several sources.",
    )
    add_split_files(parser)
    parser.add_argument(
        "--save-dir", type=Path, required=True, metavar="DIR", help="folder to write to"
    )
    parser.add_argument(
        "--header",
        choices=("tab", "plain"),
        default="tab",
        help="first line: tab: a tab and the root, with / at its end; plain: the root, as older "
        "scripts of fairseq_signals write it; both are read (default: tab)",
    )
    parser.add_argument(
        "--dataset-subset",
        type=words,
        metavar="A,B",
        help="list only segments whose column dataset says one of these (default: all)",
    )
    parser.add_argument(
        "--path-must-contain", metavar="TEXT", help="list only files whose path contains this"
    )
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Write the manifests and say how long they are."""
    from fairseq_ecg.prepare.manifests import write_manifests

    counts = write_manifests(
        arguments.split_file_paths,
        arguments.save_dir,
        root=arguments.root,
        header=arguments.header,
        dataset_subset=arguments.dataset_subset,
        path_must_contain=arguments.path_must_contain,
    )
    for split, count in counts.items():
        print(f"{split}: {count} segments")
    return 0
