"""ECG-FM's pre-training: wav2vec 2.0 together with contrastive multi-segment coding."""

from typing import Any

from torch import Tensor, nn

from fairseq_ecg.compat.registration import register_criterion
from fairseq_ecg.criterions.contrast import ALL_GATHER_OF_MODEL, HasGatheredContrast
from fairseq_ecg.criterions.criterion import Computed
from fairseq_ecg.criterions.wav2vec2 import Wav2Vec2Criterion


@register_criterion("wav2vec2_with_cmsc", all_gather=ALL_GATHER_OF_MODEL)
class Wav2Vec2WithCMSCCriterion(HasGatheredContrast, Wav2Vec2Criterion):
    """The terms of ``wav2vec2``, and last the patient contrastive loss of the local batch.

    That loss is a mean; it is multiplied by the sample size (the number of masked frames), so that
    dividing the gradient by the sample size gives it the weight ``cmsc_weights``. ``all_gather`` is
    accepted and has no effect.

    Args:
        task: the task.
        cmsc_weights: weight of the patient contrastive loss (none: 1).
        options: of :class:`HasGatheredContrast` and :class:`Wav2Vec2Criterion`.
    """

    def __init__(self, task, *, cmsc_weights: float | None = None, **options):
        super().__init__(task, **options)
        self.cmsc_weight = 1.0 if cmsc_weights is None else cmsc_weights

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
        loss, _ = self.contrast(features, sample["patient_id"], sample["segment"])
        return [*terms, self.cmsc_weight * loss * sample_size], sample_size, log
