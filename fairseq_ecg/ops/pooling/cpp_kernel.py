"""Pooling of frames in C++, for tensors of the CPU or of a GPU."""

import torch
from torch import Tensor


def mean_of_nonzero(x: Tensor, frame_mask: Tensor | None) -> tuple[Tensor, Tensor]:
    """Give the means and counts ``(B, D)`` of contiguous float32 ``(B, T, D)`` in one pass."""
    return torch.ops.fairseq_ecg_c.mean_of_nonzero(x, frame_mask)
