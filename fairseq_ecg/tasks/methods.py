"""The table of methods: by the criterion, how recordings are seen and what is predicted of them."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

from fairseq.criterions import FairseqCriterion
from omegaconf.errors import InterpolationResolutionError
from torch import nn

from fairseq_ecg.data.targets import HeadsTarget, Labels, Target
from fairseq_ecg.data.views import RecordingView, SegmentsView, View


def _labels_alone(labels: Labels | None) -> Target | None:
    return labels


def _criterion_alone(criterion: FairseqCriterion, model: nn.Module, sample: dict[str, Any]):
    return criterion(model, sample)


@dataclass(frozen=True)
class Method:
    """What a task does differently for one method.

    Args:
        view: makes the view of a data set.
        target: makes its target of the labels that the task reads, None where it reads none.
        evaluate: runs a criterion on a batch in evaluation: loss, sample size and what to log.
    """

    view: Callable[[], View] = RecordingView
    target: Callable[[Labels | None], Target | None] = _labels_alone
    evaluate: Callable[..., tuple] = _criterion_alone


METHODS: dict[str, Method] = {
    "wav2vec2": Method(),
    "wav2vec2_with_cmsc": Method(view=SegmentsView),
    "cmsc": Method(view=SegmentsView),
    "clocs": Method(view=SegmentsView),
    "binary_cross_entropy": Method(),
    "binary_cross_entropy_with_logits": Method(),
    "multi_head_binary_cross_entropy": Method(target=partial(HeadsTarget, required=True)),
    "asymmetric_loss": Method(),
    "focal_loss": Method(),
    "regression": Method(),
    "arcface": Method(),
}

_UNAVAILABLE = ("simclr", "3kg")
"""Criterions of fairseq_signals that are refused; others that have no row may be a user's own."""


def method_of(cfg: Any) -> Method:
    """Find the method of a task by its ``criterion_name``.

    Criterions of others see single recordings, and so does a task without a criterion.

    Args:
        cfg: configuration of the task.

    Raises:
        ValueError: the method is not available.
    """
    try:
        criterion = cfg.criterion_name
    except InterpolationResolutionError:
        criterion = None
    if criterion in _UNAVAILABLE:
        raise ValueError(f"criterion {criterion!r} is not available yet")
    return METHODS.get(criterion, Method())
