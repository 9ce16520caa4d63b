"""Gumbel product quantization in Triton; what is left of a batch's sums is torch's.

Nothing is compiled for a number of frames.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

from fairseq_ecg.ops.philox.triton_kernel import logarithm
from fairseq_ecg.ops.quantize.gather import by_codebook, gather, summarise

__all__ = ["by_codebook", "by_logits", "quantize"]

_FRAMES = 16


def quantize(
    logits: Tensor, codebook: Tensor, draws: Tensor | None, temperature: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Compute what :func:`fairseq_ecg.ops.quantize.gather.quantize` does, arguments likewise."""
    frames, groups, words = logits.shape
    parts = triton.cdiv(frames, _FRAMES)
    best = torch.empty_like(logits[..., 0], dtype=torch.int32)
    choices = torch.empty_like(best)
    sums = logits.new_empty(parts, groups, words)
    _choose[(parts, groups)](
        logits,
        logits if draws is None else draws,
        best,
        choices,
        sums,
        frames,
        groups,
        words,
        temperature,
        draws is not None,
        _FRAMES,
        triton.next_power_of_2(words),
        enable_fp_fusion=False,
    )
    perplexities, slopes = summarise(best.long(), sums.sum(dim=0) / frames)
    return gather(codebook, choices.long()), choices, perplexities, slopes


def by_logits(
    logits: Tensor,
    draws: Tensor | None,
    by_choices: Tensor | None,
    slopes: Tensor,
    by_perplexity: Tensor | None,
    temperature: Tensor,
) -> Tensor:
    """Compute what :func:`fairseq_ecg.ops.quantize.gather.by_logits` does, arguments likewise."""
    frames, groups, words = logits.shape
    gradient = torch.empty_like(logits)
    _differentiate[(frames * groups,)](
        logits,
        logits if draws is None else draws,
        logits if by_choices is None else by_choices,
        slopes,
        slopes if by_perplexity is None else by_perplexity,
        gradient,
        frames,
        groups,
        words,
        temperature,
        draws is not None,
        by_perplexity is not None,
        triton.next_power_of_2(words),
        enable_fp_fusion=False,
    )
    return gradient


@triton.jit
def _largest(line, word):
    """Give the largest number of a line and its first place; NaN is above everything."""
    is_nan = line != line
    has_nan = tl.max(is_nan.to(tl.int32)) == 1
    highest = tl.max(tl.where(is_nan, float("-inf"), line))
    is_largest = tl.where(has_nan, is_nan, line == highest)
    first = tl.min(tl.where(is_largest, word, 1 << 30))
    return tl.where(has_nan, float("nan"), highest), first


@triton.jit(do_not_specialize=["frames"])
def _choose(
    logits,
    draws,
    best,
    choices,
    sums,
    frames,
    groups,
    words,
    temperature,
    SAMPLES: tl.constexpr,
    FRAMES: tl.constexpr,
    WIDTH: tl.constexpr,
):
    """Choose the words of a part's frames in one group, and sum their probabilities."""
    part, group = tl.program_id(0).to(tl.int64), tl.program_id(1)
    word = tl.arange(0, WIDTH)
    present = word < words
    total = tl.zeros((WIDTH,), tl.float32)
    temperature = tl.load(temperature)
    for frame in range(part * FRAMES, tl.minimum(part * FRAMES + FRAMES, frames)):
        place = frame * groups + group
        line = tl.load(logits + place * words + word, mask=present, other=float("-inf"))
        highest, first = _largest(line, word)
        tl.store(best + place, first)
        if SAMPLES:
            draw = tl.load(draws + place * words + word, mask=present, other=1.0)
            # Minus the logarithm of an exponentially distributed number is Gumbel noise.
            perturbed = tl.div_rn(line - logarithm(draw), temperature)
            largest, choice = _largest(perturbed, word)
            is_finite = tl.abs(largest) < float("inf")
            first = tl.where(is_finite, choice, -1)
        tl.store(choices + place, first)
        terms = tl.where(present, tl.exp(line - highest), 0.0)
        total += terms / tl.sum(terms)
    tl.store(sums + (part * groups + group) * words + word, total, mask=present)


@triton.jit
def _through_softmax(line, slopes, present):
    """Give the gradient by a line from slopes by the line's softmax."""
    is_nan = line != line
    highest = tl.max(tl.where(is_nan, float("-inf"), line))
    terms = tl.where(present, tl.exp(line - highest), 0.0)
    shares = terms / tl.sum(terms)
    return shares * (slopes - tl.sum(shares * slopes))


@triton.jit(do_not_specialize=["frames"])
def _differentiate(
    logits,
    draws,
    by_choices,
    slopes,
    by_perplexity,
    gradient,
    frames,
    groups,
    words,
    temperature,
    HAS_CHOICE: tl.constexpr,
    HAS_PERPLEXITY: tl.constexpr,
    WIDTH: tl.constexpr,
):
    """Compute the gradient by one frame's logits of one group."""
    place = tl.program_id(0).to(tl.int64)
    frame, group = place // groups, place % groups
    word = tl.arange(0, WIDTH)
    present = word < words
    line = tl.load(logits + place * words + word, mask=present, other=float("-inf"))
    result = tl.zeros((WIDTH,), tl.float32)
    if HAS_CHOICE:
        temperature = tl.load(temperature)
        draw = tl.load(draws + place * words + word, mask=present, other=1.0)
        perturbed = tl.div_rn(line - logarithm(draw), temperature)
        by_choice = tl.load(
            by_choices + (group * frames + frame) * words + word, mask=present, other=0.0
        )
        result += _through_softmax(perturbed, by_choice, present) / temperature
    if HAS_PERPLEXITY:
        slope = tl.load(slopes + group * words + word, mask=present, other=0.0)
        result += _through_softmax(line, slope, present) * tl.load(by_perplexity)
    tl.store(gradient + place * words + word, result, mask=present)
