"""The patient contrastive loss in Triton: all but norms and the two products, which are torch's.

Nothing is compiled for a number of rows: kernels loop over blocks of them.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

_ROWS = 64


def cmsc_loss(
    features: Tensor,
    patient_id: Tensor,
    segment: Tensor,
    temperature: float,
    eps: float,
    gradient: bool,
) -> tuple[Tensor, Tensor]:
    """Compute what :func:`fairseq_ecg.ops.cmsc.torch_kernel.cmsc_loss` does."""
    rows = features.shape[0]
    scale = torch.linalg.vector_norm(features, dim=1, keepdim=True).clamp(min=eps)
    unit = features / scale
    pairs = unit @ unit.T
    log_sums, losses = features.new_empty(rows), features.new_empty(rows)
    n_positive = torch.empty_like(segment)
    batch = pairs, patient_id, segment, log_sums, n_positive
    _contrast[(rows,)](*batch, losses, rows, temperature, _ROWS)
    count = n_positive.sum()  # every pair from both of its sides
    loss = losses.sum() / count
    if not gradient:
        return loss, features.new_empty(0)
    _differentiate[(rows,)](*batch, count, rows, temperature, _ROWS)
    return loss, (pairs @ unit).div_(scale)


@triton.jit
def _others(i, start, patient_id, segment, rows, ROWS: tl.constexpr):
    """Give a block of rows, which of them are of the other segment, and which positive."""
    j = start + tl.arange(0, ROWS)
    own, other = tl.load(segment + i), tl.load(segment + j, mask=j < rows, other=-1)
    is_opposite = (own + other == 1) & (own * other == 0)
    is_alike = tl.load(patient_id + j, mask=j < rows, other=0) == tl.load(patient_id + i)
    return j, is_opposite, is_opposite & is_alike


@triton.jit(do_not_specialize=["rows"])
def _contrast(
    pairs,
    patient_id,
    segment,
    log_sums,
    n_positive,
    losses,
    rows,
    temperature,
    ROWS: tl.constexpr,
):
    """Contrast one row with those of the other segment."""
    i = tl.program_id(0).to(tl.int64)
    pairs += i * rows
    highest = tl.full((), float("-inf"), tl.float32)
    has_nan = tl.zeros((), tl.int32)
    positives = tl.zeros((), tl.float32)
    count = tl.zeros((), tl.int64)
    for start in range(0, rows, ROWS):
        j, is_opposite, is_positive = _others(i, start, patient_id, segment, rows, ROWS)
        logits = tl.load(pairs + j, mask=is_opposite, other=float("-inf")) / temperature
        has_nan |= tl.max((logits != logits).to(tl.int32))
        highest = tl.maximum(highest, tl.max(tl.where(logits != logits, float("-inf"), logits)))
        positives += tl.sum(tl.where(is_positive, logits, 0.0))
        count += tl.sum(is_positive.to(tl.int64))
    total = tl.zeros((), tl.float32)
    for start in range(0, rows, ROWS):
        j, is_opposite, _ = _others(i, start, patient_id, segment, rows, ROWS)
        logits = tl.load(pairs + j, mask=is_opposite, other=0.0) / temperature
        total += tl.sum(tl.where(is_opposite, tl.exp(logits - highest), 0.0))
    log_sum = tl.where(has_nan == 1, float("nan"), highest + tl.log(total))
    tl.store(log_sums + i, log_sum)
    tl.store(n_positive + i, count)
    tl.store(losses + i, tl.where(count > 0, count.to(tl.float32) * log_sum - positives, 0.0))


@triton.jit(do_not_specialize=["rows"])
def _differentiate(
    pairs,
    patient_id,
    segment,
    log_sums,
    n_positive,
    count,
    rows,
    temperature,
    ROWS: tl.constexpr,
):
    """Turn one row's similarities, products of units, into dlogits."""
    i = tl.program_id(0).to(tl.int64)
    factor = 1.0 / (tl.maximum(tl.load(count), 1).to(tl.float32) * temperature)
    own_sum, own_count = tl.load(log_sums + i), tl.load(n_positive + i).to(tl.float32)
    for start in range(0, rows, ROWS):
        j, is_opposite, is_positive = _others(i, start, patient_id, segment, rows, ROWS)
        logits = tl.load(pairs + i * rows + j, mask=is_opposite, other=0.0) / temperature
        sums = tl.load(log_sums + j, mask=is_opposite, other=0.0)
        counts = tl.load(n_positive + j, mask=is_opposite, other=0).to(tl.float32)
        dlogits = own_count * tl.exp(logits - own_sum) + counts * tl.exp(logits - sums)
        dlogits = (dlogits - tl.where(is_positive, 2.0, 0.0)) * factor
        tl.store(pairs + i * rows + j, tl.where(is_opposite, dlogits, 0.0), mask=j < rows)
