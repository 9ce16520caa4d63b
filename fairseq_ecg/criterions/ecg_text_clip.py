"""Contrastive ECG-report pre-training: each ECG finds its text among those of a batch."""

from collections.abc import Sequence
from typing import Any

import torch
from fairseq.logging import metrics
from torch import Tensor, nn

from fairseq_ecg.compat.registration import register_criterion
from fairseq_ecg.compat.training import GAP
from fairseq_ecg.criterions.criterion import Computed, ECGCriterion, log_share, total
from fairseq_ecg.modules import gather_rows
from fairseq_ecg.ops.contrast import contrast

WAYS = ("ecg_to_text", "text_to_ecg")


@register_criterion("ecg_text_clip")
class ECGTextCLIPCriterion(ECGCriterion):
    """Symmetric InfoNCE of ECGs and their texts: mean cross entropy both ways, times the pairs.

    Each ECG of a batch is compared with all its texts, each text with all ECGs; the temperature is
    the model's and is learnt. The sample size is the number of pairs. As in CLIP and MERL all rows
    but the own one are negatives, also those with an equal text.

    Logged are ``ecg_to_text_accuracy`` and ``text_to_ecg_accuracy``, the share of rows whose own
    partner is more alike than any other, and ``temperature``.

    Source: Radford et al., ICML 2021 (https://arxiv.org/abs/2103.00020), figure 3; of ECGs Liu et
    al., "MERL", ICML 2024 (https://arxiv.org/abs/2403.06659), whose loss is twice this one.

    Args:
        task: the task.
        all_gather: contrast with the pairs of all ranks, not of the own batch alone.
        options: of :class:`ECGCriterion`.
    """

    def __init__(self, task, *, all_gather: bool = True, **options):
        super().__init__(task, **options)
        self.all_gather = self.counts_gaps = all_gather

    def get_logits(self, model: nn.Module, net_output: dict[str, Any]) -> None:
        """Ask for none: embeddings are contrasted."""

    def compute(
        self, model: nn.Module, sample: dict[str, Any], net_output: dict[str, Any], logits: None
    ) -> Computed:
        """Compute the contrastive loss; see the base class."""
        # What fills a gap of this rank is no pair of the batch.
        n_own = 0 if self.all_gather and sample.get(GAP, False) else None
        ecg, text = (self._of_all_ranks(net_output[x].float()[:n_own]) for x in ("ecg", "text"))
        temperature = net_output["scale"].float().reciprocal()
        rows = len(ecg)
        if not rows:
            return [(ecg.sum() + text.sum() + temperature) * 0], 0, {"temperature": temperature}
        row = torch.arange(rows, device=ecg.device)
        kind = torch.tensor([[0], [1]], device=ecg.device).expand(2, rows).flatten()
        loss, _ = contrast(torch.cat([ecg, text]), row.repeat(2), kind, temperature)
        log: dict[str, Any] = {"temperature": temperature}
        similarity = (ecg @ text.T).detach()
        for way, scores in zip(WAYS, (similarity, similarity.T), strict=True):
            others = scores.masked_fill(row.unsqueeze(1) == row, -torch.inf).amax(dim=1)
            log[f"{way}_correct"] = (scores.diagonal() > others).sum()
            log[f"{way}_count"] = float(rows)
        return [loss * rows], self.sample_size(sample, rows), log

    def _of_all_ranks(self, embeddings: Tensor) -> Tensor:
        """Concatenate ``(B, P)`` embeddings in rank order."""
        return gather_rows(embeddings.unsqueeze(1)).squeeze(1) if self.all_gather else embeddings

    @staticmethod
    def reduce_measures(logs: Sequence[dict[str, Any]]) -> None:
        """Log accuracies and temperature."""
        for way in WAYS:
            log_share(f"{way}_accuracy", f"{way}_correct", f"{way}_count", logs)
        metrics.log_scalar("temperature", total("temperature", logs) / len(logs), round=4)
