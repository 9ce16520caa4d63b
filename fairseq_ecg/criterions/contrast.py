"""What the criterions of contrast between pooled recordings have in common."""

from collections.abc import Sequence
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from fairseq_ecg.criterions.criterion import ECGCriterion, log_share
from fairseq_ecg.ops.contrast import Contrast, contrast

# A plain reference to model.all_gather would break every model that has no such option.
ALL_GATHER_OF_MODEL = "${oc.select:model.all_gather,false}"


class HasContrast:
    """What a criterion with a contrastive loss has; comes before it as a base.

    Args:
        task: the task.
        temp: temperature of the contrastive loss.
        eps: smallest norm that a feature vector is divided by.
        options: of the criterion.
    """

    def __init__(self, task, *, temp: float = 0.1, eps: float = 1e-8, **options):
        super().__init__(task, **options)
        self.temperature = temp
        self.eps = eps

    def contrast(self, features: Tensor, group: Tensor, segment: Tensor | None = None) -> Contrast:
        """Contrast ``(B, D)`` features, see :func:`fairseq_ecg.ops.contrast.contrast`."""
        return contrast(features, group, segment, self.temperature, self.eps)


class HasGatheredContrast(HasContrast):
    """The same over the batches of all ranks.

    Args:
        task: the task.
        all_gather: contrast with the recordings of all ranks, not of the own batch alone.
        options: of :class:`HasContrast`.
    """

    def __init__(self, task, *, all_gather: bool | None = False, **options):
        super().__init__(task, **options)
        self.all_gather = all_gather

    def of_all_ranks(self, ids: Tensor) -> Tensor:
        """Concatenate ids in rank order, as the model does with its features, where it does."""
        if not (self.all_gather and dist.is_initialized()):
            return ids
        of_ranks: list[Tensor | None] = [None] * dist.get_world_size()
        dist.all_gather_object(of_ranks, ids.cpu())
        return torch.cat(of_ranks).to(ids.device)


class PooledCriterion(ECGCriterion):
    """Base of the criterions on one pooled vector per recording, segment or view."""

    def get_logits(self, model: nn.Module, net_output: dict[str, Any]) -> Tensor:
        """Ask the model for one pooled vector ``(B, D)`` per row of the batch."""
        return model.get_logits(net_output, aggregate=True)

    def logits_of_batch(
        self, model: nn.Module, sample: dict[str, Any], net_output: dict[str, Any]
    ) -> Tensor:
        """Ask the model for the vectors, float32.

        Raises:
            ValueError: it does not give one for each row, as networks of other pre-training.
        """
        logits = super().logits_of_batch(model, sample, net_output)
        rows = len(sample["net_input"]["source"])
        is_gathered = dist.is_initialized() and len(logits) > rows
        if logits.dim() != 2 or not (is_gathered or len(logits) == rows):
            raise ValueError(
                f"{type(self).__name__} needs one vector for each of {rows} recordings, but the "
                f"model gives logits of shape {tuple(logits.shape)}: choose an encoder that is "
                "trained by contrast of recordings, such as model._name=ecg_transformer"
            )
        return logits


class ViewsCriterion(PooledCriterion):
    """Base of the criterions on views, of which the share of pairs that are found is logged."""

    @staticmethod
    def reduce_measures(logs: Sequence[dict[str, Any]]) -> None:
        """Log ``accuracy``: positive pairs more alike than all negative ones of their row."""
        log_share("accuracy", "correct", "count", logs)
