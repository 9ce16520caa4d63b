"""MedViLL's pre-training: hidden tokens of reports, and whether a report is the ECG's."""

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn
from torch.nn import functional as F

from fairseq_ecg.compat.registration import register_criterion
from fairseq_ecg.criterions.criterion import Computed, ECGCriterion, log_accuracies


@register_criterion("medvill")
class MedViLLCriterion(ECGCriterion):
    """Cross entropy of hidden tokens, and binary cross entropy of texts and ECGs being aligned.

    The latter is weighted by tokens per text, so that the loss per token is the sum of both means.
    A batch without any token to predict has the binary cross entropy alone, and as many samples as
    texts.

    Source: Moon et al., "Multi-modal understanding and generation for medical images and text via
    vision-language pre-training" (MedViLL), IEEE JBHI 2022, https://arxiv.org/abs/2105.11333.
    """

    def get_logits(self, model: nn.Module, net_output: dict[str, Any]) -> Tensor:
        """Return the logits of hidden tokens, ``(M, V)``."""
        return model.get_logits(net_output)["mlm_x"]

    def compute(
        self, model: nn.Module, sample: dict[str, Any], net_output: dict[str, Any], logits: Tensor
    ) -> Computed:
        """Compute both terms; see the base class."""
        target = model.get_targets(sample, net_output)
        tokens, is_aligned = target["mlm_y"], target["align_y"].float()
        align_logits = net_output["align_x"].float().flatten()
        sample_size = tokens.numel() or is_aligned.numel()
        mlm = F.cross_entropy(logits, tokens, reduction="sum")
        align = F.binary_cross_entropy_with_logits(align_logits, is_aligned, reduction="sum")
        log = {
            "mlm_correct": (logits.argmax(-1) == tokens).sum(),
            "mlm_count": float(tokens.numel()),
            "align_correct": ((align_logits.sigmoid() > 0.5) == is_aligned).sum(),
            "align_count": float(is_aligned.numel()),
        }
        return [mlm, align * sample_size / is_aligned.numel()], sample_size, log

    @staticmethod
    def reduce_measures(logs: Sequence[dict[str, Any]]) -> None:
        """Log both accuracies, the terms of the loss, and what they are made of."""
        log_accuracies(("mlm", "align"), logs)
