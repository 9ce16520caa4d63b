"""Gumbel product quantization in plain torch, which gathers the chosen codewords."""

import torch
from torch import Tensor

from fairseq_ecg.ops.quantize.reference import perplexity


def quantize(
    logits: Tensor, codebook: Tensor, noise: Tensor | None, temperature: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Choose codes and compute perplexities; the README derives what is kept for backward.

    Args:
        logits: ``(N, G, V)`` float32.
        codebook: ``(G, V, d)`` float32.
        noise: ``(N, G, V)`` float32, exponentially distributed; None: choose the largest logit.
        temperature: float32 scalar, of the Gumbel softmax.

    Returns:
        The codes ``(N, G, d)``; the choices ``(N, G)`` int32, -1 for none (NaN codes); code and
        prob perplexity ``(2,)``; and the gradient of the latter by any frame's softmax, ``(G, V)``.
    """
    best = choices = logits.argmax(dim=-1)
    if noise is not None:
        highest, choices = perturb(logits, noise, temperature).max(dim=-1)
        choices = torch.where(highest.isfinite(), choices, -1)
    perplexities, grad_probs = summarise(best, logits.softmax(dim=-1).mean(dim=0))
    return gather(codebook, choices), choices.int(), perplexities, grad_probs


def perturb(logits: Tensor, noise: Tensor, temperature: Tensor) -> Tensor:
    """Give the logits of the Gumbel softmax: minus the logarithm of the noise is Gumbel noise."""
    return (logits - noise.log()).div_(temperature)


def summarise(best: Tensor, mean_probability: Tensor) -> tuple[Tensor, Tensor]:
    """Compute perplexities and grad_probs from ``(N, G)`` choices and ``(G, V)`` means."""
    counts = torch.zeros_like(mean_probability).T
    counts = counts.scatter_add_(0, best, counts.new_ones(()).expand_as(best)).T
    frames = best.shape[0]
    shifted = mean_probability + 1e-7
    logarithm = shifted.log()
    of_groups = torch.exp(-torch.sum(mean_probability * logarithm, dim=-1))
    grad_probs = (logarithm + mean_probability / shifted) * of_groups.unsqueeze(-1) / -frames
    return torch.stack([perplexity(counts / frames), of_groups.sum()]), grad_probs


def gather(codebook: Tensor, choices: Tensor) -> Tensor:
    """Look up the codes ``(N, G, d)`` of ``(N, G)`` choices, NaN where there is none."""
    groups, codewords, channels = codebook.shape
    rows = choices.clamp(min=0) + torch.arange(groups, device=choices.device) * codewords
    codes = codebook.reshape(-1, channels).index_select(0, rows.flatten())
    return codes.view(*choices.shape, channels).masked_fill_(choices.unsqueeze(-1) < 0, torch.nan)


def quantize_grad_logits(
    logits: Tensor,
    noise: Tensor | None,
    grad_choices: Tensor | None,
    grad_probs: Tensor,
    grad_perplexity: Tensor | None,
    temperature: Tensor,
) -> Tensor:
    """Differentiate by logits.

    Args:
        logits: ``(N, G, V)`` float32.
        noise: as :func:`quantize` took it; None: no gradient comes through the choice.
        grad_choices: ``(G, N, V)`` float32, gradient of the weights of codewords, with ``noise``.
        grad_probs: ``(G, V)``, from :func:`quantize`.
        grad_perplexity: float32 scalar, gradient with respect to the prob perplexity, or None.
        temperature: float32 scalar, of the Gumbel softmax.

    Returns:
        ``(N, G, V)``.
    """
    gradient = None
    if noise is not None and grad_choices is not None:
        shares = perturb(logits, noise, temperature).softmax(dim=-1)
        gradient = _through_softmax(shares, grad_choices.transpose(0, 1)).div_(temperature)
    if grad_perplexity is not None:
        added = _through_softmax(logits.softmax(dim=-1), grad_probs * grad_perplexity)
        gradient = added if gradient is None else gradient.add_(added)
    return torch.zeros_like(logits) if gradient is None else gradient


def _through_softmax(shares: Tensor, grad_probs: Tensor) -> Tensor:
    mean = (shares * grad_probs).sum(dim=-1, keepdim=True)
    return shares.mul_(grad_probs - mean)


def quantize_grad_codebook(choices: Tensor, grad_codes: Tensor, codewords: int) -> Tensor:
    """Differentiate by the codebook: sum the gradients of the frames that chose a codeword.

    Args:
        choices: ``(N, G)`` int32, -1 for none.
        grad_codes: ``(N, G, d)`` float32.
        codewords: V.

    Returns:
        ``(G, V, d)``, NaN for a group where a frame has no choice.
    """
    _, groups, channels = grad_codes.shape
    rows = choices.clamp(min=0) + torch.arange(groups, device=choices.device) * codewords
    sums = grad_codes.new_zeros(groups * codewords, channels)
    sums.index_add_(0, rows.flatten(), grad_codes.reshape(-1, channels))
    is_broken = (choices < 0).any(dim=0)
    return sums.view(groups, codewords, channels).masked_fill_(is_broken.view(-1, 1, 1), torch.nan)
