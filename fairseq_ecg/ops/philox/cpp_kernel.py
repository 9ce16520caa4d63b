"""Random numbers in C++, for counters on the CPU or on a GPU."""

import torch
from torch import Tensor


def random_numbers(counters: Tensor, seeds: Tensor, kind: int) -> Tensor:
    """Compute what :func:`fairseq_ecg.ops.philox.reference.random_numbers` does, likewise."""
    return torch.ops.fairseq_ecg_c.random_numbers(counters, seeds, kind)
