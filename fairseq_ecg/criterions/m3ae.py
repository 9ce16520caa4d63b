"""M3AE: hidden words, removed frames, and whether ECG and text belong together."""

from collections.abc import Sequence
from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from fairseq_ecg.compat.registration import register_criterion
from fairseq_ecg.criterions.criterion import (
    Computed,
    ECGCriterion,
    log_accuracies,
)
from fairseq_ecg.data.text.word_masks import IGNORED


@register_criterion("m3ae")
class M3AECriterion(ECGCriterion):
    """The sum of three means; the sample size is 1, as they are means already.

    Terms are the cross entropy of hidden tokens (0 if none is hidden), the squared error of the
    samples of removed frames, and the cross entropy of alignment.

    Source: Chen et al., "Multi-modal masked autoencoders for medical vision-and-language
    pre-training" (M3AE), MICCAI 2022, https://arxiv.org/abs/2209.07098, section 2.3.

    Args:
        task: the task.
        norm_pix_loss: standardise each lead of an ECG before its samples are predicted.
        options: of :class:`ECGCriterion`.
    """

    def __init__(self, task, *, norm_pix_loss: bool = True, **options):
        super().__init__(task, **options)
        self.norm_pix_loss = norm_pix_loss

    def get_logits(self, model: nn.Module, net_output: dict[str, Any]) -> None:
        """Ask for no logits: there are several, which ``compute`` asks for."""

    def compute(
        self, model: nn.Module, sample: dict[str, Any], net_output: dict[str, Any], logits: None
    ) -> Computed:
        """Compute the three terms; see the base class."""
        target = model.get_targets(sample, net_output, norm_pix_loss=self.norm_pix_loss)
        predicted = {name: _wide(x) for name, x in model.get_logits(net_output).items()}
        words, is_hidden = target["mlm_target"], target["mlm_target"] != IGNORED
        n_hidden = is_hidden.sum()
        of_words = F.cross_entropy(
            predicted["mlm_logits"], words, ignore_index=IGNORED, reduction="sum"
        )
        removed = net_output["mim_masks"]
        errors = (predicted["mim_logits"] - target["mim_target"]).square().mean(dim=-1)
        alignment = F.cross_entropy(predicted["itm_logits"], target["itm_target"])
        terms = [
            of_words / n_hidden.clamp(min=1),
            (errors * removed).sum() / removed.sum().clamp(min=1),
            alignment,
        ]
        log = {
            "mlm_correct": (predicted["mlm_logits"].argmax(dim=-1) == words).sum(),
            "mlm_count": n_hidden,
            "itm_correct": (predicted["itm_logits"].argmax(dim=-1) == target["itm_target"]).sum(),
            "itm_count": target["itm_target"].numel(),
        }
        return terms, 1, log

    @staticmethod
    def reduce_measures(logs: Sequence[dict[str, Any]]) -> None:
        """Log the accuracies, the terms of the loss, and the mean of every other logged number."""
        log_accuracies(("mlm", "itm"), logs)


def _wide(x: Tensor) -> Tensor:
    """In float32, or float64 as it is."""
    return x if x.element_size() > 4 else x.float()
