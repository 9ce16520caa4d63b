"""``ecg_segmentation``: learning which wave each sample of an ECG belongs to."""

from collections.abc import Mapping, Sequence
from dataclasses import fields, replace
from functools import partial
from typing import Any

from fairseq.logging import metrics
from fairseq.tasks import register_task

from fairseq_ecg.compat.options import configuration
from fairseq_ecg.criterions.criterion import total
from fairseq_ecg.data.targets import SegmentationTarget, StoredLabels
from fairseq_ecg.data.views import WholeRecordingView
from fairseq_ecg.ecg.delineation import CLASSES, NO_WAVE, class_count
from fairseq_ecg.ecg.wave_scores import MEASURES, PointScore, points_of, score_batch
from fairseq_ecg.tasks.ecg_pretraining import ECGPretrainingConfig, ECGPretrainingTask
from fairseq_ecg.tasks.methods import Method

FIELDS = [field.name for field in fields(PointScore)]
ALL_POINTS = "waves"
"""Before the names of measures of all kinds of points together."""


@configuration()
class ECGSegmentationConfig(ECGPretrainingConfig):
    """What recordings are read, whole, and how they are changed before the model sees them.

    Args:
        apply_cgm: read label of whole recordings too, which a network with a
            classification-guided module predicts.
    """

    apply_cgm: bool = False


@register_task("ecg_segmentation", dataclass=ECGSegmentationConfig)
class ECGSegmentationTask(ECGPretrainingTask):
    """Supervised training on the class of every sample; ECGs are augmented as in pre-training.

    Recordings are taken whole, whatever options of leads and filters say. In evaluation it scores
    onsets and offsets of waves besides what the criterion measures, see `ecg.wave_scores`.
    """

    cfg: ECGSegmentationConfig
    label_idx: Mapping[str, int] = CLASSES
    needs_labels = False

    def build_model(self, cfg, from_checkpoint: bool = False):
        """Build the model; note the index of each class, and whether it predicts labels too."""
        model = super().build_model(cfg, from_checkpoint)
        self.label_idx = getattr(model, "label_idx", CLASSES)
        self.needs_labels = getattr(model, "label_output", None) is not None
        return model

    @property
    def method(self) -> Method:
        """See :attr:`ECGTask.method`; whatever the criterion, recordings are seen whole."""
        return replace(super().method, view=WholeRecordingView)

    def target(self, label: bool) -> SegmentationTarget | None:
        """See :meth:`ECGTask.target`.

        Raises:
            ValueError: the model predicts labels of recordings, and they are not read.
        """
        if not label:
            return None
        if self.needs_labels and not self.cfg.apply_cgm:
            raise ValueError(
                "the model predicts labels of recordings besides: set task.apply_cgm=true, for "
                "which files need 'label', or choose a model without, such as unet_segmentor"
            )
        return SegmentationTarget(
            StoredLabels() if self.cfg.apply_cgm else None,
            none=self.label_idx[NO_WAVE],
            n_classes=class_count(self.label_idx),
        )

    def valid_step(self, sample, model, criterion):
        """See :meth:`ECGTask.valid_step`; logs sums of the scores of waves as well."""
        observed = _Observed(model)
        loss, sample_size, log = super().valid_step(sample, observed, criterion)
        if "segment_label" in sample and not log.get("skipped"):
            log = log | self._wave_sums(sample, observed.net_output["segment_out"])
        return loss, sample_size, log

    def _wave_sums(self, sample: dict[str, Any], logits) -> dict[str, float]:
        """Sums of the scores of a batch, by kind of point and field of `PointScore`."""
        arrays = (sample["segment_label"], logits.argmax(dim=-1), sample["segment_mask"])
        padding_mask = sample["net_input"].get("padding_mask")
        lengths = [logits.shape[1]] * len(logits)
        if padding_mask is not None:
            lengths = (~padding_mask[:, 0]).sum(dim=-1).tolist()
        sums = score_batch(
            *(array.cpu().numpy() for array in arrays),
            lengths=lengths,
            sample_rates=sample["sample_rate"].tolist(),
            label_idx=self.label_idx,
        )
        return {
            f"{point}_{name}": getattr(score, name)
            for point, score in sums.items()
            for name in FIELDS
        }

    def reduce_metrics(self, logging_outputs: Sequence[dict[str, Any]], criterion) -> None:
        """See :meth:`ECGTask.reduce_metrics`.

        Logs for each kind of point, such as ``p_onset``, and for all of them, ``waves``, the
        measures of `ecg.wave_scores.MEASURES`, such as ``p_onset_f1``.
        """
        super().reduce_metrics(logging_outputs, criterion)
        points = points_of(self.label_idx)
        if not any(f"{points[0]}_{FIELDS[0]}" in log for log in logging_outputs):
            return
        for point in points:
            for name in FIELDS:
                key = f"{point}_{name}"
                metrics.log_scalar(f"_{key}", total(key, logging_outputs))
        for point in (*points, ALL_POINTS):
            of_point = points if point == ALL_POINTS else [point]
            for measure, digits in MEASURES.items():
                value = partial(_measure, of_point, measure, digits)
                metrics.log_derived(f"{point}_{measure}", value)


def _measure(points: Sequence[str], measure: str, digits: int, meters) -> float:
    """Compute a measure of all kinds of ``points`` together from running sums."""
    scores = (
        PointScore(*(float(meters[f"_{point}_{name}"].sum) for name in FIELDS)) for point in points
    )
    return round(getattr(sum(scores, PointScore()), measure), digits)


class _Observed:
    """A model that remembers what it returned last.

    Args:
        model: in all else it is this one.
    """

    def __init__(self, model):
        self._model = model
        self.net_output: Mapping[str, Any] = {}

    def __call__(self, **net_input):
        self.net_output = self._model(**net_input)
        return self.net_output

    def __getattr__(self, name: str):
        return getattr(self._model, name)
