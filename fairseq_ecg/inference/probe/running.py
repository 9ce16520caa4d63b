"""From embeddings of train, valid and test to a probe and everything that is said of it."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import pandas as pd

from fairseq_ecg.errors import DataError
from fairseq_ecg.inference.calibration import choose_thresholds
from fairseq_ecg.inference.metrics import RESAMPLES
from fairseq_ecg.inference.model import ECGModel
from fairseq_ecg.inference.probe.embedding import Features
from fairseq_ecg.inference.probe.fitting import Fitting, Trial, fit_probe
from fairseq_ecg.inference.probe.linear import PROBE, LinearProbe
from fairseq_ecg.inference.probe.scoring import (
    AREAS,
    LEVELS,
    MACRO,
    draw,
    predict,
    prediction_table,
    score,
    score_thresholds,
    with_interval,
    write_json,
    write_whole,
)

SPLITS = ("train", "valid", "test")


@dataclass(frozen=True, eq=False)
class ProbeResult:
    """A probe and its scores.

    Attributes:
        probe: the probe.
        trials: what was tried.
        metrics: see :func:`fairseq_ecg.inference.probe.scoring.score`, of valid and test.
        thresholds: see :func:`fairseq_ecg.inference.probe.scoring.score_thresholds`.
    """

    probe: LinearProbe
    trials: Sequence[Trial]
    metrics: pd.DataFrame
    thresholds: pd.DataFrame

    def macro(self) -> pd.Series:
        """Return the row of the mean of all labels on the recordings of test."""
        rows = of_test(self.metrics)
        return rows[rows["label"] == MACRO].iloc[0]


def run_probe(
    features: Mapping[str, Features],
    labels: Sequence[str],
    out: Path,
    *,
    fitting: Fitting | None = None,
    model: ECGModel | None = None,
    model_fingerprint: str = "",
    n_resamples: int = RESAMPLES,
    table_format: str = "csv",
) -> ProbeResult:
    """Fit a probe on train, choose on valid, score on valid and test, and write all of it.

    Args:
        features: of ``train``, ``valid`` and ``test``.
        labels: names of the labels.
        out: folder of ``metrics.csv``, ``metrics.json``, ``thresholds.csv``, ``trials.csv``,
            ``predictions``, ``roc.png``, ``pr.png``, ``reliability.png``, ``probe.safetensors``
            and, with a network, ``model``, which `load_model` reads.
        fitting: how; None: the defaults.
        model: the network that the embeddings are of, if it is at hand.
        model_fingerprint: of it.
        n_resamples: of the bootstrap, whose seed is the first of ``fitting``.
        table_format: of ``predictions``, ``csv`` or ``parquet``.

    Returns:
        The result.

    Raises:
        DataError: see :func:`fairseq_ecg.inference.probe.fitting.fit_probe`.
    """
    fitting = fitting or Fitting()
    missing = [split for split in SPLITS if split not in features]
    if missing:
        raise DataError(f"no recordings of {', '.join(missing)}: a probe needs all three splits")
    kept = {split: features[split].usable(split) for split in SPLITS}
    probe, trials = fit_probe(kept["train"], kept["valid"], labels, fitting, model_fingerprint)
    predicted = {split: predict(probe, kept[split], split) for split in SPLITS[1:]}
    every = [predicted[split][level] for split in predicted for level in LEVELS]
    metrics = pd.concat(
        [score(one, labels, n_resamples=n_resamples, seed=fitting.seeds[0]) for one in every],
        ignore_index=True,
    )
    chosen = {
        level: choose_thresholds(one.truth, one.probabilities, fitting.sensitivity)
        for level, one in predicted["valid"].items()
    }
    thresholds = pd.concat(
        [score_thresholds(one, labels, chosen[one.level]) for one in every], ignore_index=True
    )
    probe = replace(probe, thresholds=chosen["recording"])
    result = ProbeResult(probe, trials, metrics, thresholds)
    write_whole(out / "metrics.csv", metrics)
    write_whole(out / "thresholds.csv", thresholds)
    write_whole(out / "trials.csv", pd.DataFrame(map(asdict, trials)))
    write_whole(out / f"predictions.{table_format}", prediction_table(every, labels))
    draw(predicted["test"]["recording"], labels, out)
    probe.save(out / PROBE)
    if model is not None:
        probe.classifier(model).save_pretrained(out / "model")
    write_json(
        out / "metrics.json",
        {
            "fitting": asdict(fitting),
            "chosen": asdict(max(trials, key=lambda trial: trial.rank)),
            "model": model_fingerprint,
            "recordings": {split: len(kept[split].recordings) for split in SPLITS},
            "segments": {split: len(kept[split].embeddings) for split in SPLITS},
            "n_resamples": n_resamples,
            "metrics": metrics.to_dict("records"),
            "thresholds": thresholds.to_dict("records"),
        },
    )
    return result


def of_test(metrics: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of the recordings of test."""
    return metrics[(metrics["split"] == "test") & (metrics["level"] == "recording")]


def format_metrics(metrics: pd.DataFrame) -> str:
    """Return the scores of the recordings of test for a terminal."""
    rows = of_test(metrics)
    table = pd.DataFrame(
        {
            "label": rows["label"],
            "positive": rows["positives"],
            **{
                area.upper(): [with_interval(row, area) for row in rows.to_dict("records")]
                for area in AREAS
            },
            "Brier": rows["brier"].map("{:.3f}".format),
            "ECE": rows["ece"].map("{:.3f}".format),
        }
    )
    return table.to_string(index=False)
