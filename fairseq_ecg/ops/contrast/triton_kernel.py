"""Contrastive losses in Triton: all but norms and the two products, which are torch's.

Nothing is compiled for a number of rows: kernels loop over blocks of them.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

_ROWS = 64


def contrast(
    features: Tensor,
    group: Tensor,
    segment: Tensor | None,
    temperature: float,
    eps: float,
    gradient: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    """Compute what :func:`fairseq_ecg.ops.contrast.torch_kernel.contrast` does."""
    rows, both_ways = features.shape[0], segment is not None
    scale = torch.linalg.vector_norm(features, dim=1, keepdim=True).clamp(min=eps)
    unit = features / scale
    pairs = unit @ unit.T
    log_sums, weights, losses = (features.new_empty(rows) for _ in range(3))
    of_rows = group.new_empty(3, rows)
    batch = pairs, group, segment if both_ways else group, log_sums, weights
    _contrast[(rows,)](*batch, of_rows, losses, rows, temperature, both_ways, _ROWS)
    counts = of_rows.sum(dim=1)  # every pair from both of its sides
    loss = losses.sum() / counts[0] if both_ways else losses.sum()
    if not gradient:
        return loss, counts, features.new_empty(0)
    divisor = counts[0] if both_ways else torch.ones_like(counts[0])
    _differentiate[(rows,)](*batch, divisor, rows, temperature, both_ways, _ROWS)
    return loss, counts, (pairs @ unit).div_(scale)


@triton.jit
def _others(i, start, group, segment, rows, BOTH_WAYS: tl.constexpr, ROWS: tl.constexpr):
    """Give a block of rows, which of them are contrasted with a row, and which positive."""
    j = start + tl.arange(0, ROWS)
    if BOTH_WAYS:
        own, other = tl.load(segment + i), tl.load(segment + j, mask=j < rows, other=-1)
        is_pair = (own + other == 1) & (own * other == 0)
    else:
        is_pair = (j < rows) & (j != i)
    is_alike = tl.load(group + j, mask=j < rows, other=0) == tl.load(group + i)
    return j, is_pair, is_pair & is_alike


@triton.jit
def _excess(log_sum, logits):
    """Give softplus and sigmoid of how far the logarithm of a sum is above some logits."""
    excess = log_sum - logits
    shrunk = tl.exp(-tl.abs(excess))
    softplus = tl.where(excess > 0, excess, 0.0) + tl.log(1.0 + shrunk)
    sigmoid = tl.where(excess > 0, 1.0, shrunk) / (1.0 + shrunk)
    is_nan = excess != excess
    return tl.where(is_nan, excess, softplus), tl.where(is_nan, excess, sigmoid)


@triton.jit(do_not_specialize=["rows"])
def _contrast(
    pairs,
    group,
    segment,
    log_sums,
    weights,
    of_rows,
    losses,
    rows,
    temperature,
    BOTH_WAYS: tl.constexpr,
    ROWS: tl.constexpr,
):
    """Contrast one row with others."""
    i = tl.program_id(0).to(tl.int64)
    pairs += i * rows
    highest = tl.full((), float("-inf"), tl.float32)
    highest_negative = tl.full((), float("-inf"), tl.float32)
    lowest_negative = tl.full((), float("inf"), tl.float32)
    has_nan = tl.zeros((), tl.int32)
    positives = tl.zeros((), tl.float32)
    count = tl.zeros((), tl.int64)
    for start in range(0, rows, ROWS):
        j, is_pair, is_positive = _others(i, start, group, segment, rows, BOTH_WAYS, ROWS)
        is_negative = is_pair & (is_positive == 0)
        is_summed = is_pair if BOTH_WAYS else is_negative
        logits = tl.load(pairs + j, mask=is_pair, other=float("-inf")) / temperature
        is_number = logits == logits
        has_nan |= tl.max((is_summed & (is_number == 0)).to(tl.int32))
        highest = tl.maximum(
            highest, tl.max(tl.where(is_summed & is_number, logits, float("-inf")))
        )
        highest_negative = tl.maximum(
            highest_negative, tl.max(tl.where(is_negative & is_number, logits, float("-inf")))
        )
        lowest_negative = tl.minimum(
            lowest_negative, tl.min(tl.where(is_negative & is_number, logits, float("inf")))
        )
        positives += tl.sum(tl.where(is_positive, logits, 0.0))
        count += tl.sum(is_positive.to(tl.int64))
    total = tl.zeros((), tl.float32)
    for start in range(0, rows, ROWS):
        j, is_pair, is_positive = _others(i, start, group, segment, rows, BOTH_WAYS, ROWS)
        is_summed = is_pair if BOTH_WAYS else is_pair & (is_positive == 0)
        logits = tl.load(pairs + j, mask=is_pair, other=0.0) / temperature
        total += tl.sum(tl.where(is_summed, tl.exp(logits - highest), 0.0))
    log_sum = tl.where(has_nan == 1, float("nan"), highest + tl.log(total))
    loss = tl.zeros((), tl.float32)
    weight = tl.zeros((), tl.float32)
    n_highest = tl.zeros((), tl.int64)
    n_level = tl.zeros((), tl.int64)
    for start in range(0, rows, ROWS):
        j, is_pair, is_positive = _others(i, start, group, segment, rows, BOTH_WAYS, ROWS)
        logits = tl.load(pairs + j, mask=is_pair, other=0.0) / temperature
        is_highest = is_positive & (logits >= highest_negative)
        n_highest += tl.sum(is_highest.to(tl.int64))
        n_level += tl.sum((is_highest & (logits <= lowest_negative)).to(tl.int64))
        softplus, sigmoid = _excess(log_sum, logits)
        loss += tl.sum(tl.where(is_positive, softplus, 0.0))
        weight += tl.sum(tl.where(is_positive, sigmoid, 0.0))
    if BOTH_WAYS:
        loss = tl.where(count > 0, count.to(tl.float32) * log_sum - positives, 0.0)
        weight = count.to(tl.float32)
    tl.store(log_sums + i, log_sum)
    tl.store(weights + i, weight)
    tl.store(losses + i, loss)
    tl.store(of_rows + i, count)
    tl.store(of_rows + rows + i, n_highest)
    tl.store(of_rows + 2 * rows + i, n_level)


@triton.jit(do_not_specialize=["rows"])
def _differentiate(
    pairs,
    group,
    segment,
    log_sums,
    weights,
    divisor,
    rows,
    temperature,
    BOTH_WAYS: tl.constexpr,
    ROWS: tl.constexpr,
):
    """Turn one row's similarities, products of units, into dlogits."""
    i = tl.program_id(0).to(tl.int64)
    factor = 1.0 / (tl.maximum(tl.load(divisor), 1).to(tl.float32) * temperature)
    own_sum, own_weight = tl.load(log_sums + i), tl.load(weights + i)
    for start in range(0, rows, ROWS):
        j, is_pair, is_positive = _others(i, start, group, segment, rows, BOTH_WAYS, ROWS)
        logits = tl.load(pairs + i * rows + j, mask=is_pair, other=0.0) / temperature
        sums = tl.load(log_sums + j, mask=is_pair, other=0.0)
        others = tl.load(weights + j, mask=is_pair, other=0.0)
        dlogits = own_weight * tl.exp(logits - own_sum) + others * tl.exp(logits - sums)
        if BOTH_WAYS:
            dlogits -= tl.where(is_positive, 2.0, 0.0)
        else:
            _, own = _excess(own_sum, logits)
            _, other = _excess(sums, logits)
            dlogits = tl.where(is_positive, -own - other, dlogits)
        dlogits *= factor
        tl.store(pairs + i * rows + j, tl.where(is_pair, dlogits, 0.0), mask=j < rows)
