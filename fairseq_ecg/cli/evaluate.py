"""``fairseq-ecg evaluate``."""

import argparse
from pathlib import Path

from fairseq_ecg.cli.options import add_label_definition

EXIT_REQUIREMENT_MISSED = 1


def add(commands) -> None:
    """Add the command."""
    parser = commands.add_parser(
        "evaluate",
        help="score a fine-tuned network on labelled recordings",
        description="Score a fine-tuned network per recording (probabilities of its segments "
        "aggregated, by the mean for most labels): area under the ROC curve (AUROC) and average "
        "precision (AUPRC) of each label.",
    )
    parser.add_argument("checkpoint", type=Path, metavar="CHECKPOINT", help="fine-tuned network")
    parser.add_argument(
        "--manifest", type=Path, required=True, metavar="TSV", help="segments, manifests/test.tsv"
    )
    parser.add_argument(
        "--labels", type=Path, required=True, metavar="NPY", help="their labels, labels/y.npy"
    )
    add_label_definition(parser, required=True)
    parser.add_argument(
        "--baseline",
        choices=["untrained"],
        help="also score the same network with weights drawn at random",
    )
    parser.add_argument(
        "--seed", type=int, default=1, help="of the weights of --baseline (default: 1)"
    )
    parser.add_argument("--batch-size", type=int, default=64, help="in segments (default: 64)")
    parser.add_argument("--out", type=Path, metavar="CSV", help="also write the table there")
    parser.add_argument(
        "--require-auroc",
        type=float,
        metavar="X",
        help="exit with status 1 unless the mean AUROC of the labels exceeds X",
    )
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Score, print and write the table."""
    from fairseq_ecg.inference import load_model
    from fairseq_ecg.inference.evaluation import (
        evaluate,
        format_scores,
        labelled_segments,
        write_scores,
    )

    def scores(untrained_seed: int | None):
        model = load_model(
            arguments.checkpoint, labels=arguments.label_def, untrained_seed=untrained_seed
        )
        dataset = labelled_segments(model, arguments.manifest, arguments.labels)
        return evaluate(model, dataset, arguments.batch_size)

    trained = scores(None)
    baseline = scores(arguments.seed) if arguments.baseline else None
    print(format_scores(trained, baseline))
    if arguments.out:
        write_scores(arguments.out, trained, baseline)
    if arguments.require_auroc is None:
        return 0
    reached = trained.macro_auroc > arguments.require_auroc
    print(
        f"macro AUROC {trained.macro_auroc:.3f} on {trained.recordings} recordings: "
        f"{'above' if reached else 'NOT above'} the required {arguments.require_auroc:g}"
    )
    return 0 if reached else EXIT_REQUIREMENT_MISSED
