"""The contrastive loss over a pool in Triton.

Nothing is compiled for a number of frames, samples or vectors: kernels loop over blocks of samples.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

from fairseq_ecg.ops.infonce.triton_kernel import divisor

_SAMPLES = 16


def infonce_over_pool(
    predictions: Tensor,
    targets: Tensor,
    pool: Tensor,
    negatives: Tensor,
    temperature: float,
    gradient: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Compute what :func:`fairseq_ecg.ops.infonce_over_pool.torch_kernel.infonce_over_pool` does.

    Arguments and results are the same. The loss of a frame with a negative that is not in the pool
    is NaN. The gradient of the pool has the same bits in every run: samples are sorted, not added
    by atomic operations.
    """
    frames, channels = predictions.shape
    vectors, samples = len(pool), negatives.shape[1]
    width = triton.next_power_of_2(channels)
    losses = predictions.new_empty(frames)
    correct = torch.empty_like(losses, dtype=torch.bool)
    dlogits = predictions.new_empty(negatives.shape)
    grad_predictions, grad_targets, grad_pool = (
        torch.empty_like(lines) if gradient else lines.new_empty(0)
        for lines in (predictions, targets, pool)
    )
    _contrast[(frames,)](
        predictions,
        targets,
        pool,
        negatives,
        losses,
        correct.view(torch.uint8),
        dlogits,
        grad_predictions,
        grad_targets,
        vectors,
        samples,
        channels,
        temperature,
        gradient,
        _SAMPLES,
        width,
    )
    if gradient and vectors > 0:
        drawn, order = negatives.flatten().sort(stable=True)
        starts = torch.searchsorted(drawn, torch.arange(vectors + 1, device=drawn.device))
        _differentiate[(vectors,)](
            predictions, pool, dlogits, starts, order, grad_pool, samples, channels, _SAMPLES, width
        )
    return losses, correct, grad_predictions, grad_targets, grad_pool


@triton.jit
def _project(gradient, frame, norm):
    """Take from a gradient over its frame's length what only changes that length."""
    # Below its least length a frame is divided by that, but autograd follows its true length.
    along = tl.where(norm > 0, tl.sum(gradient * frame) / divisor(norm) / norm, 0.0)
    return gradient - frame * along


@triton.jit
def _gather(pool, negatives, n, vectors, samples, channel, channels):
    """Load some negatives, what they are divided by, and whether each is in the pool."""
    drawn = tl.load(negatives + n, mask=n < samples, other=-1)
    is_inside = (drawn >= 0) & (drawn < vectors)
    present = is_inside[:, None] & (channel < channels)[None, :]
    z = tl.load(pool + drawn[:, None] * channels + channel[None, :], mask=present, other=0.0)
    return z, divisor(tl.sqrt_rn(tl.sum(z * z, axis=1))), is_inside


@triton.jit(do_not_specialize=["vectors", "samples"])
def _contrast(
    predictions,
    targets,
    pool,
    negatives,
    losses,
    correct,
    dlogits,
    grad_predictions,
    grad_targets,
    vectors,
    samples,
    channels,
    temperature,
    GRADIENT: tl.constexpr,
    SAMPLES: tl.constexpr,
    WIDTH: tl.constexpr,
):
    """Compute loss and gradients of one prediction, and see if it is correct."""
    i = tl.program_id(0).to(tl.int64)
    negatives += i * samples
    dlogits += i * samples
    channel = tl.arange(0, WIDTH)
    present = channel < channels
    x = tl.load(predictions + i * channels + channel, mask=present, other=0.0)
    y = tl.load(targets + i * channels + channel, mask=present, other=0.0)
    x_norm, y_norm = tl.sqrt_rn(tl.sum(x * x)), tl.sqrt_rn(tl.sum(y * y))
    scale = 1 / divisor(x_norm) / temperature
    y_scale = scale / divisor(y_norm)
    positive = tl.sum(x * y) * y_scale

    highest, others = positive, positive * 0
    nothing = (i * 0).to(tl.int32)
    not_below, below, found = nothing, nothing, nothing
    for start in range(0, samples, SAMPLES):
        n = start + tl.arange(0, SAMPLES)
        z, length, is_inside = _gather(pool, negatives, n, vectors, samples, channel, channels)
        is_equal = tl.min(((z == y[None, :]) | (present[None, :] == 0)).to(tl.int32), axis=1) == 1
        logit = tl.sum(z * x[None, :], axis=1) * (scale / length)
        logit = tl.where(is_equal | (is_inside == 0), float("-inf"), logit)
        found += tl.sum(is_inside.to(tl.int32))
        not_below |= tl.max((is_inside & ((logit <= positive) == 0)).to(tl.int32))
        below |= tl.max((is_inside & (logit < positive)).to(tl.int32))
        tl.store(dlogits + n, logit, mask=n < samples)
        rise = tl.maximum(highest, tl.max(logit))
        others = others * tl.exp(highest - rise) + tl.sum(tl.exp(logit - rise))
        highest = rise
    total = others + tl.exp(positive - highest)
    loss = tl.log(total) - (positive - highest)
    tl.store(losses + i, tl.where(found == samples, loss, float("nan")))
    tl.store(correct + i, (below & (1 - not_below)).to(tl.uint8))

    if GRADIENT:
        tl.debug_barrier()  # what the loop above stored is complete
        # What the other shares add up to: nothing is lost where the positive's is nearly one.
        of_target = -others / total * y_scale
        gradient = of_target * y
        for start in range(0, samples, SAMPLES):
            n = start + tl.arange(0, SAMPLES)
            z, length, _ = _gather(pool, negatives, n, vectors, samples, channel, channels)
            logit = tl.load(dlogits + n, mask=n < samples, other=float("-inf"))
            dlogit = tl.exp(logit - highest) / total * (scale / length)
            tl.store(dlogits + n, dlogit, mask=n < samples)
            gradient += tl.sum(dlogit[:, None] * z, axis=0)
        gradient = _project(gradient, x, x_norm)
        tl.store(grad_predictions + i * channels + channel, gradient, mask=present)
        gradient = _project(of_target * x, y, y_norm)
        tl.store(grad_targets + i * channels + channel, gradient, mask=present)


@triton.jit(do_not_specialize=["samples"])
def _differentiate(
    predictions,
    pool,
    dlogits,
    starts,
    order,
    grad_pool,
    samples,
    channels,
    SAMPLES: tl.constexpr,
    WIDTH: tl.constexpr,
):
    """Sum what those who drew one vector of the pool give to its gradient."""
    p = tl.program_id(0).to(tl.int64)
    channel = tl.arange(0, WIDTH)
    present = channel < channels
    z = tl.load(pool + p * channels + channel, mask=present, other=0.0)
    end = tl.load(starts + p + 1)
    gradient = z * 0
    for start in range(tl.load(starts + p), end, SAMPLES):
        k = start + tl.arange(0, SAMPLES)
        sample = tl.load(order + k, mask=k < end, other=0)
        dlogit = tl.load(dlogits + sample, mask=k < end, other=0.0)
        line = predictions + (sample // samples)[:, None] * channels + channel[None, :]
        x = tl.load(line, mask=(k < end)[:, None] & present[None, :], other=0.0)
        gradient += tl.sum(dlogit[:, None] * x, axis=0)
    gradient = _project(gradient, z, tl.sqrt_rn(tl.sum(z * z)))
    tl.store(grad_pool + p * channels + channel, gradient, mask=present)
