"""wav2vec 2.0 pre-training: find the quantized target of a masked frame among negatives."""

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fairseq_ecg.compat.registration import register_criterion
from fairseq_ecg.criterions.criterion import (
    OWN_METRICS,
    Computed,
    ECGCriterion,
    log_share,
    log_the_rest,
)
from fairseq_ecg.modules.wav2vec2 import Contrast
from fairseq_ecg.ops.infonce import InfoNCE, count_correct, infonce
from fairseq_ecg.ops.infonce_over_pool import infonce_over_pool

_OWN_METRICS = OWN_METRICS | {"correct", "count"}


@register_criterion("wav2vec2")
class Wav2Vec2Criterion(ECGCriterion):
    """Contrastive loss over masked frames, and the model's weighted extra losses.

    Source: Baevski et al., "wav2vec 2.0", NeurIPS 2020, equations 2 to 4.

    Args:
        task: the task.
        infonce: use cross entropy over the positive and its negatives (InfoNCE); otherwise each of
            them is told by itself whether it is the positive.
        loss_weights: weights of the model's extra losses; one weight serves them all.
        log_keys: keys of the model's output to log; in evaluation also logits, target.
        options: of :class:`ECGCriterion`.
    """

    def __init__(
        self,
        task,
        *,
        infonce: bool = False,
        loss_weights: Sequence[float] | None = None,
        log_keys: Sequence[str] = (),
        **options,
    ):
        super().__init__(task, **options)
        self.infonce = infonce
        self.loss_weights = loss_weights
        self.log_keys = log_keys

    def get_logits(self, model: nn.Module, net_output: dict[str, Any]) -> Tensor | None:
        """Ask for logits unless the loss is computed without them."""
        return None if self._contrast(net_output) else model.get_logits(net_output)

    def _contrast(self, net_output: dict[str, Any]) -> Contrast | None:
        wants_logits = not self.training and "logits" in self.log_keys
        return net_output.get("contrast") if self.infonce and not wants_logits else None

    def compute(
        self,
        model: nn.Module,
        sample: dict[str, Any],
        net_output: dict[str, Any],
        logits: Tensor | None,
    ) -> Computed:
        """Compute the contrastive term and the extra terms; see the base class."""
        target = model.get_targets(sample, net_output)
        log: dict[str, Any] = {}
        contrast = self._contrast(net_output)
        if self.infonce:
            if contrast is not None:
                loss, log["correct"], _ = _infonce(contrast, model.logit_temp)
            else:
                loss = F.cross_entropy(logits, target, reduction="sum")
                log["correct"] = count_correct(logits)
            log["count"] = float(target.numel())
            sample_size = self.sample_size(sample, target.numel())
        else:
            if target.shape != logits.shape:
                # One index per row, which fairseq_signals compares with all logits and stops.
                target = F.one_hot(target, logits.size(1))
            loss = _binary_loss(logits, target)
            sample_size = self.sample_size(sample, target.long().sum())
        terms = [loss, *self._extra_terms(model, net_output, sample_size)]

        for key in self.log_keys:
            if key in ("logits", "target"):
                if not self.training:
                    array = logits if key == "logits" else target
                    log[key] = array.detach().cpu().numpy()
            elif key in net_output:
                value = net_output[key]
                log[key] = value.float().reshape(()) if torch.is_tensor(value) else float(value)
        return terms, sample_size, log

    def _extra_terms(
        self, model: nn.Module, net_output: dict[str, Any], sample_size: "int | Tensor"
    ) -> list[Tensor]:
        if self.loss_weights is None:
            return []
        extra = model.get_extra_losses(net_output)
        weights = (
            [*self.loss_weights] * len(extra) if len(self.loss_weights) == 1 else self.loss_weights
        )
        if len(weights) != len(extra):
            raise ValueError(
                f"criterion.loss_weights has {len(weights)} weights, but the model has "
                f"{len(extra)} extra losses: give one weight for each, or a single one for all"
            )
        return [
            weight * loss.float() * sample_size
            for weight, loss in zip(weights, extra, strict=True)
            if weight != 0
        ]

    @staticmethod
    def reduce_measures(logs: Sequence[dict[str, Any]]) -> None:
        """Log the accuracy, the terms of the loss, and the mean of every other logged number."""
        log_share("accuracy", "correct", "count", logs)
        log_the_rest(_OWN_METRICS, logs)


def _infonce(contrast: Contrast, temperature: float) -> InfoNCE:
    predictions, targets, negatives, pool = contrast
    if pool is None:
        return infonce(predictions, targets, negatives, temperature)
    return infonce_over_pool(predictions, targets, pool, negatives, temperature)


def _binary_loss(logits: Tensor, target: Tensor) -> Tensor:
    """Sum of the binary cross entropy of candidates, ``target`` being 1 where they are right.

    Excluded negatives count nothing: minus infinity times 0 would be NaN.
    """
    excluded = logits.isneginf()
    losses = F.binary_cross_entropy_with_logits(
        logits.masked_fill(excluded, 0), target.float(), reduction="none"
    )
    return losses.masked_fill(excluded, 0).sum()
