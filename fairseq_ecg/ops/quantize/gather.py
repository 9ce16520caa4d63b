"""Gumbel product quantization in plain torch, which gathers the chosen code words."""

import torch
from torch import Tensor

from fairseq_ecg.ops.quantize.reference import perplexity


def quantize(
    logits: Tensor, codebook: Tensor, draws: Tensor | None, temperature: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Choose codes and compute perplexities; the room's README derives what is kept for backward.

    Args:
        logits: ``(N, G, V)`` float32.
        codebook: ``(G, V, d)`` float32.
        draws: ``(N, G, V)`` float32, exponentially distributed; None: choose the largest logit.
        temperature: float32 scalar, of the Gumbel softmax.

    Returns:
        The codes ``(N, G, d)``; the choices ``(N, G)`` int32, -1 for none (NaN codes); code and
        prob perplexity ``(2,)``; and the slopes of the latter by any frame's softmax, ``(G, V)``.
    """
    best = choices = logits.argmax(dim=-1)
    if draws is not None:
        highest, choices = perturb(logits, draws, temperature).max(dim=-1)
        choices = torch.where(highest.isfinite(), choices, -1)
    perplexities, slopes = summarise(best, logits.softmax(dim=-1).mean(dim=0))
    return gather(codebook, choices), choices.int(), perplexities, slopes


def perturb(logits: Tensor, draws: Tensor, temperature: Tensor) -> Tensor:
    """Give the logits of the Gumbel softmax: minus the logarithm of a draw is Gumbel noise."""
    return (logits - draws.log()).div_(temperature)


def summarise(best: Tensor, mean_probability: Tensor) -> tuple[Tensor, Tensor]:
    """Compute perplexities and slopes from ``(N, G)`` best words and ``(G, V)`` probabilities."""
    counts = torch.zeros_like(mean_probability).T
    counts = counts.scatter_add_(0, best, counts.new_ones(()).expand_as(best)).T
    frames = best.shape[0]
    shifted = mean_probability + 1e-7
    logarithm = shifted.log()
    of_groups = torch.exp(-torch.sum(mean_probability * logarithm, dim=-1))
    slopes = (logarithm + mean_probability / shifted) * of_groups.unsqueeze(-1) / -frames
    return torch.stack([perplexity(counts / frames), of_groups.sum()]), slopes


def gather(codebook: Tensor, choices: Tensor) -> Tensor:
    """Look up the codes ``(N, G, d)`` of ``(N, G)`` choices, NaN where there is none."""
    groups, words, channels = codebook.shape
    rows = choices.clamp(min=0) + torch.arange(groups, device=choices.device) * words
    codes = codebook.reshape(-1, channels).index_select(0, rows.flatten())
    return codes.view(*choices.shape, channels).masked_fill_(choices.unsqueeze(-1) < 0, torch.nan)


def by_logits(
    logits: Tensor,
    draws: Tensor | None,
    by_choices: Tensor | None,
    slopes: Tensor,
    by_perplexity: Tensor | None,
    temperature: Tensor,
) -> Tensor:
    """Differentiate by logits.

    Args:
        logits: ``(N, G, V)`` float32.
        draws: as :func:`quantize` took them; None: no gradient comes through the choice.
        by_choices: ``(G, N, V)`` float32, gradient by the weights of all words, with ``draws``.
        slopes: ``(G, V)``, of :func:`quantize`.
        by_perplexity: float32 scalar, gradient by the prob perplexity, or None.
        temperature: float32 scalar, of the Gumbel softmax.

    Returns:
        ``(N, G, V)``.
    """
    gradient = None
    if draws is not None and by_choices is not None:
        shares = perturb(logits, draws, temperature).softmax(dim=-1)
        gradient = _through_softmax(shares, by_choices.transpose(0, 1)).div_(temperature)
    if by_perplexity is not None:
        added = _through_softmax(logits.softmax(dim=-1), slopes * by_perplexity)
        gradient = added if gradient is None else gradient.add_(added)
    return torch.zeros_like(logits) if gradient is None else gradient


def _through_softmax(shares: Tensor, slopes: Tensor) -> Tensor:
    mean = (shares * slopes).sum(dim=-1, keepdim=True)
    return shares.mul_(slopes - mean)


def by_codebook(choices: Tensor, by_codes: Tensor, words: int) -> Tensor:
    """Differentiate by the codebook: sum the gradients of the frames that chose a word.

    Args:
        choices: ``(N, G)`` int32, -1 for none.
        by_codes: ``(N, G, d)`` float32.
        words: V.

    Returns:
        ``(G, V, d)``, NaN for a group where a frame has no choice.
    """
    _, groups, channels = by_codes.shape
    rows = choices.clamp(min=0) + torch.arange(groups, device=choices.device) * words
    sums = by_codes.new_zeros(groups * words, channels)
    sums.index_add_(0, rows.flatten(), by_codes.reshape(-1, channels))
    is_broken = (choices < 0).any(dim=0)
    return sums.view(groups, words, channels).masked_fill_(is_broken.view(-1, 1, 1), torch.nan)
