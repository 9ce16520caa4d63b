"""Pre-training by contrast between two augmented views of each recording (SimCLR)."""

from typing import Any

import torch
from torch import Tensor, nn

from fairseq_ecg.compat.registration import register_criterion
from fairseq_ecg.criterions.contrast import HasContrast, ViewsCriterion
from fairseq_ecg.criterions.criterion import Computed


@register_criterion("simclr")
class SimCLRCriterion(HasContrast, ViewsCriterion):
    """Cross entropy of a view's cosine similarity to the other view among those to all views.

    The loss is the sum over the N views of a batch, in which the two views of a recording follow
    each other, and the sample size is N. With ``model.all_gather`` these are the views of all
    ranks.

    Source: Chen et al., "A Simple Framework for Contrastive Learning of Visual Representations",
    ICML 2020.
    """

    def compute(
        self, model: nn.Module, sample: dict[str, Any], net_output: dict[str, Any], logits: Tensor
    ) -> Computed:
        """Compute the contrastive loss; see the base class."""
        n_views = len(logits)
        recording = torch.arange(n_views, device=logits.device) // 2
        loss, (_, n_highest, n_level) = self.contrast(logits, recording)
        # As in fairseq_signals a view that is as alike to all others is not right.
        log = {"correct": n_highest - n_level, "count": float(n_views)}
        return [loss], self.sample_size(sample, n_views), log
