"""Patient contrastive loss in plain torch: the definition, with fairseq_signals' arithmetic."""

import torch
from torch import Tensor


def positive_pairs(patient_id: Tensor, segment: Tensor) -> Tensor:
    """Tell which first segments and second segments of a batch belong together.

    Args:
        patient_id: ``(B,)`` integer, equal for segments of the same recording (or patient).
        segment: ``(B,)`` integer, 0 for a first and 1 for a second segment.

    Returns:
        ``(A, S)`` bool for the ``A`` first and ``S`` second segments in batch order.
    """
    return patient_id[segment == 0].unsqueeze(1) == patient_id[segment == 1].unsqueeze(0)


def cmsc_loss(
    features: Tensor,
    patient_id: Tensor,
    segment: Tensor,
    temperature: float = 0.1,
    eps: float = 1e-8,
) -> Tensor:
    """Contrast the first segments of a batch with its second ones (CMSC).

    Both directions are averaged: the first segment among all second ones, and the reverse. The
    norm that scales the features is a constant for the gradient, as in fairseq_signals.

    Args:
        features: ``(B, D)`` floating point, one vector per segment.
        patient_id: ``(B,)`` integer, equal for segments of the same recording (or patient).
        segment: ``(B,)`` integer, 0 for a first and 1 for a second segment.
        temperature: Divides the cosine similarities.
        eps: Smallest norm that a feature vector is divided by.

    Returns:
        Scalar of the dtype of ``features``, in nats: the mean over all positive pairs. NaN for a
        batch without any positive pair.

    Source: Kiyasseh et al., "CLOCS: Contrastive Learning of Cardiac Signals Across Space, Time,
    and Patients", ICML 2021; the detached norm is fairseq_signals'.
    """
    norm = torch.linalg.vector_norm(features.detach(), dim=1, keepdim=True)
    features = features / norm.clamp(min=eps)
    first, second = features[segment == 0], features[segment == 1]
    similarity = first @ second.T / temperature
    positive = positive_pairs(patient_id, segment)
    first_to_second = -similarity.log_softmax(dim=1)[positive].mean()
    second_to_first = -similarity.T.log_softmax(dim=1)[positive.T].mean()
    return 0.5 * first_to_second + 0.5 * second_to_first
