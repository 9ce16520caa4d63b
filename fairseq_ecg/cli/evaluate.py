"""``fairseq-ecg evaluate``."""

import argparse
from pathlib import Path

from fairseq_ecg.cli.options import (
    add_checkpoint_options,
    add_label_definition,
    checkpoint_options,
)
from fairseq_ecg.cli.outputs import say_left_out
from fairseq_ecg.cli.recordings import add_description, description_of

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
    parser.add_argument(
        "checkpoint", metavar="CHECKPOINT", help="fine-tuned network: .pt file, folder or hub id"
    )
    data = parser.add_mutually_exclusive_group(required=True)
    data.add_argument(
        "--manifest",
        metavar="TSV|STORE/SPLIT",
        help="prepared segments: manifests/test.tsv, or a split of a store, STORE/test",
    )
    data.add_argument(
        "--table",
        type=Path,
        metavar="CSV",
        help="recordings as they are: a table with the column path and one for each label, 0 or 1, "
        "empty where unknown",
    )
    parser.add_argument(
        "--labels",
        type=Path,
        metavar="NPY",
        help="those of --manifest, labels/y.npy (default: what the segments hold)",
    )
    parser.add_argument(
        "--split", metavar="NAME", help="of --table: its rows with this name in the column split"
    )
    add_checkpoint_options(parser)
    add_label_definition(parser, required=False)
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
    parser.add_argument(
        "--strict",
        action="store_true",
        help="stop at the first recording that cannot be used, in place of leaving it out",
    )
    add_description(parser)
    parser.set_defaults(run=run, parser=parser)


def run(arguments: argparse.Namespace) -> int:
    """Score, print and write the table."""
    from fairseq_ecg.data.errors import DataError
    from fairseq_ecg.data.targets import labels_of
    from fairseq_ecg.inference import load_model
    from fairseq_ecg.inference.evaluation import (
        evaluate,
        evaluate_recordings,
        format_scores,
        labelled_segments,
        write_scores,
    )
    from fairseq_ecg.inference.probe.tables import read_labelled_recordings

    if arguments.table and arguments.labels:
        arguments.parser.error("--labels goes with --manifest; a table has a column for each label")
    if arguments.split and not arguments.table:
        arguments.parser.error("--split goes with --table; of a store say --manifest STORE/SPLIT")

    on_error = "raise" if arguments.strict else "skip"

    def scores(untrained_seed: int | None):
        model = load_model(
            arguments.checkpoint,
            labels=arguments.label_def,
            untrained_seed=untrained_seed,
            **checkpoint_options(arguments),
        )
        if model.scale or not model.labels:
            kind = "is a regression" if model.scale else "was pre-trained only"
            raise DataError(
                f"{arguments.checkpoint}: {kind}, it predicts no labels. Give a fine-tuned "
                "classifier"
            )
        if arguments.table:
            split = arguments.split
            parts, _ = read_labelled_recordings(arguments.table, [split], model.labels)
            description = description_of(arguments)
            return evaluate_recordings(
                model, *parts[split], arguments.batch_size, description, on_error
            )
        dataset = labelled_segments(
            model, arguments.manifest, labels_of(arguments.labels), arguments.verify
        )
        return evaluate(model, dataset, arguments.batch_size, on_error)

    trained = scores(None)
    baseline = scores(arguments.seed) if arguments.baseline else None
    print(format_scores(trained, baseline))
    if arguments.out:
        write_scores(arguments.out, trained, baseline)
    status = say_left_out(trained.errors)
    if arguments.require_auroc is None:
        return status
    reached = trained.macro_auroc > arguments.require_auroc
    print(
        f"macro AUROC {trained.macro_auroc:.3f} on {trained.recordings} recordings: "
        f"{'above' if reached else 'NOT above'} the required {arguments.require_auroc:g}"
    )
    return status if reached else EXIT_REQUIREMENT_MISSED
