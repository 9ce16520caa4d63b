"""Pre-training by contrastive multi-segment coding alone."""

from typing import Any

from fairseq.criterions import CRITERION_DATACLASS_REGISTRY, CRITERION_REGISTRY
from hydra.core.config_store import ConfigStore
from torch import Tensor, nn

from fairseq_ecg.compat.registration import register_criterion
from fairseq_ecg.criterions.contrast import (
    ALL_GATHER_OF_MODEL,
    HasGatheredContrast,
    PooledCriterion,
)
from fairseq_ecg.criterions.criterion import Computed


@register_criterion("cmsc", all_gather=ALL_GATHER_OF_MODEL)
class CMSCCriterion(HasGatheredContrast, PooledCriterion):
    """Patient contrastive loss on the pooled output of an ``ecg_transformer``.

    The loss is a mean over the positive pairs and the sample size is their number, as
    fairseq_signals had it while its criterion still ran (before its commit 3dd5b61): the gradient
    is that of the mean divided by the number once more.
    """

    def compute(
        self, model: nn.Module, sample: dict[str, Any], net_output: dict[str, Any], logits: Tensor
    ) -> Computed:
        """Compute the contrastive loss; see the base class."""
        patient_id, segment = (self.of_all_ranks(sample[key]) for key in ("patient_id", "segment"))
        loss, (n_ordered, *_) = self.contrast(logits, patient_id, segment)
        return [loss], self.sample_size(sample, n_ordered // 2), {}


# ``clocs`` is the name that fairseq_signals' own cmsc configs use. fairseq's decorator would refuse
# the class under a second name.
CRITERION_REGISTRY["clocs"] = CMSCCriterion
CRITERION_DATACLASS_REGISTRY["clocs"] = _Config = CRITERION_DATACLASS_REGISTRY["cmsc"]
ConfigStore.instance().store(
    name="clocs", group="criterion", node=_Config(_name="clocs"), provider="fairseq"
)
