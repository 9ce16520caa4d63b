"""Regression: estimates of numbers, such as age or ejection fraction, and how far they are off."""

from collections.abc import Sequence
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fairseq_ecg.compat.registration import register_criterion
from fairseq_ecg.criterions.criterion import Computed, ECGCriterion
from fairseq_ecg.criterions.labels import as_vector, on_device, stacked_labels
from fairseq_ecg.criterions.meters import log_regression

_LOSSES = {"mse": F.mse_loss, "mae": F.l1_loss, "huber": F.huber_loss}


@register_criterion("regression")
class RegressionCriterion(ECGCriterion):
    """Error of the estimates of standardised targets, summed; the sample size is their number.

    The model's outputs estimate ``(target - target_mean) / target_std``. A target that is NaN is
    missing and counts nowhere (``task.missing_labels=ignore`` lets such targets pass). Metrics are
    in the units of the targets, the mean over targets: ``mae``, ``rmse``, ``r2`` and ``pearson``,
    exact over a whole validation. The logged ``loss`` is divided by log 2 like every other.

    Args:
        task: the task.
        loss: squared error, absolute error, or Huber's of delta 1.
        target_mean: subtracted from each target before training; null: 0.
        target_std: each target is divided by it after that; null: 1.
        options: of :class:`ECGCriterion`.

    Raises:
        ValueError: a standard deviation is not positive.
    """

    def __init__(
        self,
        task,
        *,
        loss: Literal["mse", "mae", "huber"] = "mse",
        target_mean: Sequence[float] | None = None,
        target_std: Sequence[float] | None = None,
        **options,
    ):
        super().__init__(task, **options)
        self.loss = _LOSSES[loss]
        self.mean, self.std = as_vector(target_mean), as_vector(target_std)
        if self.std is not None and not (self.std > 0).all():
            raise ValueError(f"criterion.target_std={target_std}: give positive numbers")

    def compute(
        self, model: nn.Module, sample: dict[str, Any], net_output: dict[str, Any], logits: Tensor
    ) -> Computed:
        """Compute the loss and the sums that the metrics are made of; see the base class."""
        target = stacked_labels(model.get_targets(sample, net_output), logits)
        self.mean = on_device(self.mean, logits, "target_mean")
        self.std = on_device(self.std, logits, "target_std")
        mean = torch.zeros_like(target[0]) if self.mean is None else self.mean
        std = torch.ones_like(target[0]) if self.std is None else self.std
        known = ~target.isnan()
        standardised = torch.where(known, (target - mean) / std, 0)
        # Zero also where an estimate is infinite, which its product with 0 would not be.
        estimates = torch.where(known, logits, 0)
        loss = self.loss(estimates, standardised, reduction="sum")
        log: dict[str, Any] = {}
        if not self.training:
            # Sums of standardised values lose no digits to a large mean.
            y, p = standardised.double(), estimates.detach().double()
            sums = [known.double(), y, p, y * y, p * p, y * p, (y - p).abs()]
            log["_moments"] = torch.stack([s.sum(dim=0) for s in sums]).cpu().numpy()
            log["_units"] = std.double().cpu().numpy()
        return [loss], self.sample_size(sample, known.sum()), log

    @staticmethod
    def reduce_measures(logs: Sequence[dict[str, Any]]) -> None:
        """Log the errors and correlations of an evaluation."""
        log_regression(logs)
