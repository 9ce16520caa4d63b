"""The table of methods: by the criterion, how recordings are seen and what is predicted of them."""

from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Any

from fairseq.criterions import FairseqCriterion
from omegaconf.errors import InterpolationResolutionError
from torch import nn

from fairseq_ecg.data.targets import HeadsTarget, Labels, Target
from fairseq_ecg.data.views import (
    RecordingView,
    SegmentsView,
    TwoViews,
    VectorcardiogramsView,
    View,
)
from fairseq_ecg.options import options_of


def _labels_alone(labels: Labels | None) -> Target | None:
    return labels


def _criterion_alone(criterion: FairseqCriterion, model: nn.Module, sample: dict[str, Any]):
    return criterion(model, sample)


@dataclass(frozen=True)
class Method:
    """What a task does differently for one method.

    Args:
        view: makes the view of a data set.
        view_options: the key of the task's configuration whose values are options of the view;
            those that it lacks, or takes of a model that lacks them, are left out.
        target: makes its target of the labels that the task reads, None where it reads none.
        negatives: where the task reads texts, whether some are exchanged between ECGs.
        evaluate: runs a criterion on a batch in evaluation: loss, sample size and what to log.
    """

    view: Callable[..., View] = RecordingView
    view_options: str | None = None
    target: Callable[[Labels | None], Target | None] = _labels_alone
    negatives: bool = False
    evaluate: Callable[..., tuple] = _criterion_alone

    def view_of(self, cfg: Any) -> View:
        """Make the view of a data set.

        Args:
            cfg: configuration of the task.

        Raises:
            ValueError: an option of the view is unknown or out of its range.
        """
        if self.view_options is None:
            return self.view()
        given = resolved(getattr(cfg, self.view_options) or {})
        unknown = given.keys() - options_of(self.view).keys()
        if unknown:
            raise ValueError(
                f"task.{self.view_options} has no option {min(unknown)!r}: "
                f"choose from {', '.join(options_of(self.view))}"
            )
        return self.view(**given)


def resolved(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return values without those that are interpolated of what is not there."""
    found = {}
    for name in values:
        with suppress(InterpolationResolutionError):
            found[name] = values[name]
    return found


METHODS: dict[str, Method] = {
    "wav2vec2": Method(),
    "wav2vec2_with_cmsc": Method(view=SegmentsView),
    "cmsc": Method(view=SegmentsView),
    "clocs": Method(view=SegmentsView),
    "simclr": Method(view=TwoViews),
    "3kg": Method(view=VectorcardiogramsView, view_options="inferred_3kg_config"),
    "m3ae": Method(negatives=True),
    "medvill": Method(negatives=True),
    "ecg_text_clip": Method(),
    "cross_entropy": Method(),
    "composite_criterion": Method(),
    "binary_cross_entropy": Method(),
    "binary_cross_entropy_with_logits": Method(),
    "multi_head_binary_cross_entropy": Method(target=partial(HeadsTarget, required=True)),
    "asymmetric_loss": Method(),
    "focal_loss": Method(),
    "mse": Method(),
    "regression": Method(),
    "arcface": Method(),
}


def method_of(cfg: Any) -> Method:
    """Find the method of a task by its ``criterion_name``.

    Criterions of others see single recordings, and so does a task without a criterion.

    Args:
        cfg: configuration of the task.
    """
    try:
        criterion = cfg.criterion_name
    except InterpolationResolutionError:
        criterion = None
    return METHODS.get(criterion, Method())
