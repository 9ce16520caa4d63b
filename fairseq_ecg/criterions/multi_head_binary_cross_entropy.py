"""Binary classification with one head per question, of which each record answers some."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fairseq_ecg.compat.registration import register_criterion
from fairseq_ecg.criterions.criterion import Computed, log_share, prefixes_of_groups
from fairseq_ecg.criterions.labels import LabelCriterion, groups_of, on_device
from fairseq_ecg.criterions.meters import log_areas


@register_criterion("multi_head_binary_cross_entropy")
class MultiHeadBinaryCrossEntropyCriterion(LabelCriterion):
    """Mean over heads of the mean binary cross entropy of the answers to each head.

    The batch has, per record, ``target_idx`` (the heads it answers) and as many labels. Every
    batch weighs the same: the sample size is 1. As in fairseq_signals the entropy is one of
    probabilities, no term of which is above 100, and predictions are counted at 0.5 whatever
    ``threshold`` says.

    Args:
        task: the task.
        log_per_class: report accuracy and areas for each head as well.
        per_log_keys: keys of the batch that group its answers by an id, such as attribute_id;
            accuracy and areas are reported for each id as well, -1 among them.
        options: of :class:`LabelCriterion`.
    """

    logs_no_signals = True

    def __init__(
        self, task, *, log_per_class: bool = False, per_log_keys: Sequence[str] = (), **options
    ):
        super().__init__(task, **options)
        self.log_per_class = log_per_class
        self.per_log_keys = per_log_keys

    def compute(
        self, model: nn.Module, sample: dict[str, Any], net_output: dict[str, Any], logits: Tensor
    ) -> Computed:
        """Compute the loss over the answered heads; see the base class."""
        head, n_answers = _concatenated(sample["target_idx"])
        target, n_labels = _concatenated(model.get_targets(sample, net_output))
        if not torch.equal(n_answers, n_labels):
            raise ValueError(
                f"records {sample['id'].tolist()}: each has to have as many labels as target_idx, "
                f"not {n_labels.tolist()} for {n_answers.tolist()}"
            )
        record = torch.repeat_interleave(n_answers).to(logits.device)
        head, target = head.to(logits.device), target.to(logits)
        self.weight = on_device(self.weight, logits, "weight")

        prob = logits[record, head].sigmoid()
        losses = F.binary_cross_entropy(
            prob,
            target,
            weight=None if self.weight is None else self.weight[head],
            reduction="none",
        )
        heads, which, n_of_head = torch.unique(head, return_inverse=True, return_counts=True)
        loss = (losses / n_of_head[which]).sum() / len(heads)

        with torch.no_grad():
            right = (prob > 0.5) == (target == 1)
            log: dict[str, Any] = {"correct": right.sum(), "count": float(right.numel())}
        scored = self.report_auc and not self.training
        if scored:
            log["_y_true"], log["_y_score"] = target.cpu().numpy(), prob.detach().cpu().numpy()
        groups = {key: _per_answer(sample[key], n_answers) for key in self.per_log_keys}
        if self.log_per_class:
            groups["cls"] = head.cpu().numpy()
        if groups:
            log |= _tallied(groups, right.cpu().numpy(), log if scored else {})
        return [loss], self.sample_size(sample, 1), log

    @staticmethod
    def reduce_measures(logs: Sequence[dict[str, Any]]) -> None:
        """Log accuracies and areas under the curves, overall and by group."""
        log_share("accuracy", "correct", "count", logs)
        log_areas(logs)
        for prefix in prefixes_of_groups("count", logs):
            log_share(f"{prefix}accuracy", f"{prefix}correct", f"{prefix}count", logs)
            log_areas(logs, prefix)


def _tallied(
    groups: dict[str, np.ndarray], right: np.ndarray, arrays: dict[str, np.ndarray]
) -> dict[str, Any]:
    """Count right answers, and pick score arrays where there are any, for each id of each group."""
    log: dict[str, Any] = {}
    for prefix, chosen in groups_of(groups, but=None):
        log[f"{prefix}count"] = int(chosen.sum())
        log[f"{prefix}correct"] = int(right[chosen].sum())
        for name in ("y_true", "y_score"):
            if f"_{name}" in arrays:
                log[f"_{prefix}{name}"] = arrays[f"_{name}"][chosen]
    return log


def _concatenated(rows: Tensor | Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """Chain the values of all records; return also how many each has."""
    flat = [torch.as_tensor(row).reshape(-1) for row in rows]
    return torch.cat(flat), torch.tensor([len(row) for row in flat])


def _per_answer(ids: Sequence, n_answers: Tensor) -> np.ndarray:
    """Give each answer its id, where a record has one for each of its answers, or one for all."""
    rows = [torch.as_tensor(row).reshape(-1).cpu().numpy() for row in ids]
    return np.concatenate(
        [np.broadcast_to(row, (n,)) for row, n in zip(rows, n_answers.tolist(), strict=True)]
    )
