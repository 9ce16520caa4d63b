"""Criterions of one's own, and the score of PhysioNet's Challenges, as in fairseq_signals."""

import inspect
from abc import ABCMeta
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from fairseq.criterions import FairseqCriterion
from torch import nn

from fairseq_ecg.compat.published.layers import StandsFor
from fairseq_ecg.criterions.cinc_score import (
    SINUS_RHYTHM,
    ScoringWeights,
    cinc_scores,
    read_scoring_weights,
)
from fairseq_ecg.criterions.criterion import ECGCriterion


class BaseCriterion(FairseqCriterion, StandsFor, metaclass=ABCMeta):
    """Base of criterions of one's own, which fairseq_signals' models are trained by.

    A criterion says in :meth:`compute_loss` what the loss of a batch is. The criterions of this
    package derive from :class:`fairseq_ecg.criterions.criterion.ECGCriterion`, and count as
    instances of this class.

    Args:
        task: the task.

    Attributes:
        kwargs: what the model is asked for logits and targets with.
        is_target_derived: whether targets are made of the logits, not asked for.
    """

    stands_for = ECGCriterion

    def __init__(self, task: Any):
        super().__init__(task)
        self.kwargs: dict[str, Any] = {}
        self.is_target_derived = False

    @classmethod
    def build_criterion(cls, cfg: Any, task: Any) -> "BaseCriterion":
        """Build the criterion by the arguments of its constructor that its configuration has."""
        special, given = {"task": task, "cfg": cfg}, {}
        for name, argument in inspect.signature(cls).parameters.items():
            if name in special:
                given[name] = special[name]
            elif argument.default is argument.empty or hasattr(cfg, name):
                given[name] = getattr(cfg, name)
        return cls(**given)

    def compute_loss(
        self,
        logits: torch.Tensor,
        target: torch.Tensor | None,
        sample: dict[str, Any] | None = None,
        net_output: dict[str, Any] | None = None,
        model: nn.Module | None = None,
        reduce: bool = True,
    ) -> tuple[torch.Tensor, list[Any]]:
        """Return the loss of a batch, and its terms for the log."""
        raise NotImplementedError

    def get_sample_size(self, sample: dict[str, Any], target: torch.Tensor | None) -> int:
        """Return what the gradient is divided by."""
        raise NotImplementedError

    def get_logging_output(
        self,
        logging_output: dict[str, Any],
        logits: torch.Tensor,
        target: torch.Tensor | None,
        sample: dict[str, Any] | None = None,
        net_output: dict[str, Any] | None = None,
    ) -> dict[str, Any]:
        """Return the log of a batch with what is to be logged besides."""
        raise NotImplementedError

    def forward(
        self, model: nn.Module, sample: dict[str, Any], reduce: bool = True
    ) -> tuple[torch.Tensor, int, dict[str, Any]]:
        """Run the model on a batch and compute its loss.

        Returns:
            The loss, the sample size and the log: ``loss``, its terms as ``loss_0``, ``loss_1``
            ..., where there are several, ``nsignals`` and ``sample_size``.
        """
        net_output = model(**sample["net_input"])
        logits = model.get_logits(net_output, sample=sample, **self.kwargs)
        target = None
        if not self.is_target_derived:
            target = model.get_targets(sample, net_output, **self.kwargs)
        loss, terms = self.compute_loss(
            logits, target, sample=sample, net_output=net_output, model=model, reduce=reduce
        )
        sample_size = self.get_sample_size(sample, target)
        log = {"loss": terms[0]}
        if len(terms) > 1:
            log = {"loss": loss.item() if reduce else loss.detach()}
            log |= {f"loss_{number}": term for number, term in enumerate(terms)}
        log |= {"nsignals": sample["id"].numel(), "sample_size": sample_size}
        return loss, sample_size, self.get_logging_output(log, logits, target, sample, net_output)

    @staticmethod
    def logging_outputs_can_be_summed() -> bool:
        """Let fairseq gather logs as they are."""
        return False


def get_physionet_weights(path_or_fp: str) -> tuple[list[set[str]], np.ndarray]:
    """Read the Challenge's table of weights.

    Args:
        path_or_fp: the ``.csv`` file.

    Returns:
        The codes of each class, and the ``(C, C)`` weights.

    Raises:
        ValueError: it is no such table.
    """
    weights = read_scoring_weights(path_or_fp)
    return [set(name.split("|")) for name in weights.classes], weights.matrix


def compute_scored_confusion_matrix(
    weights: np.ndarray, labels: np.ndarray, outputs: np.ndarray
) -> float:
    """Score predictions, see :func:`fairseq_ecg.criterions.cinc_score.cinc_scores`.

    Args:
        weights: ``(C, C)``, true class by predicted class.
        labels: ``(N, C)``, 0 or 1.
        outputs: ``(N, C)``, 0 or 1.
    """
    answers = (torch.from_numpy(np.asarray(values, dtype=bool)) for values in (labels, outputs))
    scores = cinc_scores(*answers, ScoringWeights((), np.asarray(weights, dtype=float), 0))
    return scores["o_score"].item()


def get_sinus_rhythm() -> set[str]:
    """Return the code of normal sinus rhythm."""
    return {SINUS_RHYTHM}


def get_sinus_rhythm_index(classes: Sequence[set[str]] | None = None) -> int | None:
    """Return the position of sinus rhythm among classes, None if there is none of it.

    Args:
        classes: codes of each; None: those of the Challenge of 2021.
    """
    if not classes:
        return 14
    return list(classes).index({SINUS_RHYTHM}) if {SINUS_RHYTHM} in classes else None
