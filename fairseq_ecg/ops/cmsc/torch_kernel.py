"""The patient contrastive loss over all pairs of a batch's segments, in plain torch.

Pairs that do not count are masked instead of left out, so that no device is waited for.
"""

import torch
from torch import Tensor


def positive_pairs(patient_id: Tensor, segment: Tensor) -> Tensor:
    """Find which segments of a batch belong together.

    Args:
        patient_id: ``(B,)`` integer, equal for segments of the same recording (or patient).
        segment: ``(B,)`` integer, 0 for a first and 1 for a second segment.

    Returns:
        ``(B, B)`` bool, True for a first segment (line) and a second one (column) of one patient.
    """
    return _first_and_second(segment) & (patient_id.unsqueeze(1) == patient_id)


def _first_and_second(segment: Tensor) -> Tensor:
    return (segment == 0).unsqueeze(1) & (segment == 1)


def cmsc_loss(
    features: Tensor,
    patient_id: Tensor,
    segment: Tensor,
    temperature: float,
    eps: float,
    gradient: bool,
) -> tuple[Tensor, Tensor]:
    """Compute loss and gradient from one ``(B, B)`` matrix of similarities.

    See the package's README for the derivation.

    Args:
        features: ``(B, D)`` float32 or float64.
        patient_id: ``(B,)`` int64.
        segment: ``(B,)`` int64, 0 or 1; rows of another one do not count.
        temperature: what cosine similarities are divided by.
        eps: smallest norm that a feature vector is divided by.
        gradient: whether to compute the gradient.

    Returns:
        The loss, a scalar in nats, and its gradient ``(B, D)``, empty if not asked for.
    """
    scale = torch.linalg.vector_norm(features, dim=1, keepdim=True).clamp(min=eps)
    unit = features / scale
    is_opposite, positive = _first_and_second(segment), positive_pairs(patient_id, segment)
    is_opposite, positive = is_opposite | is_opposite.T, positive | positive.T
    similarity = unit @ unit.T / temperature
    log_shares = similarity.masked_fill_(~is_opposite, -torch.inf).log_softmax(dim=1)
    n_positive = positive.sum(dim=1, keepdim=True)
    count = n_positive.sum()  # every pair from both of its sides
    loss = log_shares.masked_fill(~positive, 0).sum().neg() / count
    if not gradient:
        return loss, features.new_empty(0)

    dlogits = (log_shares.exp_() * n_positive).masked_fill_(~is_opposite, 0)
    dlogits = dlogits + dlogits.T - 2 * positive
    dlogits.div_(count.clamp(min=1) * temperature)
    return loss, (dlogits @ unit).div_(scale)
