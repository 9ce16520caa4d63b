"""Identification of patients: softmax over classes with a margin in the angle."""

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from fairseq_ecg.compat.registration import register_criterion
from fairseq_ecg.criterions.criterion import Computed, ECGCriterion, log_share


@register_criterion("arcface")
class ArcFaceCriterion(ECGCriterion):
    """Additive angular margin loss (Deng et al., CVPR 2019, https://arxiv.org/abs/1801.07698).

    It is the cross entropy of ``scale`` times the cosines between an embedding and the centres of
    all classes, after the angle to the centre of its own class was widened by ``margin``; where
    that would exceed half a turn, ``margin`` times its sine is taken off the cosine instead.
    ``accuracy`` is the share of segments whose largest cosine is that of their class.

    Args:
        task: the task.
        scale: of the cosines.
        margin: added to the angle, in radians.
        options: of :class:`ECGCriterion`.

    Raises:
        ValueError: the scale is not above 0, or the margin is no angle from 0 to half a turn.
    """

    logs_no_signals = False

    def __init__(self, task, *, scale: float = 32.0, margin: float = 0.5, **options):
        super().__init__(task, **options)
        if not scale > 0:
            raise ValueError(f"criterion.scale={scale}: give more than 0")
        if not 0 <= margin <= math.pi:
            raise ValueError(f"criterion.margin={margin}: give radians, from 0 to pi")
        self.scale = scale
        self.margin = margin

    def get_logits(self, model: nn.Module, net_output: dict[str, Any]) -> Tensor:
        """Take the cosines ``(B, classes)`` between embeddings and centres."""
        return net_output["cosine"]

    def with_margin(self, cosine: Tensor, target: Tensor) -> Tensor:
        """Apply margin and scale.

        Args:
            cosine: ``(B, classes)``.
            target: ``(B,)`` int64, class of each.

        Returns:
            ``(B, classes)`` logits.
        """
        own = cosine.gather(1, target[:, None])
        # Where a cosine is 1 or -1 the derivative of the root is infinite; its value there is 0.
        squared = 1 - own.square()
        sine = torch.where(squared > 0, squared, 1).sqrt() * (squared > 0)
        widened = own * math.cos(self.margin) - sine * math.sin(self.margin)
        beyond = own - self.margin * math.sin(self.margin)
        own = torch.where(own > math.cos(math.pi - self.margin), widened, beyond)
        return self.scale * cosine.scatter(1, target[:, None], own)

    def compute(
        self, model: nn.Module, sample: dict[str, Any], net_output: dict[str, Any], logits: Tensor
    ) -> Computed:
        """Compute the loss and count right answers; see the base class."""
        target = model.get_targets(sample, net_output)
        loss = functional.cross_entropy(self.with_margin(logits, target), target, reduction="sum")
        correct = (logits.argmax(dim=1) == target).sum()
        return (
            [loss],
            self.sample_size(sample, len(target)),
            {
                "correct": correct,
                "count": float(len(target)),
            },
        )

    @staticmethod
    def reduce_measures(logs: Sequence[dict[str, Any]]) -> None:
        """Log the accuracy: of classes in training, of patients in validation."""
        log_share("accuracy", "correct", "count", logs)
