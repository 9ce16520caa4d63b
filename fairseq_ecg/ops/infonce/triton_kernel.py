"""The contrastive loss in Triton: all but the three matrix products, which are torch's.

Nothing is compiled for a number of frames or samples: kernels loop over blocks of them.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

from fairseq_ecg.ops.infonce.torch_kernel import fingerprint_multipliers
from fairseq_ecg.ops.philox import COMMON_LANE, Stream
from fairseq_ecg.ops.philox.triton_kernel import below, sequence

_FRAMES = 128
_SAMPLES = 16
_STREAM = tl.constexpr(int(Stream.NEGATIVES))
_LANE = tl.constexpr(COMMON_LANE)


def infonce(
    predictions: Tensor,
    targets: Tensor,
    negatives: Tensor | None,
    origins: Tensor | None,
    number: int,
    temperature: float,
    gradient: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Compute what :func:`fairseq_ecg.ops.infonce.torch_kernel.infonce` does.

    Equal targets always pass for equal here. The loss of a frame with a negative of another row
    is NaN.
    """
    rows, frames, channels = predictions.shape
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
    correct = torch.empty_like(losses, dtype=torch.bool)
    _weigh[lines](
        pairs,
        *norms,
        names,
        origins if negatives is None else negatives,
        losses,
        correct.view(torch.uint8),
        frames,
        number,
        temperature,
        gradient,
        negatives is None,
        _FRAMES,
        _SAMPLES,
        num_warps=1,
    )
    if not gradient:
        return losses, correct, losses.new_empty(0), losses.new_empty(0)

    grad_predictions, grad_targets = pairs @ targets, pairs.mT @ predictions
    _project[lines](grad_predictions, predictions, norms[0], channels, width)
    _project[lines](grad_targets, targets, norms[1], channels, width)
    return losses, correct, grad_predictions, grad_targets


@triton.jit
def divisor(norm):
    """What a frame of this length is divided by."""
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
def _times(within, j):
    """Count how often each frame ``j`` is among the positions ``within``."""
    return tl.sum((within[:, None] == j[None, :]).to(tl.int32), axis=0)


@triton.jit
def _times_given(negatives, j, first, samples, SAMPLES: tl.constexpr):
    """Count how often each frame ``j`` is among a frame's given negatives."""
    times = j * 0
    for start in range(0, samples, SAMPLES):
        n = start + tl.arange(0, SAMPLES)
        times += _times(tl.load(negatives + n, mask=n < samples, other=-1) - first, j)
    return times


@triton.jit
def _times_word(word, n, i, j, frames, samples):
    """Count how often each frame ``j`` is what words mean; ``n`` are their positions in the row."""
    other = below(word, frames - 1).to(tl.int64)
    other += (other >= i).to(tl.int64)
    return _times(tl.where((n >= i * samples) & (n < (i + 1) * samples), other, -1), j)


@triton.jit
def _times_drawn(origin, i, j, frames, samples, SAMPLES: tl.constexpr):
    """Count how often each frame ``j`` is drawn for frame ``i``."""
    seed, record, epoch, purpose = sequence(origin, _STREAM, _LANE)
    times = j * 0
    for start in range(i * samples // 4, ((i + 1) * samples + 3) // 4, SAMPLES):
        block = start + tl.arange(0, SAMPLES)
        same = tl.zeros((SAMPLES,), tl.uint32)
        x, y, z, w = tl.philox(
            seed, block.to(tl.uint32), record + same, epoch + same, purpose + same
        )
        times += _times_word(x, block * 4, i, j, frames, samples)
        times += _times_word(y, block * 4 + 1, i, j, frames, samples)
        times += _times_word(z, block * 4 + 2, i, j, frames, samples)
        times += _times_word(w, block * 4 + 3, i, j, frames, samples)
    return times


@triton.jit(do_not_specialize=["frames", "samples"])
def _weigh(
    pairs,
    prediction_norms,
    target_norms,
    names,
    negatives,
    losses,
    correct,
    frames,
    samples,
    temperature,
    GRADIENT: tl.constexpr,
    DRAWN: tl.constexpr,
    FRAMES: tl.constexpr,
    SAMPLES: tl.constexpr,
):
    """Turn one prediction's products into its loss and gradients, and see if it is correct.

    ``negatives`` are the given ones, or (``DRAWN``) what they are drawn from.
    """
    position = tl.program_id(0).to(tl.int64)
    i = position % frames
    first = position - i
    pairs += position * frames
    name = tl.load(names + position)
    x_scale = 1 / divisor(tl.load(prediction_norms + position)) / temperature
    positive = tl.load(pairs + i) * (x_scale / divisor(tl.load(target_norms + position)))

    highest, total = positive, positive * 0
    not_below, lower, found = 0, 0, 0
    for start in range(0, frames, FRAMES):
        j = start + tl.arange(0, FRAMES)
        present = j < frames
        if DRAWN:
            drawn = _times_drawn(negatives + position // frames * 4, i, j, frames, samples, SAMPLES)
        else:
            drawn = _times_given(negatives + position * samples, j, first, samples, SAMPLES)
        drawn = tl.where(present, drawn, 0)
        is_equal = tl.load(names + first + j, mask=present, other=-1) == name
        weight = tl.where(j == i, 1, tl.where(is_equal, 0, drawn))
        scale = x_scale / divisor(tl.load(target_norms + first + j, mask=present, other=1.0))
        logit = tl.load(pairs + j, mask=present, other=0.0) * scale
        counts = weight > 0
        found += tl.sum(drawn)
        not_below |= tl.max((counts & ((logit <= positive) == 0)).to(tl.int32))  # NaN is not below
        is_left_out = (drawn > 0) & is_equal  # a logit of minus infinity
        lower |= tl.max((is_left_out | (counts & (logit < positive))).to(tl.int32))
        # As many equal logits are one that is higher by the logarithm of their number.
        joint = tl.where(counts, logit + tl.log(weight.to(tl.float32)), float("-inf"))
        tl.store(pairs + j, joint, mask=present)
        rise = tl.maximum(highest, tl.max(joint))
        total = total * tl.exp(highest - rise) + tl.sum(tl.exp(joint - rise))
        highest = rise
    loss = tl.log(total) - (positive - highest)
    tl.store(losses + position, tl.where(found == samples, loss, float("nan")))
    is_correct = lower & (1 - not_below)
    tl.store(correct + position, is_correct.to(tl.uint8))  # type: ignore[attr-defined]  # no int

    if GRADIENT:
        tl.debug_barrier()  # what the loop above stored is complete
        for start in range(0, frames, FRAMES):
            j = start + tl.arange(0, FRAMES)
            present = j < frames
            joint = tl.load(pairs + j, mask=present, other=0.0)
            dlogit = tl.exp(joint - highest) / total - tl.where(j == i, 1.0, 0.0)
            norm = tl.load(target_norms + first + j, mask=present, other=1.0)
            tl.store(pairs + j, dlogit * (x_scale / divisor(norm)), mask=present)


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
    along = tl.where(norm > 0, tl.sum(gradient * frame) / divisor(norm) / norm, 0.0)
    tl.store(gradients + position * channels + channel, gradient - frame * along, mask=present)
