"""Augmentation of a batch in C++, for tensors of the CPU or of a GPU."""

from collections.abc import Sequence

import torch
from torch import Tensor


def augment(
    ecgs: Tensor,
    parameters: Tensor,
    origins: Tensor,
    layouts: Tensor,
    normals: Tensor | None,
    recipe: Sequence[int],
) -> Tensor:
    """Compute what :func:`fairseq_ecg.ops.augment.reference.augment` does, in float32."""
    return torch.ops.fairseq_ecg_c.augment(ecgs, parameters, origins, layouts, normals, recipe)
