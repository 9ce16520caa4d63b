"""The contrastive loss in C++, for tensors of the CPU or of a GPU."""

import torch
from torch import Tensor


def infonce(
    predictions: Tensor,
    targets: Tensor,
    negatives: Tensor | None,
    origins: Tensor | None,
    number: int,
    temperature: float,
    gradient: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Compute what :func:`fairseq_ecg.ops.infonce.allpairs.infonce` does, arguments likewise."""
    return torch.ops.fairseq_ecg_c.infonce(
        predictions, targets, negatives, origins, number, temperature, gradient
    )
