"""Multi-label classification by binary cross entropy of logits: diagnosis and its metrics."""

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import torch
import torch.nn.functional as F
from fairseq.logging import metrics
from torch import Tensor

from fairseq_ecg.compat.registration import register_criterion
from fairseq_ecg.criterions.cinc_score import cinc_scores, read_scoring_weights
from fairseq_ecg.criterions.criterion import log_ratio, log_share, log_sums, prefixes_of_groups
from fairseq_ecg.criterions.labels import LabelCriterion, as_vector, groups_of
from fairseq_ecg.criterions.meters import log_areas, log_macro_f1

_TALLIES = ("em_correct", "tp", "fp", "fn")
_CINC_SCORES = ("o_score", "c_score", "i_score")


@register_criterion("binary_cross_entropy_with_logits")
class BinaryCrossEntropyWithLogitsCriterion(LabelCriterion):
    """Binary cross entropy, summed over records and labels; the sample size is their product.

    Where the batch has ``valid_classes`` (one list of class indices per record), predictions are
    counted and areas computed over those classes only.

    Args:
        task: the task.
        auc_average: for data with valid classes: average auroc and auprc over classes (macro) or
            take all entries at once (micro); without them they are micro either way, and
            macro_auroc, macro_auprc are reported beside.
        pos_weight: weight of the positives of each label, as in labels/pos_weight.txt.
        report_cinc_score: report the score of the PhysioNet/CinC Challenge 2021.
        weights_file: the Challenge's weights.csv, for report_cinc_score.
        per_log_keys: keys of the batch that group its records by an id (-1: none), such as
            question_type1; exact matches and areas are reported for each id as well. Keys that the
            batch lacks are left out.
        multi_class_multi_label: of older configs; not used.
        options: of :class:`LabelCriterion`.

    Raises:
        ValueError: a weight is not finite, or the score is asked for without its weights.
    """

    vectors = ("weight", "pos_weight")

    def __init__(
        self,
        task,
        *,
        auc_average: Literal["micro", "macro"] = "macro",
        pos_weight: Sequence[float] | None = None,
        report_cinc_score: bool = False,
        weights_file: str | None = None,
        per_log_keys: Sequence[str] = (),
        multi_class_multi_label: bool = False,
        **options,
    ):
        super().__init__(task, **options)
        self.pos_weight = as_vector(pos_weight)
        _require_finite(self.pos_weight)
        self.areas_by_class = auc_average == "macro"
        self.per_log_keys = per_log_keys
        if report_cinc_score and weights_file is None:
            raise ValueError(
                "criterion.report_cinc_score needs criterion.weights_file: the path of the "
                "weights.csv of the PhysioNet/CinC Challenge 2021"
            )
        self.scoring_weights = read_scoring_weights(weights_file) if report_cinc_score else None

    def loss(self, logits: Tensor, target: Tensor) -> Tensor:
        """See the base class."""
        return F.binary_cross_entropy_with_logits(
            logits, target, weight=self.weight, pos_weight=self.pos_weight, reduction="sum"
        )

    def measure(self, sample: dict[str, Any], logits: Tensor, target: Tensor) -> dict[str, Any]:
        """See the base class."""
        prob = logits.sigmoid()
        predicted, true = prob > self.threshold, target == 1
        valid, count = torch.ones_like(true), float(true.numel())
        if "valid_classes" in sample:
            valid = _mask(sample["valid_classes"], like=true)
            count = valid.sum().double()

        right = predicted == true
        row_tallies = torch.stack(
            [
                (right | ~valid).all(dim=1).long(),
                (predicted & true & valid).sum(dim=1),
                (predicted & ~true & valid).sum(dim=1),
                (~predicted & true & valid).sum(dim=1),
            ]
        )
        log: dict[str, Any] = {
            "correct": (right & valid).sum(),
            "count": count,
            "em_count": len(target),
            **dict(zip(_TALLIES, row_tallies.sum(dim=1), strict=True)),
        }
        if self.scoring_weights is not None:
            n_classes = len(self.scoring_weights.classes)
            if n_classes != target.size(1):
                raise ValueError(
                    f"criterion.weights_file has {n_classes} classes, but the model has "
                    f"{target.size(1)} labels: they have to be the same, in the same order"
                )
            log |= cinc_scores(true, predicted, self.scoring_weights)
        if not self.training:
            cells = [predicted & true, predicted & ~true, ~predicted & true, ~predicted & ~true]
            log["_label_counts"] = (
                torch.stack([(c & valid).sum(dim=0) for c in cells]).cpu().numpy()
            )

        arrays = None
        if self.report_auc and not self.training:
            arrays = (target.cpu().numpy(), prob.cpu().numpy())
            if "valid_classes" in sample:
                log |= self._entries(*arrays, valid.cpu().numpy())
            else:
                log["_y_true"], log["_y_score"] = arrays
        if self.per_log_keys:
            log |= self._groups(sample, row_tallies.cpu().numpy(), valid.cpu().numpy(), arrays)
        return log

    def _entries(
        self, y_true: np.ndarray, y_score: np.ndarray, valid: np.ndarray, prefix: str = ""
    ) -> dict[str, np.ndarray]:
        """Pick the valid entries of ``(B, C)`` arrays, with the class that each belongs to."""
        entries = {f"_{prefix}y_true": y_true[valid], f"_{prefix}y_score": y_score[valid]}
        if self.areas_by_class:
            entries[f"_{prefix}y_class"] = np.nonzero(valid)[1]
        return entries

    def _groups(
        self,
        sample: dict[str, Any],
        row_tallies: np.ndarray,
        valid: np.ndarray,
        arrays: tuple[np.ndarray, np.ndarray] | None,
    ) -> dict[str, Any]:
        """Tally the records of each id of each key in ``per_log_keys``."""
        log: dict[str, Any] = {}
        ids_of = {
            key: torch.as_tensor(sample[key]).reshape(-1).cpu().numpy()
            for key in self.per_log_keys
            if key in sample
        }
        for prefix, rows in groups_of(ids_of):
            log[f"{prefix}em_count"] = int(rows.sum())
            sums = row_tallies[:, rows].sum(axis=1).tolist()
            log |= {f"{prefix}{name}": n for name, n in zip(_TALLIES, sums, strict=True)}
            if arrays is not None:
                y_true, y_score = arrays
                log |= self._entries(y_true[rows], y_score[rows], valid[rows], prefix)
        return log

    @staticmethod
    def reduce_measures(logs: Sequence[dict[str, Any]]) -> None:
        """Log accuracies, precision, recall, F1, areas under the curves and the CinC score."""
        log_share("accuracy", "correct", "count", logs)
        _log_tallies(logs)
        log_ratio("precision", "_tp", ["_tp", "_fp"])
        log_ratio("recall", "_tp", ["_tp", "_fn"])
        metrics.log_derived("f1", _f1)
        log_macro_f1(logs)
        log_areas(logs)

        if any("o_score" in log for log in logs):
            log_sums(_CINC_SCORES, logs)
            metrics.log_derived("cinc_score", _cinc_score)

        for prefix in prefixes_of_groups("em_count", logs):
            _log_tallies(logs, prefix)
            log_areas(logs, prefix)


def _log_tallies(logs: Sequence[dict[str, Any]], prefix: str = "") -> None:
    log_share(f"{prefix}em_accuracy", f"{prefix}em_correct", f"{prefix}em_count", logs)
    log_sums((f"{prefix}{key}" for key in ("tp", "fp", "fn")), logs)


def _require_finite(pos_weight: Tensor | None) -> None:
    """Refuse weights that make every loss NaN, also of recordings without the label."""
    if pos_weight is not None and not pos_weight.isfinite().all():
        labels = torch.nonzero(~pos_weight.isfinite()).flatten().tolist()
        raise ValueError(
            f"criterion.pos_weight is {pos_weight[labels[0]]:g} for the labels {labels} (from 0), "
            "of which the training split has no positive recording: leave them out "
            "(fairseq-ecg prepare labels --columns), or give them a weight of 1"
        )


def _f1(meters) -> float:
    """F1 of the rounded precision and recall, as fairseq_signals computes it."""
    precision = meters.get_smoothed_value("precision")
    recall = meters.get_smoothed_value("recall")
    both = precision + recall
    return 2 * precision * recall / both if both else float("nan")


def _cinc_score(meters) -> float:
    outputs, correct, inactive = (meters[f"_{key}"].sum for key in _CINC_SCORES)
    if correct == inactive:
        return 0.0
    return round((outputs - inactive) / (correct - inactive), 3)


def _mask(valid_classes: Sequence[Sequence[int] | Tensor], like: Tensor) -> Tensor:
    """Make a bool mask like ``like`` ``(B, C)`` of B lists of class indices."""
    classes = [torch.as_tensor(row, dtype=torch.long).reshape(-1).cpu() for row in valid_classes]
    rows = torch.repeat_interleave(torch.tensor([len(row) for row in classes]))
    mask = torch.zeros(like.shape, dtype=torch.bool)
    mask[rows, torch.cat(classes)] = True
    return mask.to(like.device)
