"""Asymmetric loss: easy negatives count little, the easiest of them nothing."""

import torch.nn.functional as F
from torch import Tensor

from fairseq_ecg.compat.registration import register_criterion
from fairseq_ecg.criterions.binary_cross_entropy_with_logits import (
    BinaryCrossEntropyWithLogitsCriterion,
)


@register_criterion("asymmetric_loss")
class AsymmetricLossCriterion(BinaryCrossEntropyWithLogitsCriterion):
    """``(1 - p)^g+ log p`` where a label holds, else ``q^g- log(1 - q)`` with ``q = p - margin``.

    Equations 5 to 7 of https://arxiv.org/abs/2009.14119, ``q`` not below 0. ``pos_weight`` and
    ``weight`` count as in the cross entropy; so do the metrics.

    Args:
        task: the task.
        gamma_positive: exponent of 1 - p in the loss of a label that holds.
        gamma_negative: exponent of p in the loss of a label that does not hold.
        margin: probability up to which a label that does not hold costs nothing.
        options: of the cross entropy.

    Raises:
        ValueError: an exponent is negative, that of negatives between 0 and 1 (whose gradient is
            infinite at the margin), or the margin is not in [0, 1).
    """

    def __init__(
        self,
        task,
        *,
        gamma_positive: float = 0.0,
        gamma_negative: float = 4.0,
        margin: float = 0.05,
        **options,
    ):
        super().__init__(task, **options)
        if gamma_positive < 0:
            raise ValueError(f"criterion.gamma_positive={gamma_positive}: give 0 or more")
        if gamma_negative != 0 and gamma_negative < 1:
            raise ValueError(f"criterion.gamma_negative={gamma_negative}: give 0, or 1 or more")
        if not 0 <= margin < 1:
            raise ValueError(f"criterion.margin={margin}: give a probability below 1")
        self.gamma_positive, self.gamma_negative = gamma_positive, gamma_negative
        self.margin = margin

    def loss(self, logits: Tensor, target: Tensor) -> Tensor:
        """Sum the loss over ``(B, C)`` float32 logits and labels of 0 and 1."""
        log_p, log_not_p = F.logsigmoid(logits), F.logsigmoid(-logits)
        positive = -(self.gamma_positive * log_not_p).exp() * log_p
        if self.pos_weight is not None:
            positive = positive * self.pos_weight
        shifted = (logits.sigmoid() - self.margin).clamp(min=0)
        # 1 - q is at least the margin, but without a margin it vanishes for large logits.
        log_not_q = (-shifted).log1p() if self.margin else log_not_p
        negative = -shifted.pow(self.gamma_negative) * log_not_q
        loss = target * positive + (1 - target) * negative
        return (loss if self.weight is None else loss * self.weight).sum()
