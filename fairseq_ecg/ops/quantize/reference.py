"""Gumbel product quantization by one-hot choices: the definition, fairseq_signals' arithmetic."""

import torch
from torch import Tensor
from torch.nn import functional as F


def quantize(
    logits: Tensor, codebook: Tensor, temperature: Tensor, training: bool
) -> tuple[Tensor, Tensor, Tensor]:
    """Choose codes by multiplying every codeword with its choice, ``N * G * V * d`` numbers.

    Args:
        logits: ``(N, G, V)`` float32.
        codebook: ``(G, V, d)`` float32.
        temperature: of the Gumbel softmax.
        training: whether to sample.

    Returns:
        The codes ``(N, G, d)``, and the float32 scalars code perplexity and prob perplexity;
        autograd differentiates codes and the latter.
    """
    frames, groups, codewords = logits.shape
    flat = logits.reshape(-1, codewords)
    best = flat.argmax(dim=-1, keepdim=True)
    hard = torch.zeros_like(flat).scatter_(-1, best, 1.0).view(logits.shape)
    code_perplexity = perplexity(hard.mean(dim=0))
    prob_perplexity = perplexity(logits.softmax(dim=-1).mean(dim=0))
    choice = hard
    if training:
        # gumbel_softmax draws in the shape it is given; fairseq_signals gives it (N * G, V).
        # Its temperature may be a tensor: that one is a float saves waiting for the device.
        choice = F.gumbel_softmax(flat, tau=temperature, hard=True)  # type: ignore[arg-type]
    weighted = choice.view(frames, -1).unsqueeze(-1) * codebook.flatten(0, 1)
    codes = weighted.view(frames, groups, codewords, -1).sum(dim=-2)
    return codes, code_perplexity, prob_perplexity


def perplexity(mean_choice: Tensor) -> Tensor:
    """Sum over groups of exp(entropy) of ``(G, V)`` distributions."""
    return torch.exp(-torch.sum(mean_choice * torch.log(mean_choice + 1e-7), dim=-1)).sum()
