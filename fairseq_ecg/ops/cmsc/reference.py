"""Patient contrastive loss in plain torch: the definition, with fairseq_signals' arithmetic."""

import torch
from torch import Tensor


def cmsc_loss(
    features: Tensor, patient_id: Tensor, segment: Tensor, temperature: float, eps: float = 1e-8
) -> Tensor:
    """Pick the first and the second segments and contrast them; rows are counted on the host.

    Args:
        features: ``(B, D)`` floating point.
        patient_id: ``(B,)`` integer.
        segment: ``(B,)`` integer.
        temperature: what cosine similarities are divided by.
        eps: smallest norm that a feature vector is divided by.

    Returns:
        Scalar of the dtype of ``features``, in nats; autograd differentiates it.
    """
    norm = torch.linalg.vector_norm(features.detach(), dim=1, keepdim=True)
    features = features / norm.clamp(min=eps)
    first, second = features[segment == 0], features[segment == 1]
    similarity = first @ second.T / temperature
    positive = patient_id[segment == 0].unsqueeze(1) == patient_id[segment == 1]
    first_to_second = -similarity.log_softmax(dim=1)[positive].mean()
    second_to_first = -similarity.T.log_softmax(dim=1)[positive.T].mean()
    return 0.5 * first_to_second + 0.5 * second_to_first
