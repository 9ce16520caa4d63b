"""Philox4x32-10 for Triton kernels, bit by bit as ``reference.py``.

Kernels that call these functions are launched with ``enable_fp_fusion=False``: a fused
multiply-add would change the last bit.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

_COUNTERS = 128


def random_numbers(counters: Tensor, seeds: Tensor, kind: int) -> Tensor:
    """Compute what :func:`fairseq_ecg.ops.philox.reference.random_numbers` does."""
    dtype = torch.long if kind == 0 else torch.float32
    numbers = torch.empty_like(counters, dtype=dtype)
    if len(counters) > 0:
        grid = (triton.cdiv(len(counters), _COUNTERS),)
        _convert[grid](
            counters, seeds, numbers, len(counters), kind, _COUNTERS, enable_fp_fusion=False
        )
    return numbers


@triton.jit
def sequence(origin, stream, lane):
    """Load from a row of origins what numbers of one lane have in common.

    Returns the 64-bit key and the counter's record, epoch and purpose.
    """
    seed = tl.load(origin)
    epoch = tl.load(origin + 1).to(tl.uint32)
    record = tl.load(origin + 2).to(tl.uint32)
    segment = tl.load(origin + 3).to(tl.uint32)
    return seed, record, epoch, (segment << 16) | (stream << 8) | lane


@triton.jit
def uniform(word):
    """Turn words into float32 numbers in [0, 1), multiples of 2**-24."""
    return (word >> 8).to(tl.float32) * 5.9604644775390625e-08


@triton.jit
def below(word, count):
    """Turn words into numbers from 0 to ``count - 1``."""
    return (word.to(tl.uint64) * count.to(tl.uint64)) >> 32


@triton.jit
def logarithm(value):
    """Natural logarithm of float32 numbers in (0, 1]."""
    shifted = value.to(tl.int32, bitcast=True) + 0x004AFB0D  # bits of 1 less those of sqrt(1/2)
    exponent = ((shifted >> 23) - 127).to(tl.float32)
    f = ((shifted & 0x7FFFFF) + 0x3F3504F3).to(tl.float32, bitcast=True) - 1.0
    square = f * f
    series = f * 7.0376836292e-2 + -1.1514610310e-1
    series = series * f + 1.1676998740e-1
    series = series * f + -1.2420140846e-1
    series = series * f + 1.4249322787e-1
    series = series * f + -1.6668057665e-1
    series = series * f + 2.0000714765e-1
    series = series * f + -2.4999993993e-1
    series = series * f + 3.3333331174e-1
    series = series * f * square
    series = series + exponent * -2.12194440e-4
    series = series + square * -0.5
    return f + series + exponent * 0.693359375


@triton.jit
def circle(turns):
    """Cosine and sine of so many turns of 2**-24, from 0 to 2**24."""
    turns = turns.to(tl.int32)
    quarter = (turns + 0x200000) >> 22
    return circle_of_quarters(quarter, (turns - (quarter << 22)).to(tl.float32) * 3.7450704e-7)


@triton.jit
def circle_of_quarters(quarter, x):
    """Cosine and sine of so many quarter turns and ``x`` radians more, at most pi / 4."""
    z = x * x
    sine = z * -1.9515295891e-4 + 8.3321608736e-3
    sine = sine * z + -1.6666654611e-1
    sine = sine * z * x + x
    cosine = z * 2.443315711809948e-5 + -1.388731625493765e-3
    cosine = cosine * z + 4.166664568298827e-2
    cosine = cosine * z * z + z * -0.5 + 1.0
    swapped = (quarter & 1) != 0
    near_cosine = tl.where(swapped, sine, cosine)
    near_sine = tl.where(swapped, cosine, sine)
    is_left = ((quarter + 1) & 2) != 0
    is_below = (quarter & 2) != 0
    return tl.where(is_left, -near_cosine, near_cosine), tl.where(is_below, -near_sine, near_sine)


@triton.jit
def normals(one, other):
    """Turn two words into two standard normal numbers (Box and Muller, 1958)."""
    u = ((one >> 8) + 1).to(tl.float32) * 5.9604644775390625e-08
    radius = tl.sqrt_rn(logarithm(u) * -2.0)
    cosine, sine = circle(other >> 8)
    return radius * cosine, radius * sine


@triton.jit(do_not_specialize=["rows"])
def _convert(counters, seeds, numbers, rows, KIND: tl.constexpr, COUNTERS: tl.constexpr):
    """Turn a block of counters into four numbers each."""
    row = tl.program_id(0).to(tl.int64) * COUNTERS + tl.arange(0, COUNTERS)
    present = row < rows
    x, y, z, w = tl.philox(
        tl.load(seeds + row, mask=present, other=0),
        tl.load(counters + 4 * row, mask=present, other=0).to(tl.uint32),
        tl.load(counters + 4 * row + 1, mask=present, other=0).to(tl.uint32),
        tl.load(counters + 4 * row + 2, mask=present, other=0).to(tl.uint32),
        tl.load(counters + 4 * row + 3, mask=present, other=0).to(tl.uint32),
    )
    if KIND == 0:
        x, y, z, w = x.to(tl.int64), y.to(tl.int64), z.to(tl.int64), w.to(tl.int64)
    elif KIND == 1:
        x, y, z, w = uniform(x), uniform(y), uniform(z), uniform(w)
    else:
        x, y = normals(x, y)
        z, w = normals(z, w)
    tl.store(numbers + 4 * row, x, mask=present)
    tl.store(numbers + 4 * row + 1, y, mask=present)
    tl.store(numbers + 4 * row + 2, z, mask=present)
    tl.store(numbers + 4 * row + 3, w, mask=present)
