"""Focal loss: binary cross entropy that attends to what is still predicted wrongly."""

import torch.nn.functional as F
from torch import Tensor

from fairseq_ecg.compat.registration import register_criterion
from fairseq_ecg.criterions.binary_cross_entropy_with_logits import (
    BinaryCrossEntropyWithLogitsCriterion,
)


@register_criterion("focal_loss")
class FocalLossCriterion(BinaryCrossEntropyWithLogitsCriterion):
    """``(1 - p_t)^gamma`` times the cross entropy, ``p_t`` the probability of the truth.

    Equation 4 of https://arxiv.org/abs/1708.02002; its alpha is a matter of ``pos_weight`` and
    ``weight``. Metrics are those of ``binary_cross_entropy_with_logits``.

    Args:
        task: the task.
        gamma: exponent of the error that a loss is multiplied by; 0: cross entropy.
        options: of the cross entropy.

    Raises:
        ValueError: ``gamma`` is negative.
    """

    def __init__(self, task, *, gamma: float = 2.0, **options):
        super().__init__(task, **options)
        if gamma < 0:
            raise ValueError(f"criterion.gamma={gamma}: give 0 or more")
        self.gamma = gamma

    def loss(self, logits: Tensor, target: Tensor) -> Tensor:
        """Sum the loss over ``(B, C)`` float32 logits and labels of 0 and 1."""
        entropy = F.binary_cross_entropy_with_logits(
            logits, target, weight=self.weight, pos_weight=self.pos_weight, reduction="none"
        )
        log_error = F.logsigmoid(logits * (1 - 2 * target))  # of 1 - p_t, whatever its size
        return (entropy * (self.gamma * log_error).exp()).sum()
