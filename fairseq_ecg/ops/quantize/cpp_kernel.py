"""Gumbel product quantization in C++, for tensors of the CPU or of a GPU.

The functions do what those of :mod:`fairseq_ecg.ops.quantize.gather` do, arguments likewise.
"""

import torch
from torch import Tensor


def quantize(
    logits: Tensor, codebook: Tensor, draws: Tensor | None, temperature: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Choose codes and compute perplexities in one pass over the logits."""
    return torch.ops.fairseq_ecg_c.quantize(logits, codebook, draws, temperature)


def by_logits(
    logits: Tensor,
    draws: Tensor | None,
    by_choices: Tensor | None,
    slopes: Tensor,
    by_perplexity: Tensor | None,
    temperature: Tensor,
) -> Tensor:
    """Differentiate by logits in one pass."""
    return torch.ops.fairseq_ecg_c.quantize_by_logits(
        logits, draws, by_choices, slopes, by_perplexity, temperature
    )


def by_codebook(choices: Tensor, by_codes: Tensor, words: int) -> Tensor:
    """Differentiate by the codebook, in an order that no thread changes."""
    return torch.ops.fairseq_ecg_c.quantize_by_codebook(choices, by_codes, words)
