"""The contrastive loss over explicit logits: the definition, with fairseq_signals' arithmetic."""

import torch
from torch import Tensor
from torch.nn import functional as F

from fairseq_ecg.ops.negatives import contrastive_logits, gather_negatives


def infonce(
    predictions: Tensor, targets: Tensor, negatives: Tensor, temperature: float
) -> tuple[Tensor, Tensor]:
    """Compute loss and correct by gathering every negative, ``N * B * M * C`` numbers in all.

    Args:
        predictions: ``(B, M, C)`` float32.
        targets: ``(B, M, C)`` float32.
        negatives: ``(B, M * N)`` int64, indices into the ``B * M`` targets.
        temperature: what cosine similarities are divided by.

    Returns:
        The loss, a float32 scalar in nats, and the number of correct, an int64 scalar; autograd
        differentiates the loss.
    """
    gathered = gather_negatives(targets, negatives, targets.shape[1])
    return contrast(predictions, targets, gathered, temperature)


def contrast(
    predictions: Tensor, targets: Tensor, negatives: Tensor, temperature: float
) -> tuple[Tensor, Tensor]:
    """Compute loss and correct over given vectors.

    Args:
        predictions: ``(B, M, C)`` float32.
        targets: ``(B, M, C)`` float32.
        negatives: ``(N, B, M, C)`` float32.
        temperature: what cosine similarities are divided by.

    Returns:
        As :func:`infonce`.
    """
    logits = contrastive_logits(predictions, targets, negatives, temperature).flatten(1).T
    positive_first = torch.zeros(logits.shape[0], dtype=torch.long, device=logits.device)
    return F.cross_entropy(logits, positive_first, reduction="sum"), count_correct(logits)


@torch.no_grad()
def count_correct(logits: Tensor) -> Tensor:
    """Count the rows of ``(R, 1 + N)`` logits in which the positive, the first, is the largest.

    A row of equal logits has its maximum and its minimum first: it is not correct.
    """
    is_max, is_min = logits.argmax(-1) == 0, logits.argmin(-1) == 0
    return is_max.sum() - (is_max & is_min).sum()
