"""Several criterions on what one model predicts, such as waves and diagnoses."""

import difflib
import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from fairseq.criterions import CRITERION_REGISTRY, build_criterion
from fairseq.logging import metrics
from omegaconf import OmegaConf
from torch import Tensor, nn

from fairseq_ecg.compat.registration import register_criterion
from fairseq_ecg.criterions.criterion import Computed, ECGCriterion, total
from fairseq_ecg.criterions.prefixed import prefixed
from fairseq_ecg.criterions.wav2vec2_with_cmsc import Wav2Vec2WithCMSCCriterion

logger = logging.getLogger(__name__)


@register_criterion("composite_criterion")
class CompositeCriterion(ECGCriterion):
    """Weighted sum of the losses of several criterions, each per its own sample.

    The model gives a list of logits and one of targets, one of each for every criterion. The loss
    is that of one sample: gradients of several batches are averaged. What a criterion logs has its
    number before its name: ``0_accuracy``.

    Args:
        task: the task.
        criterion_names: names of the criterions.
        loss_weights: weight of each loss; null: 1.
        args: configuration of each criterion, by its name.
        options: of :class:`ECGCriterion`, for the sum.

    Raises:
        ValueError: there is no criterion, one of them is unknown or looks at the whole of what a
            model returns, or there is not a weight of 0 or more for each.
    """

    def __init__(
        self,
        task,
        *,
        criterion_names: Sequence[str] = (),
        loss_weights: Sequence[float] | None = None,
        args: Any = None,
        **options,
    ):
        super().__init__(task, **options)
        if not criterion_names:
            raise ValueError(
                "criterion.criterion_names names none: give one for each output of the model, "
                "such as [cross_entropy,binary_cross_entropy_with_logits]"
            )
        weights = [1.0] * len(criterion_names) if loss_weights is None else loss_weights
        if len(weights) != len(criterion_names):
            raise ValueError(
                f"criterion.loss_weights has {len(weights)} values for {len(criterion_names)} "
                "criterions: give a weight for each"
            )
        if not all(0 <= weight < math.inf for weight in weights):
            raise ValueError(f"criterion.loss_weights={list(weights)}: give numbers of 0 or more")
        for name in set(args or ()) - set(criterion_names):
            logger.warning("criterion.args.%s has no effect: criterion_names lacks it", name)
        self.loss_weights = weights
        self.criterions = nn.ModuleList(_built(name, args or {}, task) for name in criterion_names)

    def logits_of_batch(
        self, model: nn.Module, sample: dict[str, Any], net_output: dict[str, Any]
    ) -> list[Tensor | None]:
        """Return the logits of each criterion."""
        return [
            criterion.logits_of_batch(output, sample, net_output)
            for criterion, output in self._outputs(model, sample)
        ]

    def compute(
        self,
        model: nn.Module,
        sample: dict[str, Any],
        net_output: dict[str, Any],
        logits: Sequence[Tensor | None],
    ) -> Computed:
        """Compute every loss; see the base class."""
        losses, log = [], {}
        outputs = zip(self._outputs(model, sample), logits, self.loss_weights, strict=True)
        for number, ((criterion, output), own_logits, weight) in enumerate(outputs):
            terms, size, measures = criterion.compute(output, sample, net_output, own_logits)
            terms = [weight * term for term in terms]
            loss = sum(terms[1:], start=terms[0])
            by_key = {f"loss_{i}": term for i, term in enumerate(terms)} if len(terms) > 1 else {}
            of_criterion = {
                "criterion_cls": type(criterion),
                "loss": loss,
                "sample_size": size,
                **by_key,
                **measures,
            }
            log |= {f"{number}_{key}": value for key, value in of_criterion.items()}
            # A batch may have none, such as one whose samples are all masked.
            losses.append(loss / (size.clamp(min=1) if isinstance(size, Tensor) else max(size, 1)))
        return [sum(losses[1:], start=losses[0])], 1, log

    def _outputs(self, model: nn.Module, sample: dict[str, Any]):
        """Pair the criterions with what they see of the model."""
        count = len(self.criterions)
        return [(x, _Output(model, sample, i, count)) for i, x in enumerate(self.criterions)]

    @staticmethod
    def reduce_loss(logs: Sequence[dict[str, Any]]) -> None:
        """Log the sum of the criterions' losses, each per sample, in bits; batches weigh the same.

        A resumed run goes on with the meter that fairseq_signals has left in its checkpoint.
        """
        if not logs:
            ECGCriterion.reduce_loss(logs)
            return
        losses = [
            total(f"{number}_loss", logs) / (total(f"{number}_sample_size", logs) or 1)
            for number in range(len(_classes(logs)))
        ]
        metrics.log_scalar("loss", sum(losses) / math.log(2), weight=len(logs), round=3)

    @staticmethod
    def reduce_measures(logs: Sequence[dict[str, Any]]) -> None:
        """Log what each criterion does."""
        for number, criterion in enumerate(_classes(logs)):
            prefix = f"{number}_"
            own = [
                {key.removeprefix(prefix): x for key, x in log.items() if key.startswith(prefix)}
                for log in logs
            ]
            with prefixed(prefix):
                criterion.reduce_batches(own)


@dataclass(frozen=True)
class _Output:
    """One output of a model, as a criterion sees it that knows of no other.

    Args:
        model: whose logits and targets are lists, or one tensor each.
        sample: the batch.
        number: of the output, from 0.
        count: outputs that there should be.
    """

    model: nn.Module
    sample: Mapping[str, Any]
    number: int
    count: int

    def get_logits(self, net_output: dict[str, Any], **options) -> Tensor:
        """Logits of the output that count in the batch."""
        given = {"sample": self.sample} | options
        return self._own(self.model.get_logits(net_output, **given), "logits")

    def get_targets(self, sample: dict[str, Any], net_output: dict[str, Any]) -> Any:
        """Targets of the output, None if the model has none."""
        try:
            targets = self.model.get_targets(sample, net_output)
        except NotImplementedError:
            return None
        return self._own(targets, "targets")

    def _own(self, values: Any, what: str) -> Any:
        listed = values if isinstance(values, list | tuple) else [values]
        if len(listed) != self.count:
            raise ValueError(
                f"the model gives {len(listed)} {what}, but criterion.criterion_names has "
                f"{self.count} names: give one for each"
            )
        return listed[self.number]

    def __getattr__(self, name: str) -> Any:
        return getattr(self.model, name)


def _built(name: str, args: Mapping[str, Any], task) -> ECGCriterion:
    if name not in CRITERION_REGISTRY:
        alike = difflib.get_close_matches(name, CRITERION_REGISTRY) or sorted(CRITERION_REGISTRY)
        raise ValueError(
            f"criterion.criterion_names: {name} is not known, choose {' or '.join(alike)}"
        )
    cfg = OmegaConf.create({"_name": name})
    cfg.merge_with(args.get(name) or {})
    criterion = build_criterion(cfg, task)
    of_whole = (CompositeCriterion, Wav2Vec2WithCMSCCriterion)
    if type(criterion).forward is not ECGCriterion.forward or isinstance(criterion, of_whole):
        raise ValueError(
            f"criterion.criterion_names: {name} cannot be one of several, as it looks at the whole "
            "of what a model returns"
        )
    return criterion


def _classes(logs: Sequence[dict[str, Any]]) -> list[type[ECGCriterion]]:
    """Classes of the criterions, in their order, from their logging outputs."""
    keys = (key for key in logs[0] if key.endswith("_criterion_cls"))
    return [logs[0][key] for key in keys]
