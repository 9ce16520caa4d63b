"""``fairseq-ecg prepare labels``."""

import argparse
from pathlib import Path

from fairseq_ecg.cli.prepare.options import words

SHOWN = 5
"""Recordings without labels that are named."""


def add(steps) -> None:
    """Add the step."""
    parser = steps.add_parser(
        "labels",
        help="make label files of a table of labels",
        description="Write y.npy, label_def.csv and pos_weight.txt, which fine-tuning reads, of a "
        "table of labels and of the recordings' splits.",
    )
    parser.add_argument(
        "--output-dir", type=Path, required=True, metavar="DIR", help="folder to write to"
    )
    parser.add_argument(
        "--labels",
        type=Path,
        required=True,
        metavar="CSV",
        help="column idx or save_file, and one column of 0 and 1, False and True, or numbers "
        "between for each label",
    )
    parser.add_argument(
        "--meta-splits",
        type=Path,
        required=True,
        metavar="CSV",
        help="recordings and their splits, meta_split.csv",
    )
    parser.add_argument(
        "--columns",
        type=words,
        metavar="A,B",
        help="the labels, in the order of the network's outputs (default: all columns of --labels "
        "but idx and save_file)",
    )
    parser.add_argument(
        "--segmented-splits",
        type=Path,
        metavar="CSV",
        help="segments and their splits, segmented_split.csv, for "
        "--labeled-segmented-splits-save-file",
    )
    parser.add_argument(
        "--labeled-meta-splits-save-file",
        type=Path,
        metavar="CSV",
        help="also write there the rows of --meta-splits that have all labels",
    )
    parser.add_argument(
        "--labeled-segmented-splits-save-file",
        type=Path,
        metavar="CSV",
        help="also write there the rows of --segmented-splits that have all labels",
    )
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Write the files and say what is in them."""
    from fairseq_ecg.prepare.labels import prepare_labels

    summary = prepare_labels(
        arguments.labels,
        arguments.meta_splits,
        arguments.output_dir,
        columns=arguments.columns,
        segmented_splits=arguments.segmented_splits,
        labeled_meta_splits=arguments.labeled_meta_splits_save_file,
        labeled_segmented_splits=arguments.labeled_segmented_splits_save_file,
    )
    print(
        f"{len(summary.names)} labels of {summary.labelled} recordings; "
        f"y.npy has {summary.rows} rows"
    )
    if summary.unlabelled:
        first = ", ".join(map(str, summary.unlabelled[:SHOWN]))
        more = ", ..." if len(summary.unlabelled) > SHOWN else ""
        print(f"{len(summary.unlabelled)} recordings lack labels: idx {first}{more}")
        if arguments.labeled_segmented_splits_save_file is None:
            print(
                "fine-tuning would take what they lack for 0: leave them out by manifests of the "
                "table that --labeled-segmented-splits-save-file writes"
            )
    if summary.unknown:
        print(f"{summary.unknown} lines of {arguments.labels} are of recordings in no split")
    for label in summary.untrainable:
        print(
            f"warning: {label!r} holds in no recording of the training split, so that its "
            "pos_weight is infinite: leave it out (--columns) or choose other fractions"
        )
    return 0
