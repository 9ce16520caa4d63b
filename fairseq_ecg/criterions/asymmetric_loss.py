"""Asymmetric loss: easy negatives count little, the easiest of them nothing."""

from dataclasses import dataclass

import torch.nn.functional as F
from fairseq.criterions import register_criterion
from torch import Tensor

from fairseq_ecg.criterions.binary_cross_entropy_with_logits import (
    BinaryCrossEntropyWithLogitsCriterion,
    BinaryCrossEntropyWithLogitsCriterionConfig,
)
from fairseq_ecg.ops.options import option


@dataclass
class AsymmetricLossCriterionConfig(BinaryCrossEntropyWithLogitsCriterionConfig):
    """Options of ``asymmetric_loss``: those of the cross entropy, and how it is asymmetric."""

    gamma_positive: float = option(0.0, "exponent of 1 - p in the loss of a label that holds")
    gamma_negative: float = option(4.0, "exponent of p in the loss of a label that does not hold")
    margin: float = option(0.05, "probability up to which a label that does not hold costs nothing")


@register_criterion("asymmetric_loss", dataclass=AsymmetricLossCriterionConfig)
class AsymmetricLossCriterion(BinaryCrossEntropyWithLogitsCriterion):
    """``(1 - p)^g+ log p`` where a label holds, else ``q^g- log(1 - q)`` with ``q = p - margin``.

    Equations 5 to 7 of https://arxiv.org/abs/2009.14119, ``q`` not below 0. ``pos_weight`` and
    ``weight`` count as in the cross entropy; so do the metrics.

    Raises:
        ValueError: an exponent is negative, that of negatives between 0 and 1 (whose gradient is
            infinite at the margin), or the margin is not in [0, 1).
    """

    def __init__(self, cfg: AsymmetricLossCriterionConfig, task):
        super().__init__(cfg, task)
        if cfg.gamma_positive < 0:
            raise ValueError(f"criterion.gamma_positive={cfg.gamma_positive}: give 0 or more")
        if cfg.gamma_negative != 0 and cfg.gamma_negative < 1:
            raise ValueError(f"criterion.gamma_negative={cfg.gamma_negative}: give 0, or 1 or more")
        if not 0 <= cfg.margin < 1:
            raise ValueError(f"criterion.margin={cfg.margin}: give a probability below 1")
        self.gamma_positive, self.gamma_negative = cfg.gamma_positive, cfg.gamma_negative
        self.margin = cfg.margin

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
