"""Gumbel product quantization in plain torch."""

from typing import NamedTuple

import torch
from torch.nn import functional as F


class Quantized(NamedTuple):
    """What quantization gives.

    Attributes:
        codes: ``(N, G * d)``, the chosen code words of all groups side by side.
        code_perplexity: scalar, perplexity of the hard choices summed over groups; no gradient.
        prob_perplexity: scalar, the same of the mean softmax; has a gradient.
    """

    codes: torch.Tensor
    code_perplexity: torch.Tensor
    prob_perplexity: torch.Tensor


def quantize(
    logits: torch.Tensor, codebook: torch.Tensor, temperature: float, training: bool
) -> Quantized:
    """Choose one code word per group.

    In training the choice is a straight-through Gumbel softmax at ``temperature``
    (https://arxiv.org/abs/1611.01144), otherwise the arg max, which passes no gradient to the
    logits (wav2vec 2.0, https://arxiv.org/abs/2006.11477, section 2).

    Args:
        logits: ``(N, G, V)``, scores of V code words in each of G groups.
        codebook: ``(G, V, d)``.
        temperature: of the Gumbel softmax.
        training: whether to sample.

    Returns:
        The chosen codes and both perplexities, the latter in float32.
    """
    groups, words = codebook.shape[:2]
    hard = F.one_hot(logits.argmax(dim=-1), words).to(logits.dtype)
    code_perplexity = _perplexity(hard.float().mean(dim=0))
    prob_perplexity = _perplexity(logits.float().softmax(dim=-1).mean(dim=0))
    if training:
        # gumbel_softmax draws in the shape it is given; fairseq_signals gives it (N * G, V).
        flat = logits.float().reshape(-1, words)
        choice = F.gumbel_softmax(flat, tau=temperature, hard=True).to(logits.dtype)
        choice = choice.view(-1, groups, words)
    else:
        choice = hard
    codes = torch.einsum("ngv,gvd->ngd", choice, codebook).flatten(1)
    return Quantized(codes, code_perplexity, prob_perplexity)


def _perplexity(mean_choice: torch.Tensor) -> torch.Tensor:
    """Sum over groups of exp(entropy) of ``(G, V)`` distributions."""
    return torch.exp(-torch.sum(mean_choice * torch.log(mean_choice + 1e-7), dim=-1)).sum()
