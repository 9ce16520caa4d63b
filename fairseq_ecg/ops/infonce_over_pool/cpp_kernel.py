"""The contrastive loss over a pool in C++, for tensors of the CPU or of a GPU."""

import torch
from torch import Tensor


def infonce_over_pool(
    predictions: Tensor,
    targets: Tensor,
    pool: Tensor,
    negatives: Tensor,
    temperature: float,
    gradient: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Compute what :func:`fairseq_ecg.ops.infonce_over_pool.chunked.infonce_over_pool` does.

    Arguments and results are the same. On a GPU the loss of a frame with a negative that is not in
    the pool is NaN.
    """
    return torch.ops.fairseq_ecg_c.infonce_over_pool(
        predictions, targets, pool, negatives, temperature, gradient
    )
