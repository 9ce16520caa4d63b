"""How well a network finds onsets and offsets of waves in recordings it has not seen."""

import csv
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from fairseq_ecg.data.dataset import ECGDataset
from fairseq_ecg.data.sources import source_of
from fairseq_ecg.data.targets import SegmentationTarget
from fairseq_ecg.data.views import WholeRecordingView
from fairseq_ecg.ecg.delineation import CLASSES, NO_WAVE, class_count
from fairseq_ecg.ecg.wave_scores import MEASURES, PointScore, points_of, score_batch
from fairseq_ecg.errors import DataError
from fairseq_ecg.inference.apart import evaluated_apart, none_usable
from fairseq_ecg.inference.model import ECGModel
from fairseq_ecg.inference.running import check_batching
from fairseq_ecg.jobs.files import open_replacing

ALL_POINTS = "all"


@dataclass(frozen=True)
class WaveEvaluation:
    """Scores of all kinds of points.

    Attributes:
        recordings: number of recordings, or leads, that were scored.
        scores: of each kind of point, see `fairseq_ecg.ecg.wave_scores`.
        errors: why others were left out, by their names.
    """

    recordings: int
    scores: Mapping[str, PointScore]
    errors: Mapping[str, str] = field(default_factory=dict)

    @property
    def total(self) -> PointScore:
        """Score of all points together."""
        return sum(self.scores.values(), PointScore())


def evaluate_waves(
    model: ECGModel,
    manifest: str | os.PathLike,
    batch_size: int = 64,
    on_error: str = "raise",
    verify: bool = False,
) -> WaveEvaluation:
    """Score a network on prepared files that hold the class of every sample.

    Recordings are run together with others of their length, so that no result depends on padding.

    Args:
        model: a network that delineates waves.
        manifest: ``<split>.tsv``, or a split of a store, ``STORE/<split>``.
        batch_size: in recordings.
        on_error: what to do about a recording that cannot be used: ``raise``, or ``skip``, which
            notes it in ``errors`` of the result.
        verify: whether the checksums of a store are compared.

    Returns:
        The scores.

    Raises:
        DataError: the network delineates no waves, or no recording can be used.
    """
    check_batching(batch_size, on_error)
    label_idx = dict(model.wave_classes)
    dataset = _dataset(model, manifest, verify)
    names = dataset.names(range(len(dataset)))
    index_of = np.array([label_idx.get(name, label_idx[NO_WAVE]) for name in CLASSES])

    def scores_of(indices: Sequence[int]) -> dict[str, PointScore]:
        batch = dataset.collate(dataset.__getitems__(indices))
        classes = batch["segment_label"].numpy()
        return score_batch(
            classes,
            index_of[model.scores(batch["net_input"]["source"]).argmax(axis=-1)],
            batch["segment_mask"].numpy(),
            lengths=[classes.shape[1]] * len(classes),
            sample_rates=batch["sample_rate"].tolist(),
            label_idx=label_idx,
        )

    sums = {point: PointScore() for point in points_of(label_idx)}
    n_used, errors = 0, dict[str, str]()
    batches = list(_batches(dataset.sizes, batch_size))
    for indices, found in evaluated_apart(batches, scores_of, names.__getitem__, on_error, errors):
        n_used += len(indices)
        sums = {point: score + found[point] for point, score in sums.items()}
    if not n_used:
        raise none_usable(errors)
    return WaveEvaluation(n_used, sums, errors)


def _dataset(model: ECGModel, manifest: str | os.PathLike, verify: bool) -> ECGDataset:
    """Return the files of a manifest as the network was trained on them."""
    label_idx = model.wave_classes
    if not label_idx:
        raise DataError(
            "the network delineates no waves. Give one of the task ecg_segmentation, such as "
            "unet_segmentor"
        )
    return ECGDataset(
        manifest,
        WholeRecordingView(),
        SegmentationTarget(none=label_idx[NO_WAVE], n_classes=class_count(label_idx)),
        source=source_of(manifest, verify=verify),
        sample_rate=model.preprocessing.sample_rate,
        normalize=model.preprocessing.layer_norm,
        enable_padding=True,
        shuffle=False,
    )


def _batches(sizes: np.ndarray, batch_size: int) -> Iterator[list[int]]:
    """Indices of items of one length, up to ``batch_size`` at a time."""
    for size in np.unique(sizes):
        indices = np.flatnonzero(sizes == size).tolist()
        for start in range(0, len(indices), batch_size):
            yield indices[start : start + batch_size]


def write_wave_scores(path: Path, evaluation: WaveEvaluation) -> None:
    """Write the table of scores as CSV; the last line is that of all points.

    Args:
        path: file to write.
        evaluation: the scores.
    """
    with open_replacing(path, newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["point", "recordings", "reference", *MEASURES])
        for point, score in _rows(evaluation):
            measures = (getattr(score, name) for name in MEASURES)
            writer.writerow([point, evaluation.recordings, _in_reference(score), *measures])


def format_wave_scores(evaluation: WaveEvaluation) -> str:
    """Return the table of scores for a terminal, see `write_wave_scores`."""
    header = f"{'':<12}{'reference':>10}{'Se':>8}{'PPV':>8}{'F1':>8}{'mean ms':>9}{'SD ms':>8}"
    lines = [header, "-" * len(header)]
    for point, score in _rows(evaluation):
        shares = "".join(f"{100 * share:8.2f}" for share in (score.se, score.ppv, score.f1))
        name = point.replace("_", " ")
        lines.append(
            f"{name:<12}{_in_reference(score):>10}{shares}{score.mean_ms:9.1f}{score.std_ms:8.1f}"
        )
    return "\n".join([*lines[:-1], lines[1], lines[-1]])


def _rows(evaluation: WaveEvaluation) -> list[tuple[str, PointScore]]:
    return [*evaluation.scores.items(), (ALL_POINTS, evaluation.total)]


def _in_reference(score: PointScore) -> int:
    return int(score.found + score.missed)
