"""Squared error, as fairseq_signals sums it."""

from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from fairseq_ecg.compat.registration import register_criterion
from fairseq_ecg.criterions.criterion import Computed, ECGCriterion
from fairseq_ecg.criterions.labels import stacked_labels


@register_criterion("mse")
class MSECriterion(ECGCriterion):
    """Squared error of the logits, summed; the sample size is the number of targets.

    ``criterion=regression`` standardises targets besides, knows of missing ones, and has metrics.

    Args:
        task: the task.
        options: of :class:`ECGCriterion`.
    """

    def compute(
        self, model: nn.Module, sample: dict[str, Any], net_output: dict[str, Any], logits: Tensor
    ) -> Computed:
        """Compute the loss; see the base class."""
        target = stacked_labels(model.get_targets(sample, net_output), logits)
        loss = F.mse_loss(logits, target, reduction="sum")
        return [loss], self.sample_size(sample, target.numel()), {}
