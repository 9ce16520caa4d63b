"""How well a network predicts labels of recordings it has not seen."""

import csv
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any, Protocol

import numpy as np

from fairseq_ecg.data.cells import cell
from fairseq_ecg.data.dataset import ECGDataset
from fairseq_ecg.data.segment_files import SEGMENT_FILE
from fairseq_ecg.data.sources import Source, source_of
from fairseq_ecg.data.targets import Target
from fairseq_ecg.data.views import RecordingView, View
from fairseq_ecg.ecg.preprocessing import Preprocessing
from fairseq_ecg.errors import DataError
from fairseq_ecg.inference.aggregation import aggregate
from fairseq_ecg.inference.apart import evaluated_apart, none_usable
from fairseq_ecg.inference.metrics import Ranking, mean_of_defined
from fairseq_ecg.inference.recordings import Description, recordings_in
from fairseq_ecg.inference.results import OfSegments
from fairseq_ecg.inference.running import check_batching
from fairseq_ecg.jobs.files import open_replacing


@dataclass(frozen=True)
class Score:
    """How well one label is predicted.

    Attributes:
        label: its name.
        positives: number of recordings where it holds.
        auroc: area under the ROC curve; NaN where the label holds in all recordings or in none.
        auprc: average precision; likewise.
    """

    label: str
    positives: int
    auroc: float
    auprc: float


@dataclass(frozen=True)
class Evaluation:
    """Scores of all labels.

    Attributes:
        recordings: number of recordings that were scored.
        scores: one for each label.
        errors: why others were left out, by their names.
    """

    recordings: int
    scores: tuple[Score, ...]
    errors: Mapping[str, str] = field(default_factory=dict)

    @property
    def macro_auroc(self) -> float:
        """Mean over the labels that have an AUROC; NaN if there is none."""
        return float(mean_of_defined(np.array([score.auroc for score in self.scores])))

    @property
    def macro_auprc(self) -> float:
        """Mean over the labels that have an average precision; NaN if there is none."""
        return float(mean_of_defined(np.array([score.auprc for score in self.scores])))


class Prepares(Protocol):
    """What has a preprocessing, as a loaded network."""

    @property
    def preprocessing(self) -> Preprocessing:
        """What is done to recordings before."""


class ScoresLabels(Protocol):
    """What is evaluated: a network that predicts labels, see :class:`ECGModel`."""

    @property
    def labels(self) -> Sequence[str]:
        """Names of the C labels."""

    @property
    def aggregation(self) -> Mapping[str, str]:
        """``max`` or ``mean`` over segments by label."""

    def probabilities(self, source, padding_mask=None) -> np.ndarray:
        """Probabilities ``(B, C)`` of prepared segments ``(B, L, T)``."""

    def predict(self, ecg, **options) -> OfSegments:
        """Probabilities of recordings as they are."""


def labelled_segments(
    model: Prepares, manifest: str | os.PathLike, target: Target, verify: bool = False
) -> ECGDataset:
    """Return the prepared segments of a manifest, in its order, as the network needs them.

    Args:
        model: the network.
        manifest: ``<split>.tsv``, or a split of a store, ``STORE/<split>``.
        target: labels of the segments, see :func:`fairseq_ecg.data.labels_of`, or their texts.
        verify: whether the checksums of a store are compared.
    """
    return prepared_data(
        model, manifest, RecordingView(), target, source_of(manifest, verify=verify)
    )


def prepared_data(
    model: Prepares,
    manifest: str | os.PathLike,
    view: View,
    target: Target,
    source: Callable[..., Source],
) -> ECGDataset:
    """Return what a manifest lists, in its order, its ECGs as the network needs them.

    Args:
        model: the network.
        manifest: ``<split>.tsv``, or a split of a store, ``STORE/<split>``.
        view: what an item is.
        target: what is known of an item.
        source: that reads the manifest.
    """
    dataset = ECGDataset(
        manifest,
        view,
        target,
        source=source,
        leads_to_load=model.preprocessing.leads,
        enable_padding_leads=model.preprocessing.pad_leads,
        enable_padding=True,
        shuffle=False,
    )
    dataset.conditioning = model.preprocessing.conditioning()
    return dataset


def evaluate(
    model: ScoresLabels, dataset: ECGDataset, batch_size: int, on_error: str = "raise"
) -> Evaluation:
    """Score a network per recording, by the aggregated probabilities of its segments.

    The files ``<recording>_<number>.mat`` are the segments of one recording; any other file is a
    recording of its own.

    Args:
        model: the network, which says how each label is aggregated.
        dataset: segments with labels, see ``labelled_segments``.
        batch_size: in segments.
        on_error: what to do about a recording with a segment that cannot be used: ``raise``, or
            ``skip``, which notes it in ``errors`` of the result.

    Returns:
        The scores.

    Raises:
        DataError: The data have another number of labels than the network, or no recording can be
            used.
    """
    where = dataset.target.path or dataset.names([0])[0]

    def outputs(batch: dict[str, Any]) -> tuple[np.ndarray, np.ndarray]:
        labels = batch["label"].numpy()
        if labels.shape[1] != len(model.labels):
            raise DataError(
                f"{where} has {labels.shape[1]} labels, the network predicts "
                f"{len(model.labels) or 'none'}. Give the y.npy and the label_def.csv it was "
                "trained with"
            )
        return model.probabilities(**batch["net_input"]), labels

    (probabilities, labels), names, errors = computed_of(dataset, outputs, batch_size, on_error)
    _, first, recording_of = np.unique(names, return_index=True, return_inverse=True)
    rules = [model.aggregation[label] for label in model.labels]
    aggregated = aggregate(probabilities, recording_of, rules)
    return score(labels[first], aggregated, model.labels, errors)


def computed_of(
    dataset: ECGDataset,
    compute: Callable[[dict[str, Any]], tuple[np.ndarray, ...]],
    batch_size: int,
    on_error: str,
) -> tuple[list[np.ndarray], np.ndarray, dict[str, str]]:
    """Compute something of all segments of a data set.

    Args:
        dataset: the segments.
        compute: a batch to arrays with a row for each segment.
        batch_size: in segments.
        on_error: see `evaluate`.

    Returns:
        The arrays with the rows of all segments of recordings that can be used, ``(N,)`` names of
        the recordings that these are of, and why others were left out, by their names.

    Raises:
        DataError: as `evaluate`.
    """
    check_batching(batch_size, on_error)
    names = dataset.names(range(len(dataset)))
    computed, used, failed = [], [], dict[str, str]()

    def outputs(indices: Sequence[int]) -> tuple[np.ndarray, ...]:
        return compute(dataset.collate(dataset.__getitems__(indices)))

    every = range(len(dataset))
    batches = [every[start : start + batch_size] for start in every[::batch_size]]
    for indices, found in evaluated_apart(batches, outputs, names.__getitem__, on_error, failed):
        used += indices
        computed.append(found)
    errors = {SEGMENT_FILE.sub("", name): reason for name, reason in failed.items()}
    recordings = np.array([SEGMENT_FILE.sub("", names[index]) for index in used])
    kept = ~np.isin(recordings, list(errors))
    if not kept.any():
        raise none_usable(errors)
    arrays = [np.concatenate(parts)[kept] for parts in zip(*computed, strict=True)]
    return arrays, recordings[kept], errors


def evaluate_recordings(
    model: ScoresLabels,
    paths: Sequence[str],
    truth: np.ndarray,
    batch_size: int,
    description: Description,
    on_error: str = "raise",
) -> Evaluation:
    """Score a network on recordings as they are.

    Args:
        model: the network.
        paths: of the R recordings, files that :meth:`ECGModel.predict` reads.
        truth: 0, 1 or NaN where unknown, ``(R, C)``, columns in the order of the model's labels.
        batch_size: in segments.
        description: what the files do not say themselves.
        on_error: as for `evaluate`.

    Returns:
        The scores.

    Raises:
        DataError: a path is not that of one recording, or cannot be used.
    """
    recordings = recordings_in(list(paths), description)
    if len(recordings) != len(paths):
        raise DataError(
            f"{len(paths)} paths are those of {len(recordings)} recordings. List recordings one by "
            "one, and each once; prepared segments are listed by manifests"
        )
    prediction = model.predict(recordings, batch_size=batch_size, on_error=on_error)
    kept = np.array([recording.name not in prediction.errors for recording in recordings])
    if not kept.any():
        raise none_usable(prediction.errors)
    return score(truth[kept], prediction.table.to_numpy(), model.labels, prediction.errors)


def score(
    truth: np.ndarray,
    probabilities: np.ndarray,
    labels: Sequence[str],
    errors: Mapping[str, str] = MappingProxyType({}),
) -> Evaluation:
    """Score probabilities.

    Args:
        truth: 0, 1 or NaN where unknown, which leaves the recording out, ``(R, C)``.
        probabilities: ``(R, C)``.
        labels: names of the C labels.
        errors: why other recordings were left out.

    Returns:
        The scores.
    """
    scores = []
    for name, holds, values in zip(labels, truth.T, probabilities.T, strict=True):
        ranking = Ranking(np.asarray(holds, float), values)
        areas = ranking.areas()
        scores.append(Score(name, ranking.positives, float(areas.auroc[0]), float(areas.auprc[0])))
    return Evaluation(len(truth), tuple(scores), errors)


def write_scores(path: Path, evaluation: Evaluation, baseline: Evaluation | None) -> None:
    """Write the table of scores as CSV; the last line is the macro mean.

    Args:
        path: file to write.
        evaluation: of the trained network.
        baseline: of the untrained one, adds the column ``auroc_untrained``.
    """
    with open_replacing(path, newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow([*COLUMNS, *(["auroc_untrained"] if baseline else [])])
        writer.writerows([cell(name), *rest] for name, *rest in _rows(evaluation, baseline))


def format_scores(evaluation: Evaluation, baseline: Evaluation | None) -> str:
    """Return the table of scores for a terminal, see ``write_scores``."""
    header = ("label", "positive", "AUROC", "AUPRC", *(("untrained AUROC",) if baseline else ()))
    rows = [
        [name, str(positives), *("-" if np.isnan(value) else f"{value:.3f}" for value in values)]
        for name, _, positives, *values in _rows(evaluation, baseline)
    ]
    rows[-1][1] = ""
    widths = [max(map(len, column)) for column in zip(header, *rows, strict=True)]
    lines = []
    for name, *values in (header, *rows):
        cells = [f"{value:>{width}}" for value, width in zip(values, widths[1:], strict=True)]
        lines.append("  ".join([f"{name:<{widths[0]}}", *cells]))
    rule = "-" * len(lines[0])
    return "\n".join([lines[0], rule, *lines[1:-1], rule, lines[-1]])


COLUMNS = ("label", "recordings", "positives", "auroc", "auprc")


def _rows(evaluation: Evaluation, baseline: Evaluation | None) -> list[list]:
    rows = [
        [score.label, evaluation.recordings, score.positives, score.auroc, score.auprc]
        for score in evaluation.scores
    ]
    total = sum(score.positives for score in evaluation.scores)
    macro = [evaluation.macro_auroc, evaluation.macro_auprc]
    rows.append(["macro", evaluation.recordings, total, *macro])
    if baseline:
        untrained = [*(score.auroc for score in baseline.scores), baseline.macro_auroc]
        rows = [[*row, auroc] for row, auroc in zip(rows, untrained, strict=True)]
    return rows
