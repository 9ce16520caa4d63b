"""Classification into one of several classes, of recordings or of every sample."""

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fairseq_ecg.compat.registration import register_criterion
from fairseq_ecg.criterions.criterion import Computed, ECGCriterion, log_share
from fairseq_ecg.criterions.labels import as_vector, on_device


@register_criterion("cross_entropy")
class CrossEntropyCriterion(ECGCriterion):
    """Cross entropy of the softmax over classes, summed; the sample size is what it is summed over.

    With ``focal_loss`` the cross entropy ``ce`` of each is multiplied by ``(1 - exp(-ce))^gamma``
    (equation 4 of https://arxiv.org/abs/1708.02002, over classes).

    It takes the place of fairseq's own criterion of that name, which is of language models.

    Args:
        task: the task.
        weight: weight of each class's cross entropy.
        focal_loss: attend to what is still classified wrongly.
        gamma: focal_loss: exponent of the error that a cross entropy is multiplied by.
        options: of :class:`ECGCriterion`.

    Raises:
        ValueError: ``gamma`` is negative.
    """

    logs_no_signals = False

    def __init__(
        self,
        task,
        *,
        weight: Sequence[float] | None = None,
        focal_loss: bool = False,
        gamma: float = 1.0,
        **options,
    ):
        super().__init__(task, **options)
        if self.skips_nonfinite:
            # The log of a batch that is left out is another one, and so are sums with it.
            self.logging_outputs_can_be_summed = ECGCriterion.logging_outputs_can_be_summed
        if gamma < 0:
            raise ValueError(f"criterion.gamma={gamma}: give 0 or more")
        self.weight = as_vector(weight)
        self.focal_loss = focal_loss
        self.gamma = gamma

    def logits_of_batch(
        self, model: nn.Module, sample: dict[str, Any], net_output: dict[str, Any]
    ) -> Tensor:
        """Ask the model for the logits that count in a batch, ``(..., C)``."""
        return model.get_logits(net_output, sample=sample).float()

    def compute(
        self, model: nn.Module, sample: dict[str, Any], net_output: dict[str, Any], logits: Tensor
    ) -> Computed:
        """Compute the loss and count right classes; see the base class.

        Raises:
            ValueError: there is not one index of a class for the logits of each.
        """
        target = model.get_targets(sample, net_output)
        if target.shape != logits.shape[:-1]:
            raise ValueError(
                f"targets of shape {tuple(target.shape)} for logits of shape "
                f"{tuple(logits.shape)}: cross_entropy needs the index of one class for each"
            )
        logits, target = logits.flatten(0, -2), target.flatten().long()
        self.weight = on_device(self.weight, logits, "weight")
        loss = cross_entropy(logits, target, self.weight, self.gamma if self.focal_loss else 0)
        log = {"correct": (logits.argmax(dim=-1) == target).sum(), "count": len(target)}
        return [loss], self.sample_size(sample, len(target)), log

    @staticmethod
    def logging_outputs_can_be_summed() -> bool:
        """Let fairseq sum logging outputs over ranks: they are numbers alone."""
        return True

    @staticmethod
    def reduce_measures(logs: Sequence[dict[str, Any]]) -> None:
        """Log the accuracy."""
        log_share("accuracy", "correct", "count", logs)


def cross_entropy(logits: Tensor, target: Tensor, weight: Tensor | None, gamma: float) -> Tensor:
    """Sum ``(1 - exp(-ce))^gamma ce`` over rows, ``ce`` being their weighted cross entropy.

    Args:
        logits: ``(N, C)``.
        target: ``(N,)`` int64.
        weight: ``(C,)``, or None.
        gamma: 0 or more; 0 gives the plain sum.
    """
    losses = F.cross_entropy(logits, target, weight=weight, reduction="none")
    if gamma > 0:
        # At 0 the gradient of a power below 1 is infinite, where that of the product is 0.
        error = -torch.expm1(-losses).clamp(max=-torch.finfo(losses.dtype).tiny)
        losses = error.pow(gamma) * losses
    return losses.sum()
