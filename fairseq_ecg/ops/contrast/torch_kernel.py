"""Contrastive losses over all pairs of a batch's rows, in plain torch.

Pairs that do not count are masked instead of left out, so that no device is waited for.
"""

import torch
from torch import Tensor

from fairseq_ecg.ops.contrast.reference import count_pairs


def contrast(
    features: Tensor,
    group: Tensor,
    segment: Tensor | None,
    temperature: float,
    eps: float,
    gradient: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    """Compute loss, counts and gradient from one ``(B, B)`` matrix of similarities.

    See the package's README for the derivation.

    Args:
        features: ``(B, D)`` float32 or float64.
        group: ``(B,)`` int64.
        segment: ``(B,)`` int64, 0 or 1; rows of another one do not count. None: every row is
            contrasted with every other one.
        temperature: what cosine similarities are divided by.
        eps: smallest norm that a feature vector is divided by.
        gradient: whether to compute the gradient.

    Returns:
        The loss, a scalar in nats; ``(3,)`` int64, see :class:`fairseq_ecg.ops.contrast.Contrast`;
        and the loss's gradient ``(B, D)``, empty if not asked for.
    """
    scale = torch.linalg.vector_norm(features, dim=1, keepdim=True).clamp(min=eps)
    unit = features / scale
    is_alike = group.unsqueeze(1) == group
    is_pair = _is_pair(group, segment)
    positive, negative = is_pair & is_alike, is_pair & ~is_alike
    similarity = unit @ unit.T / temperature
    counts = count_pairs(similarity, positive, negative)
    if segment is None:
        loss, dlogits = _every_row(similarity, positive, negative, gradient)
    else:
        loss, dlogits = _both_ways(similarity, positive, is_pair, gradient)
    if dlogits is None:
        return loss, counts, features.new_empty(0)
    divisor = temperature if segment is None else counts[0].clamp(min=1) * temperature
    dlogits.div_(divisor)
    return loss, counts, (dlogits @ unit).div_(scale)


def _is_pair(group: Tensor, segment: Tensor | None) -> Tensor:
    """``(B, B)`` bool, True where two rows are contrasted."""
    if segment is None:
        return ~torch.eye(len(group), dtype=torch.bool, device=group.device)
    is_first, is_second = segment == 0, segment == 1
    return is_first.unsqueeze(1) & is_second | is_second.unsqueeze(1) & is_first


def _every_row(
    similarity: Tensor, positive: Tensor, negative: Tensor, gradient: bool
) -> tuple[Tensor, Tensor | None]:
    """Sum over positive pairs, each among the negative ones of its row."""
    log_sums = similarity.masked_fill(~negative, -torch.inf).logsumexp(dim=1, keepdim=True)
    excess = log_sums - similarity
    loss = torch.logaddexp(excess, torch.zeros_like(excess)).masked_fill(~positive, 0).sum()
    if not gradient:
        return loss, None

    pulls = excess.sigmoid().masked_fill_(~positive, 0)
    pushes = excess.neg_().exp_().masked_fill_(~negative, 0)
    dlogits = pushes.mul_(pulls.sum(dim=1, keepdim=True)).sub_(pulls)
    return loss, dlogits + dlogits.T


def _both_ways(
    similarity: Tensor, positive: Tensor, is_pair: Tensor, gradient: bool
) -> tuple[Tensor, Tensor | None]:
    """Mean over positive pairs, each among all segments of the other kind."""
    log_shares = similarity.masked_fill_(~is_pair, -torch.inf).log_softmax(dim=1)
    n_positive = positive.sum(dim=1, keepdim=True)
    count = n_positive.sum()  # every pair from both of its sides
    loss = log_shares.masked_fill(~positive, 0).sum().neg() / count
    if not gradient:
        return loss, None

    dlogits = (log_shares.exp_() * n_positive).masked_fill_(~is_pair, 0)
    return loss, dlogits + dlogits.T - 2 * positive
