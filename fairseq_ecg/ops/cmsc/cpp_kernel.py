"""The patient contrastive loss in C++, for tensors of the CPU or of a GPU."""

import torch
from torch import Tensor


def cmsc_loss(
    features: Tensor,
    patient_id: Tensor,
    segment: Tensor,
    temperature: float,
    eps: float,
    gradient: bool,
) -> tuple[Tensor, Tensor]:
    """Compute what :func:`fairseq_ecg.ops.cmsc.allpairs.cmsc_loss` does, arguments likewise."""
    return torch.ops.fairseq_ecg_c.cmsc_loss(
        features, patient_id, segment, temperature, eps, gradient
    )
