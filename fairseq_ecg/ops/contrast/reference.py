"""Contrastive losses in plain torch: the definition, with fairseq_signals' arithmetic."""

import torch
from torch import Tensor
from torch.nn import functional as F


def contrast(
    features: Tensor, group: Tensor, segment: Tensor | None, temperature: float, eps: float
) -> tuple[Tensor, Tensor]:
    """Compute loss and counts; rows are counted on the host.

    Args:
        features: ``(B, D)`` floating point.
        group: ``(B,)`` integer.
        segment: ``(B,)`` integer, or None.
        temperature: what cosine similarities are divided by.
        eps: smallest norm that a feature vector is divided by.

    Returns:
        Scalar of the dtype of ``features``, in nats, which autograd differentiates; and ``(3,)``
        int64, see :class:`fairseq_ecg.ops.contrast.Contrast`.
    """
    norm = torch.linalg.vector_norm(features.detach(), dim=1, keepdim=True)
    unit = features / norm.clamp(min=eps)
    if segment is None:
        itself = torch.eye(len(unit), dtype=torch.bool, device=unit.device)
        return _every_row(unit @ unit.T / temperature, group.unsqueeze(1) == group, itself)
    first, second = unit[segment == 0], unit[segment == 1]
    positive = group[segment == 0].unsqueeze(1) == group[segment == 1]
    return _both_ways(first @ second.T / temperature, positive)


def _every_row(similarity: Tensor, is_alike: Tensor, itself: Tensor) -> tuple[Tensor, Tensor]:
    """Cross entropy of each positive pair among the negative ones of its row."""
    is_positive = is_alike & ~itself
    negatives = similarity.masked_fill(is_alike, -torch.inf)[is_positive.nonzero()[:, 0]]
    logits = torch.cat([similarity[is_positive].unsqueeze(1), negatives], dim=1)
    first = torch.zeros(len(logits), dtype=torch.long, device=logits.device)
    loss = F.cross_entropy(logits, first, reduction="sum")
    return loss, count_pairs(similarity, is_positive, ~is_alike)


def _both_ways(similarity: Tensor, positive: Tensor) -> tuple[Tensor, Tensor]:
    """Mean cross entropy of the positive pairs of each row, and of each column."""
    first_to_second = -similarity.log_softmax(dim=1)[positive].mean()
    second_to_first = -similarity.T.log_softmax(dim=1)[positive.T].mean()
    loss = 0.5 * first_to_second + 0.5 * second_to_first
    ways = (similarity, positive), (similarity.T, positive.T)
    of_first, of_second = (count_pairs(s, p, ~p) for s, p in ways)
    return loss, of_first + of_second


def count_pairs(similarity: Tensor, positive: Tensor, negative: Tensor) -> Tensor:
    """Count positive pairs, those no negative pair of the row exceeds, and those level with all.

    Args:
        similarity: ``(N, M)``.
        positive: ``(N, M)`` bool.
        negative: ``(N, M)`` bool.

    Returns:
        ``(3,)`` int64.
    """
    # A column more, since there may be none.
    bounds = [
        F.pad(similarity.detach().masked_fill(~negative, end), (0, 1), value=end)
        for end in (-torch.inf, torch.inf)
    ]
    is_highest = positive & (similarity >= bounds[0].amax(dim=1, keepdim=True))
    is_level = is_highest & (similarity <= bounds[1].amin(dim=1, keepdim=True))
    return torch.stack([positive.sum(), is_highest.sum(), is_level.sum()])
