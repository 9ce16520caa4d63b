"""``fairseq-ecg``: programs around training. Training itself is ``fairseq-hydra-train``."""

import argparse
import logging
import sys
from collections.abc import Sequence
from pathlib import Path

# Whatever takes time to import is imported where it is needed: --help is to answer at once.

EXIT_REQUIREMENT_MISSED = 1
EXIT_USER_ERROR = 2


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command.

    Args:
        argv: arguments; those of the process if None.

    Returns:
        The exit status: 0, 1 where a required score is missed, 2 where the input cannot be used.
    """
    arguments = _parser().parse_args(argv)
    # Before fairseq is imported, which would have everything logged.
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    from fairseq_ecg.compat.checkpoint import CheckpointError
    from fairseq_ecg.data.errors import DataError

    try:
        return arguments.run(arguments)
    except (DataError, CheckpointError, OSError) as error:
        print(f"fairseq-ecg: {' '.join(str(error).split())}", file=sys.stderr)
        return EXIT_USER_ERROR


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="fairseq-ecg", description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    _add_prepare(commands)
    _add_evaluate(commands)
    _add_plot(commands)
    return parser


def _add_prepare(commands) -> None:
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
    _add_segment_options(parser)
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
    parser.set_defaults(run=_prepare)


def _prepare(arguments: argparse.Namespace) -> int:
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


def _add_evaluate(commands) -> None:
    parser = commands.add_parser(
        "evaluate",
        help="score a fine-tuned network on labelled recordings",
        description="Score a fine-tuned network per recording (mean of the probabilities of its "
        "segments): area under the ROC curve (AUROC) and average precision (AUPRC) of each label.",
    )
    parser.add_argument("checkpoint", type=Path, metavar="CHECKPOINT", help="fine-tuned network")
    parser.add_argument(
        "--manifest", type=Path, required=True, metavar="TSV", help="segments, manifests/test.tsv"
    )
    parser.add_argument(
        "--labels", type=Path, required=True, metavar="NPY", help="their labels, labels/y.npy"
    )
    _add_label_definition(parser, required=True)
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
    parser.set_defaults(run=_evaluate)


def _evaluate(arguments: argparse.Namespace) -> int:
    from fairseq_ecg.inference.classifier import Classifier
    from fairseq_ecg.inference.evaluation import evaluate, format_scores, write_scores
    from fairseq_ecg.prepare.labels import read_label_names

    def scores(untrained_seed: int | None):
        classifier = Classifier.load(arguments.checkpoint, labels, untrained_seed)
        dataset = classifier.dataset(arguments.manifest, arguments.labels)
        return evaluate(classifier, dataset, arguments.batch_size)

    labels = read_label_names(arguments.label_def)
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


def _add_plot(commands) -> None:
    parser = commands.add_parser(
        "plot",
        help="draw a recording, with what a network says of it",
        description="Draw the first 10 s of a recording on ECG paper (25 mm/s, 10 mm/mV) as a "
        "PNG file in true size, with the probabilities that a fine-tuned network gives its labels.",
    )
    parser.add_argument(
        "recording",
        type=Path,
        metavar="RECORDING",
        help="WFDB record in mV or uV, or .mat file of one that is not yet standardised",
    )
    parser.add_argument("--out", type=Path, required=True, metavar="PNG", help="file to write")
    parser.add_argument("--checkpoint", type=Path, metavar="PT", help="fine-tuned network")
    _add_label_definition(parser, required=False)
    parser.add_argument(
        "--truth",
        type=Path,
        metavar="CSV",
        help="table of labels, as for prepare, to mark those that hold",
    )
    _add_segment_options(parser)
    parser.set_defaults(run=_plot, parser=parser)


def _plot(arguments: argparse.Namespace) -> int:
    if bool(arguments.checkpoint) != bool(arguments.label_def):
        arguments.parser.error("--checkpoint and --label-def need each other")
    if arguments.truth and not arguments.checkpoint:
        arguments.parser.error("--truth needs --checkpoint")
    from fairseq_ecg.inference.picture import Prediction, draw
    from fairseq_ecg.prepare.recordings import read_recording

    recording = read_recording(arguments.recording)
    prediction = None
    if arguments.checkpoint:
        from fairseq_ecg.inference.classifier import Classifier
        from fairseq_ecg.prepare.labels import labels_of, read_label_names

        labels = read_label_names(arguments.label_def)
        classifier = Classifier.load(arguments.checkpoint, labels)
        segment_samples = round(arguments.segment_seconds * arguments.sample_rate)
        prediction = Prediction(
            classifier.of_recording(recording, arguments.sample_rate, segment_samples),
            labels_of(arguments.recording, arguments.truth, labels) if arguments.truth else None,
        )
    draw(recording, arguments.recording.stem, arguments.out, prediction)
    return 0


def _add_segment_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--sample-rate",
        type=int,
        default=500,
        metavar="HZ",
        help="of the segments that the network reads, in Hz (default: 500)",
    )
    parser.add_argument(
        "--segment-seconds",
        type=float,
        default=5.0,
        metavar="S",
        help="length of these segments in seconds (default: 5)",
    )


def _add_label_definition(parser: argparse.ArgumentParser, required: bool) -> None:
    parser.add_argument(
        "--label-def",
        type=Path,
        required=required,
        metavar="CSV",
        help="names of the labels, labels/label_def.csv",
    )


def _numbers(text: str) -> tuple[float, ...]:
    try:
        return tuple(float(part) for part in text.split(","))
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r}: give numbers like 0.7,0.1,0.2") from None


if __name__ == "__main__":
    sys.exit(main())
