"""``fairseq-ecg predict``."""

import argparse
from pathlib import Path

from fairseq_ecg.cli.options import add_label_definition
from fairseq_ecg.cli.recordings import (
    add_network,
    add_policies,
    add_recordings,
    use,
    writer_of_tables,
)


def add(commands) -> None:
    """Add the command."""
    parser = commands.add_parser(
        "predict",
        help="tell the probability of every label of recordings",
        description="Tell the probability of every label of recordings, of any length, at any "
        "rate, with any leads. A run that was interrupted goes on where it was.",
    )
    add_network(parser, batch_size=32)
    add_recordings(parser)
    parser.add_argument(
        "--out",
        type=Path,
        required=True,
        metavar="FILE",
        help="table to write, a row for each recording: .csv, .tsv or .parquet",
    )
    parser.add_argument(
        "--segments",
        type=Path,
        metavar="FILE",
        help="table to write with a row for each segment of each recording",
    )
    add_label_definition(parser, required=False)
    parser.add_argument(
        "--aggregation",
        action="append",
        default=[],
        metavar="RULE|LABEL=RULE",
        help="how the probabilities of segments become that of the recording, max or mean, for "
        "all labels or for one; may be given several times (default: as ECG-FM's quick start, max "
        "for labels such as 'Premature ventricular contraction', mean for most)",
    )
    parser.add_argument(
        "--thresholds",
        metavar="P|CSV",
        help="also tell whether each label holds, from this probability on: one for all, or a "
        "table with the columns label and threshold (of labels that it does not name: 0.5)",
    )
    add_policies(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Predict, and say what was written."""
    from fairseq_ecg.data.errors import DataError
    from fairseq_ecg.inference.thresholds import holding, thresholds_of

    write = writer_of_tables(arguments, arrays=False)
    aggregation = _aggregation(arguments.aggregation)
    thresholds = None if arguments.thresholds is None else _number_or_path(arguments.thresholds)

    def compute(model, recordings, options):
        nonlocal thresholds
        if thresholds is not None and not isinstance(thresholds, dict):
            if model.scale:
                raise DataError("--thresholds: the network is a regression, it predicts no labels")
            thresholds = thresholds_of(model.labels, thresholds)
        prediction = model.predict(recordings, aggregation=aggregation, **options)
        tables = prediction.columns()
        if thresholds is not None:
            tables["recordings"] |= holding(tables["recordings"], thresholds)
        return tables, prediction.errors

    settings = ("predict", aggregation, arguments.thresholds)
    return use(arguments, settings, compute, write)


def _number_or_path(text: str) -> float | Path:
    try:
        return float(text)
    except ValueError:
        return Path(text)


def _aggregation(words: list[str]) -> dict[str, str] | str | None:
    """Read ``--aggregation``: a rule for all labels, or rules of some."""
    from fairseq_ecg.data.errors import DataError

    if len(words) == 1 and "=" not in words[0]:
        return words[0]
    for word in words:
        if "=" not in word:
            raise DataError(f"--aggregation {word}: give one rule for all labels, or LABEL=RULE")
    return dict(word.rsplit("=", 1) for word in words) or None
