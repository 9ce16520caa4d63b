# ruff: noqa: UP045  (fairseq's argument parser knows typing.Optional alone)
"""ECG-FM's pre-training: wav2vec 2.0 together with contrastive multi-segment coding."""

from dataclasses import dataclass
from typing import Any, Optional

from fairseq.criterions import register_criterion
from torch import Tensor, nn

from fairseq_ecg.criterions.cmsc import CMSCOptions
from fairseq_ecg.criterions.criterion import Computed
from fairseq_ecg.criterions.wav2vec2 import Wav2Vec2Criterion, Wav2Vec2CriterionConfig
from fairseq_ecg.ops.cmsc import cmsc_loss
from fairseq_ecg.ops.options import option


@dataclass
class Wav2Vec2WithCMSCCriterionConfig(CMSCOptions, Wav2Vec2CriterionConfig):
    """Options of ``wav2vec2_with_cmsc``. ``all_gather`` is accepted and has no effect."""

    cmsc_weights: Optional[float] = option(None, "weight of the patient contrastive loss (none: 1)")


@register_criterion("wav2vec2_with_cmsc", dataclass=Wav2Vec2WithCMSCCriterionConfig)
class Wav2Vec2WithCMSCCriterion(Wav2Vec2Criterion):
    """The terms of ``wav2vec2``, and last the patient contrastive loss of the local batch.

    That loss is a mean; it is multiplied by the sample size (the number of masked frames), so that
    dividing the gradient by the sample size gives it the weight ``cmsc_weights``.
    """

    def __init__(self, cfg: Wav2Vec2WithCMSCCriterionConfig, task):
        super().__init__(cfg, task)
        self.temperature = cfg.temp
        self.eps = cfg.eps
        self.cmsc_weight = 1.0 if cfg.cmsc_weights is None else cfg.cmsc_weights

    def compute(
        self,
        model: nn.Module,
        sample: dict[str, Any],
        net_output: dict[str, Any],
        logits: Tensor | None,
    ) -> Computed:
        """Compute the terms of ``wav2vec2`` and the contrastive one; see the base class."""
        terms, sample_size, log = super().compute(model, sample, net_output, logits)
        features = model.get_features(net_output, aggregate=True).float()
        loss = cmsc_loss(
            features, sample["patient_id"], sample["segment"], self.temperature, self.eps
        )
        return [*terms, self.cmsc_weight * loss * sample_size], sample_size, log
