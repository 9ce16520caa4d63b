"""``fairseq-ecg probe``."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import CycloptsError, Group, Parameter

from fairseq_ecg.cli.fitting import FittingOptions
from fairseq_ecg.cli.options import (
    CSV,
    NPY,
    DefaultInHelp,
    Folder,
    Integer,
    LabelledCheckpointOptions,
    Number,
    Words,
)
from fairseq_ecg.cli.recordings import Described

COMPATIBLE = "compatible"
_KINDS = ("data", "table", "directory")


@Parameter(name="*", group=Group("data, one of three kinds"))
@dataclass(frozen=True, kw_only=True)
class Data:
    """What a probe is fitted to.

    Attributes:
        data: prepared segments: folder of train.tsv, valid.tsv, test.tsv, or a store; needs
            --labels
        table: recordings as they are: a table with the columns path and split, and one of 0 and 1
            for each label
        directory: extracted embeddings emb_<split>.npy (or encoder_out_<split>.npy) and the run's
            config.yaml; needs --manifest-file
        manifest_file: of --directory: table with save_file and idx of each recording
        labels: labels/y.npy (default with --directory: task.label_file)
        label_columns: of --table, separated by commas (default: all columns but path and split)
        splits: names of the splits
    """

    data: Annotated[str | None, Parameter(metavar="DIR")] = None
    table: CSV | None = None
    directory: Folder | None = None
    manifest_file: Annotated[CSV | None, Parameter(name=["--manifest-file", "--manifest_file"])] = (
        None
    )
    labels: NPY | None = None
    label_columns: Annotated[Words, Parameter(metavar="NAMES")] | None = None
    splits: Annotated[tuple[str, str, str], Parameter(metavar="TRAIN VALID TEST")] = (
        "train",
        "valid",
        "test",
    )

    def check(self, checkpoint: str | None) -> None:
        """Raise what is to be said of options that do not go together."""
        kinds = [name for name in _KINDS if getattr(self, name)]
        message = None
        if len(kinds) > 1 and kinds != ["data", "directory"]:
            message = "give one of --data, --table and --directory"
        elif not kinds:
            message = "give --data, --table or --directory"
        elif self.directory and not self.manifest_file:
            message = "--directory needs --manifest-file"
        elif not self.directory and not checkpoint:
            message = "--data and --table need a CHECKPOINT"
        elif kinds == ["data"] and not self.labels:
            message = "--data needs --labels"
        elif len(set(self.splits)) < 3:
            message = "--splits must name three different splits"
        if message:
            raise CycloptsError(msg=message)


@Parameter(name="*", group=Group("solver compatible, with fairseq_signals' defaults"))
@dataclass(frozen=True, kw_only=True)
class CompatibleOptions:
    """Options of the solver compatible.

    Attributes:
        n_epochs: passes over train
        lr: (default: 1e-5)
        betas: of Adam
        eps: of Adam
    """

    n_epochs: Annotated[Integer, Parameter(name=["--n-epochs", "--n_epochs"])] = 5000
    lr: Annotated[Number, DefaultInHelp] = 1e-5
    betas: Annotated[tuple[float, float], Parameter(metavar="X X")] = (0.9, 0.98)
    eps: Number = 1e-8


def probe(
    checkpoint: str | None = None,
    /,
    *,
    out: Folder | None = None,
    solver: Literal["lbfgs", "sgd", "compatible"] | None = None,
    skip_errors: bool = False,
    predictions: Literal["csv", "parquet"] = "csv",
    options: LabelledCheckpointOptions = LabelledCheckpointOptions(),
    data: Data = Data(),
    described: Described = Described(),
    fitting: FittingOptions = FittingOptions(),
    compatible: CompatibleOptions = CompatibleOptions(),
) -> int:
    """Fit a linear probe to the embeddings of a network, and score it.

    Logistic regression is fitted to the embeddings of a network that is left as it is, and scored
    on recordings and segments it has not seen. Embeddings are computed once and kept;
    regularisation, calibration and thresholds are chosen on valid.

    Args:
        checkpoint: network, pre-trained or fine-tuned; not needed with --directory
        out: folder to write to (default: --directory)
        solver: lbfgs finds the optimum; compatible is fairseq_signals' linear.py (default: lbfgs;
            with --directory compatible)
        skip_errors: with --table, leave out recordings that cannot be used
        predictions: file format of the predictions
    """
    data.check(checkpoint)
    out = out or data.directory
    if out is None:
        raise CycloptsError(msg="give --out")
    solver = solver or (COMPATIBLE if data.directory else "lbfgs")
    from fairseq_ecg.inference.probe.running import format_metrics, run_probe

    model, fingerprint = None, ""
    if data.directory:
        features, labels = _extracted(data, options, fitting.device or "cpu")
    else:
        cached = fitting.cache or out / "embeddings"
        on_error = "skip" if skip_errors else "raise"
        model, features, labels, fingerprint = _embedded(
            checkpoint, data, options, described, fitting, cached, on_error
        )
    if solver == COMPATIBLE:
        return _run_compatible(compatible, fitting, features, labels, out)
    result = run_probe(
        dict(zip(("train", "valid", "test"), features.values(), strict=True)),
        labels,
        out,
        fitting=fitting.fitting(solver),
        model=model,
        model_fingerprint=fingerprint,
        n_resamples=fitting.resamples,
        table_format=predictions,
    )
    print(format_metrics(result.metrics))
    return 0


def _run_compatible(
    compatible: CompatibleOptions, fitting: FittingOptions, features, labels, out: Path
) -> int:
    from fairseq_ecg.inference.probe.compatible import AdamSettings, train_probe

    settings = AdamSettings(
        **vars(compatible), seed=fitting.seeds[0], device=fitting.device or "cpu"
    )
    scores = train_probe(features, labels, out, settings, list(features))
    for split, values in scores.items():
        numbers = ", ".join(f"{name} {value:.4f}" for name, value in values.items())
        print(f"{split}: {numbers}")
    return 0


def _names(options: LabelledCheckpointOptions) -> list[str] | None:
    from fairseq_ecg.data.label_file import read_label_names

    return read_label_names(options.label_def) if options.label_def else None


def _extracted(data: Data, options: LabelledCheckpointOptions, device: str):
    """Return features by split that were extracted before, and names of the labels."""
    from fairseq_ecg.inference.probe.extraction import read_extracted

    named = _names(options)
    features = {
        split: read_extracted(
            data.directory,
            data.manifest_file,
            split,
            data=data.data and Path(data.data),
            label_file=data.labels,
            device=device,
        )
        for split in data.splits
    }
    n_labels = next(iter(features.values())).labels.shape[1]
    return features, named or [str(number) for number in range(n_labels)]


def _embedded(
    checkpoint: str,
    data: Data,
    options: LabelledCheckpointOptions,
    described: Described,
    fitting: FittingOptions,
    cached: Path,
    on_error: str,
):
    """Return the network, embeddings by split, names of the labels, and the network's mark."""
    from fairseq_ecg.data.label_file import LabelFile
    from fairseq_ecg.data.store import is_store
    from fairseq_ecg.inference.probe import EmbeddingCache
    from fairseq_ecg.inference.probe.tables import read_labelled_recordings

    named = _names(options)
    if data.table:
        description = described.description()
        by_split, named = read_labelled_recordings(
            data.table, data.splits, data.label_columns or named
        )
    # Its own labels, if it has any, are not used: they need no names.
    model = options.load_unnamed(checkpoint, device=fitting.device)
    cache = EmbeddingCache(cached, model, fitting.batch_size, fitting.workers)
    if data.table:
        features = {
            split: cache.of_recordings(*by_split[split], on_error, description)
            for split in data.splits
        }
        return model, features, named, cache.fingerprint
    suffix = "" if is_store(data.data) else ".tsv"
    folder = data.data.rstrip("/")
    features = {
        split: cache.of_manifest(f"{folder}/{split}{suffix}", data.labels, described.verify)
        for split in data.splits
    }
    if named is None:
        labels = LabelFile(data.labels)
        named = labels.names() or [str(number) for number in range(labels.n_labels)]
    return model, features, named, cache.fingerprint
