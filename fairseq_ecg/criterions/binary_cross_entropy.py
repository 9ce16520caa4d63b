"""Multi-label classification by binary cross entropy of probabilities."""

from collections.abc import Sequence
from typing import Any

import torch.nn.functional as F
from torch import Tensor

from fairseq_ecg.compat.registration import register_criterion
from fairseq_ecg.criterions.criterion import log_ratio, log_share, log_sums
from fairseq_ecg.criterions.labels import LabelCriterion
from fairseq_ecg.criterions.meters import log_areas


@register_criterion("binary_cross_entropy")
class BinaryCrossEntropyCriterion(LabelCriterion):
    """Binary cross entropy of ``sigmoid(logits)``, per positive label of the batch.

    As in fairseq_signals the sample size is the number of positive labels, and predictions are
    counted at 0.5 whatever ``threshold`` says.
    """

    def loss(self, logits: Tensor, target: Tensor) -> Tensor:
        """See the base class."""
        prob = logits.sigmoid()
        return F.binary_cross_entropy(prob, target, weight=self.weight, reduction="sum")

    def count(self, target: Tensor) -> Tensor:
        """Count positive labels."""
        return target.long().sum()

    def measure(self, sample: dict[str, Any], logits: Tensor, target: Tensor) -> dict[str, Any]:
        """See the base class."""
        prob = logits.sigmoid()
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
            log["_y_true"], log["_y_score"] = target.cpu().numpy(), prob.cpu().numpy()
        return log

    @staticmethod
    def reduce_measures(logs: Sequence[dict[str, Any]]) -> None:
        """Log accuracy, recall and the areas under the curves."""
        log_share("accuracy", "correct", "count", logs)
        log_sums(("tp", "fp", "tn", "fn"), logs)
        log_ratio("recall", "_tp", ["_tp", "_fn"])
        log_areas(logs)
