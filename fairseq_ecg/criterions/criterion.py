"""What the criterions have in common: precision, logging and the guard against NaN."""

import logging
import math
import re
from collections.abc import Collection, Iterable, Sequence
from functools import reduce as fold
from operator import add
from typing import Any, ClassVar, Literal

import torch
from fairseq.criterions import FairseqCriterion
from fairseq.logging import metrics
from torch import Tensor, nn

from fairseq_ecg.compat.training import GAP
from fairseq_ecg.criterions.nonfinite import NonFiniteLossError, skip_message, suspects, zero_loss
from fairseq_ecg.options import values_of

logger = logging.getLogger(__name__)

OWN_METRICS = frozenset({"loss", "nsignals", "sample_size", "skipped"})
"""Keys of logging outputs that every criterion reports by itself, or not at all."""

# Terms of the loss (summed to the loss), sample size, and what to log besides.
Computed = tuple[list[Tensor], "int | Tensor", dict[str, Any]]


class ECGCriterion(FairseqCriterion):
    """Base of the criterions: sums losses over a batch and logs fairseq_signals' keys.

    A criterion states its terms in ``compute``. Losses are computed in float32 whatever the
    precision of the training (fp16, bf16, amp); fairseq_signals computes most of them on half
    precision logits when it trains in fp16.

    Keyword-only arguments of the constructor are options of users, see :mod:`fairseq_ecg.options`.

    Args:
        task: the task.
        nonfinite_loss: what to do when the loss of a batch is NaN or infinite: raise an error that
            names the records, or skip the batch (no gradient, a warning, counted as skipped).

    Attributes:
        logs_no_signals: whether ``nsignals`` is logged also where it is 0, as of one of the
            criterions of a ``composite_criterion``.
        counts_gaps: whether the loss of a batch that only fills a gap of this rank counts, see
            ``compat.training.GAP``: where every rank has the loss of the batches of all, and the
            batch adds no row to them.
    """

    logs_no_signals: ClassVar[bool] = True
    counts_gaps: bool = False

    def __init__(self, task, *, nonfinite_loss: Literal["raise", "skip"] = "raise"):
        super().__init__(task)
        self.skips_nonfinite = nonfinite_loss == "skip"
        self._unchecked: list[tuple[dict[str, Any], dict[str, Tensor]]] = []

    @classmethod
    def build_criterion(cls, cfg, task) -> "ECGCriterion":
        """Build the criterion of its configuration."""
        return cls(task, **values_of(cfg, cls))

    def compute(
        self,
        model: nn.Module,
        sample: dict[str, Any],
        net_output: dict[str, Any],
        logits: Tensor | None,
    ) -> Computed:
        """Compute the loss of a batch.

        Args:
            model: Gave ``net_output``; asked for targets, features and extra losses.
            sample: The batch.
            net_output: What the model returned.
            logits: Of the model, float32; None where ``get_logits`` gave none.

        Returns:
            The terms whose sum is the loss, each summed over the batch; the sample size; and what
            else to log, where 0-dimensional tensors stand for numbers.
        """
        raise NotImplementedError

    def get_logits(self, model: nn.Module, net_output: dict[str, Any]) -> Tensor | None:
        """Ask the model for the logits that ``compute`` works on, if it does."""
        return model.get_logits(net_output)

    def logits_of_batch(
        self, model: nn.Module, sample: dict[str, Any], net_output: dict[str, Any]
    ) -> Any:
        """Return what ``compute`` is given as logits, where the batch says which of them count."""
        logits = self.get_logits(model, net_output)
        return None if logits is None else logits.float()

    def forward(
        self, model: nn.Module, sample: dict[str, Any], reduce: bool = True
    ) -> tuple[Tensor, int, dict[str, Any]]:
        """Run the model on a batch and compute its loss.

        Args:
            model: Follows the model interface (``get_logits``, ``get_targets`` ...).
            sample: The batch: ``id``, ``net_input`` and what the criterion needs besides.
            reduce: Part of fairseq's interface; losses are always summed.

        Returns:
            The loss (sum over the batch), the sample size that gradients are divided by, and the
            logging output: Python numbers and, in evaluation, NumPy arrays. In training on a GPU
            what the batch was measured at stays there, as 0-dimensional tensors, and the loss is
            checked by :meth:`check_losses`.

        Raises:
            NonFiniteLossError: The loss is NaN or infinite and ``nonfinite_loss`` is "raise".
        """
        statistics = self._statistics(model)
        net_output = model(**sample["net_input"])
        logits = self.logits_of_batch(model, sample, net_output)
        with torch.autocast(sample["id"].device.type, enabled=False):
            terms, sample_size, log = self.compute(model, sample, net_output, logits)
            loss = fold(add, terms)
        by_key = {f"loss_{i}": term for i, term in enumerate(terms)} if len(terms) > 1 else {}
        log = {"loss": loss, "sample_size": sample_size, **by_key, **log}
        if torch.is_tensor(sample_size) or self._may_wait(loss.device):
            log = _as_numbers(log)
            if not math.isfinite(log["loss"]):
                for buffer, before in statistics:
                    buffer.copy_(before)
                return self._leave_out(sample, loss, _nonfinite(log))
        else:
            log = {key: _detached(value) for key, value in log.items()}
            self._unchecked.append((sample, {key: log[key] for key in ("loss", *by_key)}))
        log["nsignals"] = 0 if sample.get(GAP, False) else sample["id"].numel()
        if self.skips_nonfinite:
            log["skipped"] = 0
        return loss, log["sample_size"], log

    def check_losses(self, gradient_norm: Tensor) -> None:
        """Look at the losses since the last call, where the trainer waits for the device anyway.

        Args:
            gradient_norm: of the update, on the device of the losses.

        Raises:
            NonFiniteLossError: One of them is NaN or infinite.
        """
        unchecked, self._unchecked = self._unchecked, []
        if not unchecked:
            return
        losses = [terms["loss"].to(gradient_norm) for _, terms in unchecked]
        if torch.stack([gradient_norm, *losses]).isfinite().all():
            return
        for sample, terms in unchecked:
            values = _nonfinite(_as_numbers(terms))
            if "loss" in values:
                raise self._error(sample, values)

    def _may_wait(self, device: torch.device) -> bool:
        """Return whether numbers are read at once: not in the midst of an update on a GPU.

        Whether a batch is left out has to be known before its backward pass.
        """
        return device.type == "cpu" or self.skips_nonfinite or not self.training

    def _statistics(self, model: nn.Module) -> list[tuple[Tensor, Tensor]]:
        """Buffers of a model in training, such as statistics of batches, and what is in them.

        They are put back where a batch is left out: one NaN would stay in them for ever.
        """
        if not (self.skips_nonfinite and self.training):
            return []
        return [(buffer, buffer.clone()) for buffer in model.buffers()]

    def _leave_out(
        self, sample: dict[str, Any], loss: Tensor, values: dict[str, float]
    ) -> tuple[Tensor, int, dict[str, Any]]:
        if not self.skips_nonfinite:
            raise self._error(sample, values)
        logger.warning(skip_message(type(self).__name__, values, suspects(sample)))
        return zero_loss(loss), 0, {"loss": 0.0, "nsignals": 0, "sample_size": 0, "skipped": 1}

    def _error(self, sample: dict[str, Any], values: dict[str, float]) -> NonFiniteLossError:
        ids, split = suspects(sample), sample.get("split")
        return NonFiniteLossError(type(self).__name__, values, ids, split=split)

    @staticmethod
    def sample_size(sample: dict[str, Any], otherwise: "int | Tensor") -> "int | Tensor":
        """Take the size the batch states, else its number of masked frames, else ``otherwise``."""
        if "sample_size" in sample:
            return sample["sample_size"]
        if "mask_indices" in sample["net_input"]:
            return sample["net_input"]["mask_indices"].sum()
        return otherwise

    @classmethod
    def reduce_metrics(cls, logging_outputs: Sequence[dict[str, Any]]) -> None:
        """Log the metrics of one or more batches.

        ``loss`` is the sum of losses over the sum of sample sizes, in bits. A batch that was
        skipped counts nowhere but in ``skipped``.

        Args:
            logging_outputs: Of all batches (and ranks) of a step, or of a whole validation.
        """
        logs = [log for log in logging_outputs if not log.get("skipped")]
        if any("skipped" in log for log in logging_outputs):
            metrics.log_scalar_sum("skipped", len(logging_outputs) - len(logs))
        if not logs:
            cls.reduce_loss(logs)
            return
        cls.reduce_batches(logs)

    @classmethod
    def reduce_batches(cls, logs: Sequence[dict[str, Any]]) -> None:
        """Log the metrics of batches of which none was skipped."""
        cls.reduce_loss(logs)
        n_signals = total("nsignals", logs)
        if n_signals or cls.logs_no_signals:
            metrics.log_scalar("nsignals", n_signals)
        cls.reduce_measures(logs)

    @staticmethod
    def reduce_loss(logs: Sequence[dict[str, Any]]) -> None:
        """Log the loss per sample, in bits."""
        if logs:
            log_mean_loss("loss", logs)
        else:
            # A weight of 0 leaves the average as it is. Without any loss fairseq would log -1.
            metrics.log_scalar("loss", float("nan"), weight=0, round=3)

    @staticmethod
    def reduce_measures(logs: Sequence[dict[str, Any]]) -> None:
        """Log what a criterion reports besides the loss."""

    @staticmethod
    def logging_outputs_can_be_summed() -> bool:
        """Let fairseq gather logging outputs as they are, since they may hold arrays."""
        return False


def total(key: str, logs: Sequence[dict[str, Any]]) -> float:
    """Sum a logged number over logging outputs, 0 where it is absent."""
    return sum(log.get(key, 0) for log in logs)


def log_sums(keys: Iterable[str], logs: Sequence[dict[str, Any]]) -> None:
    """Log running sums, from which metrics are derived, as ``_<key>``."""
    for key in keys:
        metrics.log_scalar(f"_{key}", total(key, logs))


def prefixes_of_groups(count: str, logs: Sequence[dict[str, Any]]) -> list[str]:
    """Find what stands before ``count`` among the keys of groups, see ``labels.groups_of``."""
    keys = {key for log in logs for key in log if key.endswith(f"_{count}")}
    return sorted(key.removesuffix(count) for key in keys)


def log_mean_loss(key: str, logs: Sequence[dict[str, Any]]) -> None:
    """Log a summed loss per sample, in bits."""
    size = total("sample_size", logs)
    metrics.log_scalar(key, total(key, logs) / (size or 1) / math.log(2), size, round=3)


def log_the_rest(own: Collection[str], logs: Sequence[dict[str, Any]]) -> None:
    """Log what no other function does: terms of the loss per sample, the mean of other numbers.

    Args:
        own: Keys that are left out.
        logs: Logging outputs; the first says what there is.
    """
    for key, value in logs[0].items():
        if key in own or not isinstance(value, (int, float, Tensor)):
            continue
        if key.startswith("loss"):
            log_mean_loss(key, logs)
        else:
            metrics.log_scalar(key, total(key, logs) / len(logs), round=3)


def log_ratio(name: str, numerator: str, denominators: Sequence[str]) -> None:
    """Log the ratio of running sums, to 5 digits, NaN while the denominator is 0.

    Args:
        name: Of the metric.
        numerator: Key of the meter whose sum is divided.
        denominators: Keys of the meters whose sums are added up to divide by.
    """

    def ratio(meters) -> float:
        divisor = float(sum(meters[key].sum for key in denominators))
        return round(float(meters[numerator].sum) / divisor, 5) if divisor else float("nan")

    metrics.log_derived(name, ratio)


def log_share(name: str, right: str, count: str, logs: Sequence[dict[str, Any]]) -> None:
    """Log the share of right answers with the private sums it is derived from.

    Args:
        name: Of the metric, such as ``accuracy`` or ``em_accuracy``.
        right: Key of the number of right answers.
        count: Key of the number of answers.
        logs: Logging outputs.
    """
    n_total = f"_{count.removesuffix('count')}total"
    log_sums([right], logs)
    metrics.log_scalar(n_total, total(count, logs))
    if total(count, logs) > 0:
        log_ratio(name, f"_{right}", [n_total])


def log_accuracies(names: Iterable[str], logs: Sequence[dict[str, Any]]) -> None:
    """Log of several predictions the accuracy of each, and then what is logged besides.

    Args:
        names: Of the predictions: of ``mlm`` the logs hold ``mlm_correct`` and ``mlm_count``.
        logs: Logging outputs.
    """
    metrics.log_scalar("ntokens", 0)
    for name in names:
        log_share(f"{name}_accuracy", f"{name}_correct", f"{name}_count", logs)
    log_the_rest(OWN_METRICS, logs)


def _detached(value: Any) -> Any:
    return value.detach() if torch.is_tensor(value) else value


def _nonfinite(log: dict[str, Any]) -> dict[str, float]:
    """Pick the loss and those of its terms that are not finite."""
    losses = (key for key in log if re.fullmatch(r"(\d+_)?loss(_\d+)?", key))
    return {key: log[key] for key in losses if not math.isfinite(log[key])}


def _as_numbers(values: dict[str, Any]) -> dict[str, Any]:
    """Turn 0-dimensional tensors into Python numbers, exactly, and leave the rest."""
    tensors = {key: value.detach() for key, value in values.items() if torch.is_tensor(value)}
    device = tensors["loss"].device
    packed = torch.stack([t.to(device, torch.float64) for t in tensors.values()]).tolist()
    numbers = {
        key: number if tensor.is_floating_point() else int(number)
        for (key, tensor), number in zip(tensors.items(), packed, strict=True)
    }
    return values | numbers
