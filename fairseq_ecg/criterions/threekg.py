"""Pre-training by contrast between patients, each seen in views of the vectorcardiogram (3KG)."""

from typing import Any

from torch import Tensor, nn

from fairseq_ecg.compat.registration import register_criterion
from fairseq_ecg.criterions.contrast import (
    ALL_GATHER_OF_MODEL,
    HasGatheredContrast,
    ViewsCriterion,
)
from fairseq_ecg.criterions.criterion import Computed


@register_criterion("3kg", all_gather=ALL_GATHER_OF_MODEL)
class ThreeKGCriterion(HasGatheredContrast, ViewsCriterion):
    """Cross entropy of each pair of views of one patient among the views of other patients.

    The loss is the sum over all ordered pairs, and the sample size is their number.

    Source: Gopal et al., "3KG: contrastive learning of 12-lead electrocardiograms using
    physiologically-inspired augmentations", ML4H 2021.
    """

    logs_no_signals = False

    def compute(
        self, model: nn.Module, sample: dict[str, Any], net_output: dict[str, Any], logits: Tensor
    ) -> Computed:
        """Compute the contrastive loss; see the base class."""
        patient_id = self.of_all_ranks(sample["patient_id"])
        loss, (n_pairs, n_highest, _) = self.contrast(logits, patient_id)
        log = {"correct": n_highest, "count": n_pairs.float()}
        return [loss], self.sample_size(sample, n_pairs), log
