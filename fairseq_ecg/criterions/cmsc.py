"""Pre-training by contrastive multi-segment coding alone."""

from typing import Any

import torch
import torch.distributed as dist
from fairseq.criterions import CRITERION_DATACLASS_REGISTRY, CRITERION_REGISTRY
from hydra.core.config_store import ConfigStore
from torch import Tensor, nn

from fairseq_ecg.compat.registration import register_criterion
from fairseq_ecg.criterions.criterion import Computed, ECGCriterion
from fairseq_ecg.ops.cmsc import cmsc_loss, positive_pairs

# A plain reference to model.all_gather would break every model that has no such option.
ALL_GATHER_OF_MODEL = "${oc.select:model.all_gather,false}"


class PatientContrast:
    """What a criterion with the patient contrastive loss has; comes before it as a base.

    Args:
        task: the task.
        temp: temperature of the patient contrastive loss.
        eps: smallest norm that a feature vector is divided by.
        all_gather: contrast with the segments of all ranks, not of the own batch alone.
        options: of the criterion.
    """

    def __init__(
        self,
        task,
        *,
        temp: float = 0.1,
        eps: float = 1e-8,
        all_gather: bool | None = False,
        **options,
    ):
        super().__init__(task, **options)
        self.temperature = temp
        self.eps = eps
        self.all_gather = all_gather


@register_criterion("cmsc", all_gather=ALL_GATHER_OF_MODEL)
class CMSCCriterion(PatientContrast, ECGCriterion):
    """Patient contrastive loss on the pooled output of an ``ecg_transformer``.

    The loss is a mean over the positive pairs and the sample size is their number, as
    fairseq_signals had it while its criterion still ran (before its commit 8a5bbfe).
    """

    def get_logits(self, model: nn.Module, net_output: dict[str, Any]) -> Tensor:
        """Ask the model for one pooled vector ``(B, D)`` per segment."""
        return model.get_logits(net_output, aggregate=True)

    def compute(
        self, model: nn.Module, sample: dict[str, Any], net_output: dict[str, Any], logits: Tensor
    ) -> Computed:
        """Compute the contrastive loss; see the base class."""
        patient_id, segment = sample["patient_id"], sample["segment"]
        if self.all_gather:
            patient_id, segment = _gathered(patient_id), _gathered(segment)
        loss = cmsc_loss(logits, patient_id, segment, self.temperature, self.eps)
        n_positives = positive_pairs(patient_id, segment).sum()
        return [loss], self.sample_size(sample, n_positives), {}


def _gathered(ids: Tensor) -> Tensor:
    """Concatenate the ids of all ranks, in rank order, as the model does with its features."""
    if not dist.is_initialized():
        return ids
    of_ranks: list[Tensor | None] = [None] * dist.get_world_size()
    dist.all_gather_object(of_ranks, ids.cpu())
    return torch.cat(of_ranks).to(ids.device)


# ``clocs`` is the name that fairseq_signals' own cmsc configs use. fairseq's decorator would refuse
# the class under a second name.
CRITERION_REGISTRY["clocs"] = CMSCCriterion
CRITERION_DATACLASS_REGISTRY["clocs"] = _Config = CRITERION_DATACLASS_REGISTRY["cmsc"]
ConfigStore.instance().store(
    name="clocs", group="criterion", node=_Config(_name="clocs"), provider="fairseq"
)
