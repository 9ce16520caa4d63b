"""What the criterions of labels share: labels as one tensor, weights of labels, groups."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from fairseq_ecg.criterions.criterion import Computed, ECGCriterion


class LabelCriterion(ECGCriterion):
    """Base of the criterions of ``(B, C)`` logits and labels of 0 and 1.

    Args:
        task: the task.
        weight: weight of each label's loss.
        threshold: probability above which a label counts as predicted.
        report_auc: report areas under the ROC and precision-recall curves in evaluation.
        options: of :class:`ECGCriterion`.
    """

    logs_no_signals = False

    vectors: tuple[str, ...] = ("weight",)
    """Attributes with a value for each label, named as their options: they move to the logits."""

    def __init__(
        self,
        task,
        *,
        weight: Sequence[float] | None = None,
        threshold: float = 0.5,
        report_auc: bool = False,
        **options,
    ):
        super().__init__(task, **options)
        self.weight = as_vector(weight)
        self.threshold = threshold
        self.report_auc = report_auc

    def compute(
        self, model: nn.Module, sample: dict[str, Any], net_output: dict[str, Any], logits: Tensor
    ) -> Computed:
        """Compute the loss and count right and wrong predictions; see the base class."""
        target = stacked_labels(model.get_targets(sample, net_output), logits)
        for name in self.vectors:
            setattr(self, name, on_device(getattr(self, name), logits, name))
        loss = self.loss(logits, target)
        with torch.no_grad():
            log = self.measure(sample, logits, target)
        return [loss], self.sample_size(sample, self.count(target)), log

    def loss(self, logits: Tensor, target: Tensor) -> Tensor:
        """Sum the loss over ``(B, C)`` float32 logits and labels of 0 and 1."""
        raise NotImplementedError

    def count(self, target: Tensor) -> "int | Tensor":
        """Return the sample size of a batch."""
        return target.numel()

    def measure(self, sample: dict[str, Any], logits: Tensor, target: Tensor) -> dict[str, Any]:
        """Return what to log beside the loss."""
        raise NotImplementedError


def as_vector(values: Sequence[float] | None) -> Tensor | None:
    """Make a float32 vector of a list in a config, if there is one."""
    return None if values is None else torch.tensor(list(values), dtype=torch.float32)


def on_device(vector: Tensor | None, logits: Tensor, option: str) -> Tensor | None:
    """Bring the values of ``criterion.<option>`` to the logits' device.

    They are no buffers of the criterion, since fairseq would round those to half precision.

    Raises:
        ValueError: Not one value for each of the logits' columns.
    """
    if vector is None:
        return None
    if len(vector) != logits.size(1):
        raise ValueError(
            f"criterion.{option} has {len(vector)} values, but the model has {logits.size(1)} "
            "labels: give one value for each label"
        )
    return vector.to(logits.device)


def stacked_labels(target: Tensor | Sequence[Tensor], logits: Tensor) -> Tensor:
    """Make one ``(B, C)`` float32 tensor of the labels on the logits' device.

    Args:
        target: ``(B, C)``, or a sequence of B tensors of C values as path data sets give it.
        logits: ``(B, C)``.

    Raises:
        ValueError: The labels do not have the shape of the logits.
    """
    if not torch.is_tensor(target):
        sizes = {len(torch.as_tensor(row).reshape(-1)) for row in target}
        if len(sizes) > 1:
            raise ValueError(
                f"the recordings of a batch have different numbers of labels: {sorted(sizes)}"
            )
        target = torch.stack([torch.as_tensor(row).reshape(-1) for row in target])
    if target.shape != logits.shape:
        raise ValueError(
            f"labels of shape {tuple(target.shape)} for logits of shape {tuple(logits.shape)}: "
            "model.num_labels has to be the number of columns of the labels"
        )
    return target.to(logits)


def groups_of(
    ids_of: Mapping[str, np.ndarray], but: int | None = -1
) -> Iterator[tuple[str, np.ndarray]]:
    """Find who belongs together.

    Args:
        ids_of: by key, the id of the group of each, ``(N,)`` integer.
        but: id of those in no group; None: there are none.

    Yields:
        The prefix of what is logged of a group, ``<key>_<id>_``, and who is in it, ``(N,)`` bool.
    """
    for key, ids in ids_of.items():
        for group in np.unique(ids if but is None else ids[ids != but]):
            yield f"{key}_{group}_", ids == group
