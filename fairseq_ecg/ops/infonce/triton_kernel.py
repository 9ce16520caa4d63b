"""The contrastive loss in Triton: all but the three matrix products, which are torch's.

Nothing is compiled for a number of frames or draws: kernels loop over blocks of them.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

from fairseq_ecg.ops.infonce.allpairs import fingerprint_multipliers

_FRAMES = 128
_DRAWS = 16


def infonce(
    predictions: Tensor, targets: Tensor, negatives: Tensor, temperature: float, gradient: bool
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Compute what :func:`fairseq_ecg.ops.infonce.allpairs.infonce` does, arguments likewise.

    Equal targets always pass for equal here. The loss of a frame with a negative of another row
    is NaN.
    """
    rows, frames, channels = predictions.shape
    draws = negatives.shape[1] // frames
    lines = (rows * frames,)
    width = triton.next_power_of_2(channels)

    norms = predictions.new_empty(2, rows, frames)
    fingerprints = torch.empty_like(norms[0], dtype=torch.long)
    names = torch.empty_like(norms[0], dtype=torch.int32)
    multipliers = fingerprint_multipliers(channels, predictions.device)
    _measure[lines](predictions, targets, multipliers, *norms, fingerprints, channels, width)
    _name[lines](targets, fingerprints, names, frames, channels, _FRAMES, width)

    pairs = predictions @ targets.mT
    losses = torch.empty_like(norms[0])
    hits = torch.empty_like(losses, dtype=torch.bool)
    _weigh[lines](
        pairs,
        *norms,
        names,
        negatives,
        losses,
        hits.view(torch.uint8),
        frames,
        draws,
        temperature,
        gradient,
        _FRAMES,
        _DRAWS,
        num_warps=1,
    )
    if not gradient:
        return losses, hits, losses.new_empty(0), losses.new_empty(0)

    by_predictions, by_targets = pairs @ targets, pairs.mT @ predictions
    _project[lines](by_predictions, predictions, norms[0], channels, width)
    _project[lines](by_targets, targets, norms[1], channels, width)
    return losses, hits, by_predictions, by_targets


@triton.jit
def _divisor(norm):
    return tl.where(norm < 1e-8, 1e-8, norm)  # NaN stays NaN


@triton.jit
def _measure(
    predictions,
    targets,
    multipliers,
    prediction_norms,
    target_norms,
    fingerprints,
    channels,
    WIDTH: tl.constexpr,
):
    """Compute norms and fingerprint of one frame."""
    position = tl.program_id(0).to(tl.int64)
    channel = tl.arange(0, WIDTH)
    present = channel < channels
    x = tl.load(predictions + position * channels + channel, mask=present, other=0.0)
    y = tl.load(targets + position * channels + channel, mask=present, other=0.0)
    tl.store(prediction_norms + position, tl.sqrt_rn(tl.sum(x * x)))
    tl.store(target_norms + position, tl.sqrt_rn(tl.sum(y * y)))
    bits = tl.where(y == 0, 0.0, y).to(tl.int32, bitcast=True).to(tl.int64)  # -0 and 0 are alike
    products = bits * tl.load(multipliers + channel, mask=present, other=0)
    tl.store(fingerprints + position, tl.sum(products))


@triton.jit(do_not_specialize=["frames"])
def _name(
    targets, fingerprints, names, frames, channels, FRAMES: tl.constexpr, WIDTH: tl.constexpr
):
    """Find the first of the row's targets that equals one frame's."""
    position = tl.program_id(0).to(tl.int64)
    i = position % frames
    first = position - i
    channel = tl.arange(0, WIDTH)
    present = channel < channels
    own_print = tl.load(fingerprints + position)
    own = tl.load(targets + position * channels + channel, mask=present, other=0.0)
    name = i
    start = i * 0
    while start < name:
        j = start + tl.arange(0, FRAMES)
        alike = tl.load(fingerprints + first + j, mask=j < i, other=0) == own_print
        nearest = tl.min(tl.where(alike & (j < i), j, i))
        # Without any alike this compares the frame to itself.
        other = tl.load(targets + (first + nearest) * channels + channel, mask=present, other=0.0)
        is_equal = tl.min((other == own).to(tl.int32)) == 1
        name = tl.where(is_equal, nearest, name)
        start = tl.where(nearest < i, nearest + 1, start + FRAMES)
    tl.store(names + position, name.to(tl.int32))


@triton.jit
def _block(
    j,
    i,
    first,
    pairs,
    target_norms,
    names,
    negatives,
    frames,
    draws,
    x_scale,
    temperature,
    FRAMES: tl.constexpr,
    DRAWS: tl.constexpr,
):
    """Give a block's logits, how often each counts, how often it was drawn, what scales it."""
    present = j < frames
    drawn = tl.zeros((FRAMES,), tl.int32)
    for start in range(0, draws, DRAWS):
        n = start + tl.arange(0, DRAWS)
        within = tl.load(negatives + n, mask=n < draws, other=-1) - first
        drawn += tl.sum((within[:, None] == j[None, :]).to(tl.int32), axis=0)
    drawn = tl.where(present, drawn, 0)
    is_equal = tl.load(names + first + j, mask=present, other=-1) == tl.load(names + first + i)
    weight = tl.where(j == i, 1, tl.where(is_equal, 0, drawn))
    scale = x_scale / _divisor(tl.load(target_norms + first + j, mask=present, other=1.0))
    logit = tl.load(pairs + j, mask=present, other=0.0) * scale / temperature
    return logit, weight, drawn, scale


@triton.jit(do_not_specialize=["frames", "draws"])
def _weigh(
    pairs,
    prediction_norms,
    target_norms,
    names,
    negatives,
    losses,
    hits,
    frames,
    draws,
    temperature,
    gradient: tl.constexpr,
    FRAMES: tl.constexpr,
    DRAWS: tl.constexpr,
):
    """Turn one prediction's products into loss and hit, and into the slopes of the loss."""
    position = tl.program_id(0).to(tl.int64)
    i = position % frames
    first = position - i
    pairs += position * frames
    negatives += position * draws
    x_scale = 1 / _divisor(tl.load(prediction_norms + position))
    y_scale = x_scale / _divisor(tl.load(target_norms + position))
    positive = tl.load(pairs + i) * y_scale / temperature

    highest, total = positive, positive * 0
    not_below, below, found = 0, 0, 0
    for start in range(0, frames, FRAMES):
        j = start + tl.arange(0, FRAMES)
        logit, weight, drawn, _ = _block(
            j,
            i,
            first,
            pairs,
            target_norms,
            names,
            negatives,
            frames,
            draws,
            x_scale,
            temperature,
            FRAMES,
            DRAWS,
        )
        counts = weight > 0
        found += tl.sum(drawn)
        not_below |= tl.max((counts & ((logit <= positive) == 0)).to(tl.int32))  # NaN is not below
        is_left_out = (drawn > 0) & ((j == i) | (weight == 0))  # a logit of minus infinity
        below |= tl.max((is_left_out | (counts & (logit < positive))).to(tl.int32))
        rise = tl.maximum(highest, tl.max(tl.where(counts, logit, float("-inf"))))
        shares = tl.where(counts, weight * tl.exp(logit - rise), 0.0)
        total = total * tl.exp(highest - rise) + tl.sum(shares)
        highest = rise
    loss = tl.log(total) - (positive - highest)
    tl.store(losses + position, tl.where(found == draws, loss, float("nan")))
    tl.store(hits + position, (below & (1 - not_below)).to(tl.uint8))

    if gradient:
        for start in range(0, frames, FRAMES):
            j = start + tl.arange(0, FRAMES)
            logit, weight, _, scale = _block(
                j,
                i,
                first,
                pairs,
                target_norms,
                names,
                negatives,
                frames,
                draws,
                x_scale,
                temperature,
                FRAMES,
                DRAWS,
            )
            share = tl.where(weight > 0, weight * tl.exp(logit - highest), 0.0) / total
            slope = share - tl.where(j == i, 1.0, 0.0)
            tl.store(pairs + j, slope * scale / temperature, mask=j < frames)


@triton.jit
def _project(gradients, frames, norms, channels, WIDTH: tl.constexpr):
    """Take from one frame's gradient what only changes the frame's length."""
    position = tl.program_id(0).to(tl.int64)
    channel = tl.arange(0, WIDTH)
    present = channel < channels
    gradient = tl.load(gradients + position * channels + channel, mask=present, other=0.0)
    frame = tl.load(frames + position * channels + channel, mask=present, other=0.0)
    norm = tl.load(norms + position)
    # Below its least length a frame is divided by that, but autograd follows its true length.
    along = tl.where(norm > 0, tl.sum(gradient * frame) / _divisor(norm) / norm, 0.0)
    tl.store(gradients + position * channels + channel, gradient - frame * along, mask=present)
