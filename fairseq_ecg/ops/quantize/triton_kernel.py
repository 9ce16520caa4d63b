"""Gumbel product quantization in Triton; what is left of a batch's sums is torch's.

Nothing is compiled for a number of frames.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

from fairseq_ecg.ops.philox.triton_kernel import logarithm
from fairseq_ecg.ops.quantize.torch_kernel import gather, quantize_grad_codebook, summarise

__all__ = ["quantize", "quantize_grad_codebook", "quantize_grad_logits"]

_FRAMES = 16


def quantize(
    logits: Tensor, codebook: Tensor, noise: Tensor | None, temperature: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Compute what :mod:`fairseq_ecg.ops.quantize.torch_kernel` does, from the same arguments."""
    frames, groups, codewords = logits.shape
    parts = triton.cdiv(frames, _FRAMES)
    best = torch.empty_like(logits[..., 0], dtype=torch.int32)
    choices = torch.empty_like(best)
    sums = logits.new_empty(parts, groups, codewords)
    _choose[(parts, groups)](
        logits,
        logits if noise is None else noise,
        best,
        choices,
        sums,
        frames,
        groups,
        codewords,
        temperature,
        noise is not None,
        _FRAMES,
        triton.next_power_of_2(codewords),
        enable_fp_fusion=False,
    )
    perplexities, grad_probs = summarise(best.long(), sums.sum(dim=0) / frames)
    return gather(codebook, choices.long()), choices, perplexities, grad_probs


def quantize_grad_logits(
    logits: Tensor,
    noise: Tensor | None,
    grad_choices: Tensor | None,
    grad_probs: Tensor,
    grad_perplexity: Tensor | None,
    temperature: Tensor,
) -> Tensor:
    """Compute what :mod:`fairseq_ecg.ops.quantize.torch_kernel` does, from the same arguments."""
    frames, groups, codewords = logits.shape
    gradient = torch.empty_like(logits)
    _differentiate[(frames * groups,)](
        logits,
        logits if noise is None else noise,
        logits if grad_choices is None else grad_choices,
        grad_probs,
        grad_probs if grad_perplexity is None else grad_perplexity,
        gradient,
        frames,
        groups,
        codewords,
        temperature,
        noise is not None,
        grad_perplexity is not None,
        triton.next_power_of_2(codewords),
        enable_fp_fusion=False,
    )
    return gradient


@triton.jit
def _largest(line, codeword):
    """Give the largest number of a line and its first index; NaN is above everything."""
    is_nan = line != line
    has_nan = tl.max(is_nan.to(tl.int32)) == 1
    highest = tl.max(tl.where(is_nan, float("-inf"), line))
    is_largest = tl.where(has_nan, is_nan, line == highest)
    first = tl.min(tl.where(is_largest, codeword, 1 << 30))
    return tl.where(has_nan, float("nan"), highest), first


@triton.jit(do_not_specialize=["frames"])
def _choose(
    logits,
    noise,
    best,
    choices,
    sums,
    frames,
    groups,
    codewords,
    temperature,
    SAMPLES: tl.constexpr,
    FRAMES: tl.constexpr,
    WIDTH: tl.constexpr,
):
    """Choose the codewords of a part's frames in one group, and sum their probabilities."""
    part, group = tl.program_id(0).to(tl.int64), tl.program_id(1)
    codeword = tl.arange(0, WIDTH)
    present = codeword < codewords
    total = tl.zeros((WIDTH,), tl.float32)
    temperature = tl.load(temperature)
    for frame in range(part * FRAMES, tl.minimum(part * FRAMES + FRAMES, frames)):
        index = frame * groups + group
        line = tl.load(logits + index * codewords + codeword, mask=present, other=float("-inf"))
        highest, first = _largest(line, codeword)
        tl.store(best + index, first)
        if SAMPLES:
            noisy = tl.load(noise + index * codewords + codeword, mask=present, other=1.0)
            # Minus the logarithm of an exponentially distributed number is Gumbel noise.
            perturbed = tl.div_rn(line - logarithm(noisy), temperature)
            largest, choice = _largest(perturbed, codeword)
            is_finite = tl.abs(largest) < float("inf")
            first = tl.where(is_finite, choice, -1)
        tl.store(choices + index, first)
        terms = tl.where(present, tl.exp(line - highest), 0.0)
        total += terms / tl.sum(terms)
    tl.store(sums + (part * groups + group) * codewords + codeword, total, mask=present)


@triton.jit
def _through_softmax(line, grad_probs, present):
    """Compute the gradient of a line from grad_probs by the line's softmax."""
    is_nan = line != line
    highest = tl.max(tl.where(is_nan, float("-inf"), line))
    terms = tl.where(present, tl.exp(line - highest), 0.0)
    shares = terms / tl.sum(terms)
    return shares * (grad_probs - tl.sum(shares * grad_probs))


@triton.jit(do_not_specialize=["frames"])
def _differentiate(
    logits,
    noise,
    grad_choices,
    grad_probs,
    grad_perplexity,
    gradient,
    frames,
    groups,
    codewords,
    temperature,
    HAS_CHOICE: tl.constexpr,
    HAS_PERPLEXITY: tl.constexpr,
    WIDTH: tl.constexpr,
):
    """Compute the gradient with respect to one frame's logits of one group."""
    index = tl.program_id(0).to(tl.int64)
    frame, group = index // groups, index % groups
    codeword = tl.arange(0, WIDTH)
    present = codeword < codewords
    line = tl.load(logits + index * codewords + codeword, mask=present, other=float("-inf"))
    result = tl.zeros((WIDTH,), tl.float32)
    if HAS_CHOICE:
        temperature = tl.load(temperature)
        noisy = tl.load(noise + index * codewords + codeword, mask=present, other=1.0)
        perturbed = tl.div_rn(line - logarithm(noisy), temperature)
        grad_choice = tl.load(
            grad_choices + (group * frames + frame) * codewords + codeword, mask=present, other=0.0
        )
        result += _through_softmax(perturbed, grad_choice, present) / temperature
    if HAS_PERPLEXITY:
        grad_prob = tl.load(grad_probs + group * codewords + codeword, mask=present, other=0.0)
        result += _through_softmax(line, grad_prob, present) * tl.load(grad_perplexity)
    tl.store(gradient + index * codewords + codeword, result, mask=present)
