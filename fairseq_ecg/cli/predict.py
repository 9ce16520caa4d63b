"""``fairseq-ecg predict``."""

from dataclasses import dataclass
from typing import Annotated

from cyclopts import Parameter

from fairseq_ecg.cli.options import File, LabelledCheckpointOptions, Thresholds
from fairseq_ecg.cli.recordings import Checkpoint, Recording, Use
from fairseq_ecg.errors import DataError


@dataclass(frozen=True, kw_only=True)
class PredictionUse(Use):
    """Use of a network whose labels have names."""

    options: LabelledCheckpointOptions = LabelledCheckpointOptions()


def predict(
    checkpoint: Checkpoint,
    /,
    *recordings: Recording,
    out: File,
    segments: File | None = None,
    aggregation: Annotated[tuple[str, ...], Parameter(metavar="RULE|LABEL=RULE")] = (),
    thresholds: Thresholds | None = None,
    use: PredictionUse = PredictionUse(),
) -> int:
    """Predict the probability of every label of recordings.

    Recordings may be of any length, at any rate, with any leads. A run that was interrupted goes on
    where it was.

    Args:
        out: table to write, a row for each recording: .csv, .tsv or .parquet
        segments: table to write with a row for each segment of each recording
        aggregation: how the probabilities of segments become that of the recording, max or mean,
            for all labels or for one; may be given several times (default: as ECG-FM's quick start,
            max for labels such as 'Premature ventricular contraction', mean for most)
        thresholds: also say whether each label holds, from this probability on: one for all, or a
            table with the columns label and threshold (of labels that it does not name: 0.5)
    """
    from fairseq_ecg.inference.thresholds import holding, thresholds_of

    rules = _rules(aggregation)
    by_label: dict[str, float] = {}

    def compute(model, recordings, options):
        if thresholds is not None and not by_label:
            if model.scale:
                raise DataError("--thresholds: the network is a regression, it predicts no labels")
            by_label.update(thresholds_of(model.labels, thresholds))
        prediction = model.predict(recordings, aggregation=rules, **options)
        tables = prediction.columns()
        if thresholds is not None:
            tables["recordings"] |= holding(tables["recordings"], by_label)
        return tables, prediction.errors

    files = {"recordings": out, "segments": segments}
    return use.run(checkpoint, recordings, files, ("predict", rules, thresholds), compute)


def _rules(aggregation: tuple[str, ...]) -> dict[str, str] | str | None:
    """Read ``--aggregation``: a rule for all labels, or rules of some."""
    if len(aggregation) == 1 and "=" not in aggregation[0]:
        return aggregation[0]
    for rule in aggregation:
        if "=" not in rule:
            raise DataError(f"--aggregation {rule}: give one rule for all labels, or LABEL=RULE")
    return dict(rule.rsplit("=", 1) for rule in aggregation) or None
