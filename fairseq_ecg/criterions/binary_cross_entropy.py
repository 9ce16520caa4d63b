# ruff: noqa: UP006, UP035, UP045  (fairseq's argument parser knows typing.List and Optional alone)
"""Multi-label classification by binary cross entropy of probabilities."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, List, Optional

import torch
import torch.nn.functional as F
from fairseq.criterions import register_criterion
from fairseq.logging import metrics
from torch import Tensor, nn

from fairseq_ecg.criterions.criterion import (
    Computed,
    ECGCriterion,
    ECGCriterionConfig,
    log_ratio,
    log_share,
    total,
)
from fairseq_ecg.criterions.meters import log_areas
from fairseq_ecg.ops.options import option


@dataclass
class BinaryCrossEntropyCriterionConfig(ECGCriterionConfig):
    """Options of ``binary_cross_entropy``."""

    weight: Optional[List[float]] = option(None, "weight of each label's loss")
    threshold: float = option(0.5, "probability above which a label counts as predicted")
    report_auc: bool = option(
        False, "report areas under the ROC and precision-recall curves in evaluation"
    )


@register_criterion("binary_cross_entropy", dataclass=BinaryCrossEntropyCriterionConfig)
class BinaryCrossEntropyCriterion(ECGCriterion):
    """Binary cross entropy of ``sigmoid(logits)``, per positive label of the batch.

    As in fairseq_signals the sample size is the number of positive labels, and predictions are
    counted at 0.5 whatever ``threshold`` says.
    """

    def __init__(self, cfg: BinaryCrossEntropyCriterionConfig, task):
        super().__init__(cfg, task)
        self.weight = as_vector(cfg.weight)
        self.report_auc = cfg.report_auc

    def compute(
        self, model: nn.Module, sample: dict[str, Any], net_output: dict[str, Any], logits: Tensor
    ) -> Computed:
        """Compute the loss and count right and wrong predictions; see the base class."""
        target = stacked_labels(model.get_targets(sample, net_output), logits)
        self.weight = on_device(self.weight, logits, "weight")
        prob = logits.sigmoid()
        loss = F.binary_cross_entropy(prob, target, weight=self.weight, reduction="sum")
        with torch.no_grad():
            predicted, true = prob > 0.5, target == 1
            log: dict[str, Any] = {
                "correct": (predicted == true).sum(),
                "count": float(target.numel()),
                "tp": (predicted & true).sum(),
                "fp": (predicted & ~true).sum(),
                "tn": (~predicted & ~true).sum(),
                "fn": (~predicted & true).sum(),
            }
        if self.report_auc and not self.training:
            log["_y_true"], log["_y_score"] = target.cpu().numpy(), prob.detach().cpu().numpy()
        return [loss], self.sample_size(sample, target.long().sum()), log

    @staticmethod
    def reduce_measures(logs: Sequence[dict[str, Any]]) -> None:
        """Log accuracy, recall and the areas under the curves."""
        log_share("accuracy", "correct", "count", logs)
        for key in ("tp", "fp", "tn", "fn"):
            metrics.log_scalar(f"_{key}", total(key, logs))
        log_ratio("recall", "_tp", ["_tp", "_fn"])
        log_areas(logs)


def as_vector(values: Sequence[float] | None) -> Tensor | None:
    """Make a float32 vector of a list in a config, if there is one."""
    return None if values is None else torch.tensor(list(values), dtype=torch.float32)


def on_device(vector: Tensor | None, logits: Tensor, option: str) -> Tensor | None:
    """Bring the values of ``criterion.<option>`` to the logits' device.

    They are no buffers of the criterion, since fairseq would round those to half precision.

    Raises:
        ValueError: Not one value for each of the logits' columns.
    """
    if vector is None:
        return None
    if len(vector) != logits.size(1):
        raise ValueError(
            f"criterion.{option} has {len(vector)} values, but the model has {logits.size(1)} "
            "labels: give one value for each label"
        )
    return vector.to(logits.device)


def stacked_labels(target: Tensor | Sequence[Tensor], logits: Tensor) -> Tensor:
    """Make one ``(B, C)`` float32 tensor of the labels on the logits' device.

    Args:
        target: ``(B, C)``, or a sequence of B tensors of C values as path data sets give it.
        logits: ``(B, C)``.

    Raises:
        ValueError: The labels do not have the shape of the logits.
    """
    if not torch.is_tensor(target):
        sizes = {len(torch.as_tensor(row).reshape(-1)) for row in target}
        if len(sizes) > 1:
            raise ValueError(
                f"the recordings of a batch have different numbers of labels: {sorted(sizes)}"
            )
        target = torch.stack([torch.as_tensor(row).reshape(-1) for row in target])
    if target.shape != logits.shape:
        raise ValueError(
            f"labels of shape {tuple(target.shape)} for logits of shape {tuple(logits.shape)}: "
            "model.num_labels has to be the number of columns of the labels"
        )
    return target.to(logits)
