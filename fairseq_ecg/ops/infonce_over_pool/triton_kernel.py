"""The contrastive loss over a pool in Triton.

Nothing is compiled for a number of frames, draws or vectors: kernels loop over blocks of draws.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

from fairseq_ecg.ops.infonce.triton_kernel import divisor

_DRAWS = 16


def infonce_over_pool(
    predictions: Tensor,
    targets: Tensor,
    pool: Tensor,
    negatives: Tensor,
    temperature: float,
    gradient: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Compute what :func:`fairseq_ecg.ops.infonce_over_pool.chunked.infonce_over_pool` does.

    Arguments and results are the same. The loss of a frame with a negative that is not in the pool
    is NaN. The gradient by the pool has the same bits in every run: draws are sorted, not added by
    atomic operations.
    """
    frames, channels = predictions.shape
    vectors, draws = len(pool), negatives.shape[1]
    width = triton.next_power_of_2(channels)
    losses = predictions.new_empty(frames)
    hits = torch.empty_like(losses, dtype=torch.bool)
    slopes = predictions.new_empty(negatives.shape)
    by_predictions, by_targets, by_pool = (
        torch.empty_like(lines) if gradient else lines.new_empty(0)
        for lines in (predictions, targets, pool)
    )
    _contrast[(frames,)](
        predictions,
        targets,
        pool,
        negatives,
        losses,
        hits.view(torch.uint8),
        slopes,
        by_predictions,
        by_targets,
        vectors,
        draws,
        channels,
        temperature,
        gradient,
        _DRAWS,
        width,
    )
    if gradient and vectors > 0:
        drawn, order = negatives.flatten().sort(stable=True)
        starts = torch.searchsorted(drawn, torch.arange(vectors + 1, device=drawn.device))
        _differentiate[(vectors,)](
            predictions, pool, slopes, starts, order, by_pool, draws, channels, _DRAWS, width
        )
    return losses, hits, by_predictions, by_targets, by_pool


@triton.jit
def _project(gradient, frame, norm):
    """Take from a gradient over its frame's length what only changes that length."""
    # Below its least length a frame is divided by that, but autograd follows its true length.
    along = tl.where(norm > 0, tl.sum(gradient * frame) / divisor(norm) / norm, 0.0)
    return gradient - frame * along


@triton.jit
def _gather(pool, negatives, n, vectors, draws, channel, channels):
    """Load some negatives, what they are divided by, and whether each is in the pool."""
    drawn = tl.load(negatives + n, mask=n < draws, other=-1)
    is_inside = (drawn >= 0) & (drawn < vectors)
    present = is_inside[:, None] & (channel < channels)[None, :]
    z = tl.load(pool + drawn[:, None] * channels + channel[None, :], mask=present, other=0.0)
    return z, divisor(tl.sqrt_rn(tl.sum(z * z, axis=1))), is_inside


@triton.jit(do_not_specialize=["vectors", "draws"])
def _contrast(
    predictions,
    targets,
    pool,
    negatives,
    losses,
    hits,
    slopes,
    by_predictions,
    by_targets,
    vectors,
    draws,
    channels,
    temperature,
    GRADIENT: tl.constexpr,
    DRAWS: tl.constexpr,
    WIDTH: tl.constexpr,
):
    """Compute loss and hit of one prediction, its gradients, and the slopes by its logits."""
    i = tl.program_id(0).to(tl.int64)
    negatives += i * draws
    slopes += i * draws
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
    for start in range(0, draws, DRAWS):
        n = start + tl.arange(0, DRAWS)
        z, length, is_inside = _gather(pool, negatives, n, vectors, draws, channel, channels)
        is_equal = tl.min(((z == y[None, :]) | (present[None, :] == 0)).to(tl.int32), axis=1) == 1
        logit = tl.sum(z * x[None, :], axis=1) * (scale / length)
        logit = tl.where(is_equal | (is_inside == 0), float("-inf"), logit)
        found += tl.sum(is_inside.to(tl.int32))
        not_below |= tl.max((is_inside & ((logit <= positive) == 0)).to(tl.int32))
        below |= tl.max((is_inside & (logit < positive)).to(tl.int32))
        tl.store(slopes + n, logit, mask=n < draws)
        rise = tl.maximum(highest, tl.max(logit))
        others = others * tl.exp(highest - rise) + tl.sum(tl.exp(logit - rise))
        highest = rise
    total = others + tl.exp(positive - highest)
    loss = tl.log(total) - (positive - highest)
    tl.store(losses + i, tl.where(found == draws, loss, float("nan")))
    tl.store(hits + i, (below & (1 - not_below)).to(tl.uint8))

    if GRADIENT:
        tl.debug_barrier()  # what the loop above stored is complete
        # What the other shares add up to: nothing is lost where the positive's is nearly one.
        of_target = -others / total * y_scale
        gradient = of_target * y
        for start in range(0, draws, DRAWS):
            n = start + tl.arange(0, DRAWS)
            z, length, _ = _gather(pool, negatives, n, vectors, draws, channel, channels)
            logit = tl.load(slopes + n, mask=n < draws, other=float("-inf"))
            slope = tl.exp(logit - highest) / total * (scale / length)
            tl.store(slopes + n, slope, mask=n < draws)
            gradient += tl.sum(slope[:, None] * z, axis=0)
        gradient = _project(gradient, x, x_norm)
        tl.store(by_predictions + i * channels + channel, gradient, mask=present)
        gradient = _project(of_target * x, y, y_norm)
        tl.store(by_targets + i * channels + channel, gradient, mask=present)


@triton.jit(do_not_specialize=["draws"])
def _differentiate(
    predictions,
    pool,
    slopes,
    starts,
    order,
    by_pool,
    draws,
    channels,
    DRAWS: tl.constexpr,
    WIDTH: tl.constexpr,
):
    """Sum what those who drew one vector of the pool give to its gradient."""
    p = tl.program_id(0).to(tl.int64)
    channel = tl.arange(0, WIDTH)
    present = channel < channels
    z = tl.load(pool + p * channels + channel, mask=present, other=0.0)
    end = tl.load(starts + p + 1)
    gradient = z * 0
    for start in range(tl.load(starts + p), end, DRAWS):
        k = start + tl.arange(0, DRAWS)
        draw = tl.load(order + k, mask=k < end, other=0)
        slope = tl.load(slopes + draw, mask=k < end, other=0.0)
        line = predictions + (draw // draws)[:, None] * channels + channel[None, :]
        x = tl.load(line, mask=(k < end)[:, None] & present[None, :], other=0.0)
        gradient += tl.sum(slope[:, None] * x, axis=0)
    gradient = _project(gradient, z, tl.sqrt_rn(tl.sum(z * z)))
    tl.store(by_pool + p * channels + channel, gradient, mask=present)
