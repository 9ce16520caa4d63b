"""``fairseq-ecg probe``."""

import argparse
from pathlib import Path

from fairseq_ecg.cli.options import (
    add_checkpoint_options,
    add_label_definition,
    checkpoint_options,
)
from fairseq_ecg.cli.prepare.options import words
from fairseq_ecg.cli.recordings import add_description, description_of

COMPATIBLE = "compatible"


def add(commands) -> None:
    """Add the command."""
    parser = commands.add_parser(
        "probe",
        help="fit a linear probe to the embeddings of a network, and score it",
        description="Fit logistic regression to the embeddings of a network that is left as it "
        "is, and score it on recordings and segments it has not seen. Embeddings are computed once "
        "and kept; regularisation, calibration and thresholds are chosen on valid.",
    )
    parser.add_argument(
        "checkpoint",
        nargs="?",
        metavar="CHECKPOINT",
        help="network, pre-trained or fine-tuned; not needed with --directory",
    )
    add_checkpoint_options(parser)
    data = parser.add_argument_group("data, one of three kinds")
    data.add_argument(
        "--data",
        metavar="DIR",
        help="prepared segments: folder of train.tsv, valid.tsv, test.tsv, or a store; needs "
        "--labels",
    )
    data.add_argument(
        "--table",
        type=Path,
        metavar="CSV",
        help="recordings as they are: a table with the columns path and split, and one of 0 and 1 "
        "for each label",
    )
    data.add_argument(
        "--directory",
        type=Path,
        metavar="DIR",
        help="extracted embeddings emb_<split>.npy (or encoder_out_<split>.npy) and the run's "
        "config.yaml; needs --manifest-file",
    )
    data.add_argument(
        "--manifest-file",
        "--manifest_file",
        type=Path,
        metavar="CSV",
        help="of --directory: table with save_file and idx of each recording",
    )
    data.add_argument(
        "--labels",
        type=Path,
        metavar="NPY",
        help="labels/y.npy (default with --directory: task.label_file)",
    )
    add_label_definition(data, required=False)
    data.add_argument(
        "--label-columns",
        type=words,
        metavar="NAMES",
        help="of --table, separated by commas (default: all columns but path and split)",
    )
    add_description(parser)
    data.add_argument(
        "--splits",
        nargs=3,
        default=["train", "valid", "test"],
        metavar=("TRAIN", "VALID", "TEST"),
        help="names of the splits (default: train valid test)",
    )
    parser.add_argument(
        "--out", type=Path, metavar="DIR", help="folder to write to (default: --directory)"
    )
    parser.add_argument(
        "--cache",
        type=Path,
        metavar="DIR",
        help="folder of the embeddings (default: embeddings in --out)",
    )
    parser.add_argument(
        "--solver",
        choices=["lbfgs", "sgd", COMPATIBLE],
        help="lbfgs finds the optimum; compatible is fairseq_signals' linear.py (default: lbfgs; "
        "with --directory compatible)",
    )
    add_fitting_options(parser)
    parser.add_argument(
        "--skip-errors",
        action="store_true",
        help="with --table, leave out recordings that cannot be used",
    )
    parser.add_argument(
        "--predictions",
        choices=["csv", "parquet"],
        default="csv",
        help="form of the predictions (default: csv)",
    )
    parser.add_argument("--device", metavar="NAME", help="cpu or cuda (default: a GPU if any)")
    adam = parser.add_argument_group("solver compatible, with fairseq_signals' defaults")
    adam.add_argument("--n-epochs", "--n_epochs", type=int, default=5000, metavar="N",
                      help="passes over train (default: 5000)")  # fmt: skip
    adam.add_argument("--lr", type=float, default=1e-5, metavar="X", help="(default: 1e-5)")
    adam.add_argument("--betas", type=float, nargs=2, default=[0.9, 0.98], metavar="X",
                      help="of Adam (default: 0.9 0.98)")  # fmt: skip
    adam.add_argument("--eps", type=float, default=1e-8, metavar="X",
                      help="of Adam (default: 1e-8)")  # fmt: skip
    parser.set_defaults(run=lambda arguments: run(parser, arguments))


def add_fitting_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of :class:`fairseq_ecg.inference.probe.Fitting` and of the bootstrap."""
    parser.add_argument(
        "--penalties",
        type=_numbers,
        metavar="X,X",
        help="of the squared weights, of which the best on valid is taken (default: "
        "1,0.1,0.01,0.001,0.0001,0.00001)",
    )
    parser.add_argument(
        "--calibration",
        choices=["none", "temperature", "platt"],
        default="none",
        help="of the probabilities, fitted on valid (default: none)",
    )
    parser.add_argument(
        "--sensitivity",
        type=float,
        default=0.9,
        metavar="X",
        help="that one of the thresholds reaches on valid (default: 0.9)",
    )
    parser.add_argument(
        "--aggregation",
        choices=["mean", "max"],
        default="mean",
        help="of the probabilities of a recording's segments (default: mean)",
    )
    parser.add_argument(
        "--seeds",
        type=lambda text: tuple(int(word) for word in words(text)),
        default=(1,),
        metavar="N,N",
        help="of what is drawn; sgd is run with each, and the best on valid kept; the first is "
        "that of the bootstrap (default: 1)",
    )
    parser.add_argument("--epochs", type=int, default=30, metavar="N",
                        help="of sgd (default: 30)")  # fmt: skip
    parser.add_argument("--learning-rate", type=float, default=0.1, metavar="X",
                        help="of sgd (default: 0.1)")  # fmt: skip
    parser.add_argument(
        "--resamples",
        type=int,
        default=1000,
        metavar="N",
        help="of the bootstrap, in which recordings are drawn (default: 1000)",
    )
    parser.add_argument(
        "--batch-size",
        type=int,
        default=32,
        metavar="N",
        help="segments that go through the network together (default: 32)",
    )
    parser.add_argument(
        "--workers",
        type=int,
        default=0,
        metavar="N",
        help="processes that read recordings (default: 0, none beside this one)",
    )


def fitting_of(arguments: argparse.Namespace, solver: str):
    """Make a Fitting of the options."""
    from fairseq_ecg.inference.probe import Fitting
    from fairseq_ecg.inference.probe.fitting import PENALTIES

    return Fitting(
        solver=solver,
        penalties=PENALTIES if arguments.penalties is None else arguments.penalties,
        calibration=arguments.calibration,
        sensitivity=arguments.sensitivity,
        aggregation=arguments.aggregation,
        seeds=arguments.seeds,
        epochs=arguments.epochs,
        learning_rate=arguments.learning_rate,
    )


def run(parser: argparse.ArgumentParser, arguments: argparse.Namespace) -> int:
    """Fit, write and print the scores."""
    kinds = [name for name in ("data", "table", "directory") if getattr(arguments, name)]
    if len(kinds) > 1 and kinds != ["data", "directory"]:
        parser.error("give one of --data, --table and --directory")
    if not kinds:
        parser.error("give --data, --table or --directory")
    if arguments.directory and not arguments.manifest_file:
        parser.error("--directory needs --manifest-file")
    if not arguments.directory and not arguments.checkpoint:
        parser.error("--data and --table need a CHECKPOINT")
    if kinds == ["data"] and not arguments.labels:
        parser.error("--data needs --labels")
    if len(set(arguments.splits)) < 3:
        parser.error("--splits must name three different splits")
    out = arguments.out or arguments.directory
    if out is None:
        parser.error("give --out")
    solver = arguments.solver or (COMPATIBLE if arguments.directory else "lbfgs")
    from fairseq_ecg.inference.probe.running import format_metrics, run_probe

    features, labels, model, fingerprint = _features(arguments, out)
    if solver == COMPATIBLE:
        return _run_compatible(arguments, features, labels, out)
    result = run_probe(
        dict(zip(("train", "valid", "test"), features.values(), strict=True)),
        labels,
        out,
        fitting=fitting_of(arguments, solver),
        model=model,
        model_fingerprint=fingerprint,
        n_resamples=arguments.resamples,
        table_format=arguments.predictions,
    )
    print(format_metrics(result.metrics))
    return 0


def _run_compatible(arguments: argparse.Namespace, features, labels, out: Path) -> int:
    from fairseq_ecg.inference.probe.compatible import AdamSettings, train_probe

    settings = AdamSettings(
        n_epochs=arguments.n_epochs,
        lr=arguments.lr,
        betas=tuple(arguments.betas),
        eps=arguments.eps,
        seed=arguments.seeds[0],
        device=arguments.device or "cpu",
    )
    scores = train_probe(features, labels, out, settings, list(features))
    for split, values in scores.items():
        numbers = ", ".join(f"{name} {value:.4f}" for name, value in values.items())
        print(f"{split}: {numbers}")
    return 0


def _features(arguments: argparse.Namespace, out: Path):
    """Return features by split, names of the labels, the network if there is one, and its mark."""
    from fairseq_ecg.data.label_file import LabelFile, read_label_names

    named = read_label_names(arguments.label_def) if arguments.label_def else None
    if arguments.directory:
        from fairseq_ecg.inference.probe.extraction import read_extracted

        features = {
            split: read_extracted(
                arguments.directory,
                arguments.manifest_file,
                split,
                data=arguments.data and Path(arguments.data),
                label_file=arguments.labels,
                device=arguments.device or "cpu",
            )
            for split in arguments.splits
        }
        n_labels = next(iter(features.values())).labels.shape[1]
        return features, named or [str(number) for number in range(n_labels)], None, ""
    from fairseq_ecg.inference.probe import EmbeddingCache

    if arguments.table:
        from fairseq_ecg.inference.probe.tables import read_labelled_recordings

        description = description_of(arguments)
        parts, named = read_labelled_recordings(
            arguments.table, arguments.splits, arguments.label_columns or named
        )
    model = load_encoder(arguments)
    cache = EmbeddingCache(
        arguments.cache or out / "embeddings", model, arguments.batch_size, arguments.workers
    )
    features = {}
    for split in arguments.splits:
        if arguments.table:
            on_error = "skip" if arguments.skip_errors else "raise"
            features[split] = cache.of_recordings(*parts[split], on_error, description)
        else:
            suffix = "" if _is_store(arguments.data) else ".tsv"
            manifest = f"{arguments.data.rstrip('/')}/{split}{suffix}"
            features[split] = cache.of_manifest(manifest, arguments.labels, arguments.verify)
    if named is None:
        labels = LabelFile(arguments.labels)
        named = labels.names() or [str(number) for number in range(labels.n_labels)]
    return features, named, model, cache.fingerprint


def load_encoder(arguments: argparse.Namespace):
    """Read a network whose own labels, if it has any, are not used: they need no names."""
    import warnings

    from fairseq_ecg.inference import load_model

    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "(?s).*its labels have no names", UserWarning)
        return load_model(
            arguments.checkpoint, device=arguments.device, **checkpoint_options(arguments)
        )


def _is_store(folder: str) -> bool:
    from fairseq_ecg.data.store import is_store

    return is_store(folder)


def _numbers(text: str) -> tuple[float, ...]:
    return tuple(float(word) for word in words(text))
