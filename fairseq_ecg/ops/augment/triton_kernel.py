"""Augmentation of a batch in Triton: one program for a block of samples of all leads of a row.

A kernel is compiled for each recipe, which a run has but one of, and for nothing else.
"""

from collections.abc import Sequence

import torch
import triton
import triton.language as tl
from torch import Tensor

from fairseq_ecg.ops.philox.triton_kernel import circle_of_quarters, sequence
from fairseq_ecg.ops.philox.triton_kernel import normals as normals_of_words

_ROWS = 16  # leads, rounded up
_SAMPLES = 128


def augment(
    ecgs: Tensor,
    parameters: Tensor,
    origins: Tensor,
    layouts: Tensor,
    normals: Tensor | None,
    recipe: Sequence[int],
) -> Tensor:
    """Compute what :func:`fairseq_ecg.ops.augment.reference.augment` does, in float32."""
    augmented = torch.empty_like(ecgs)
    if ecgs.numel() > 0:
        n_recordings, n_leads, n_samples = ecgs.shape
        # A window may start within a block of four positions.
        grid = (n_recordings, triton.cdiv(n_samples + 3, _SAMPLES))
        _augment_block[grid](
            ecgs,
            parameters,
            origins,
            layouts,
            ecgs if normals is None else normals,
            augmented,
            n_recordings,
            n_leads,
            n_samples,
            parameters.shape[1],
            tuple(recipe),
            normals is not None,
            _ROWS,
            _SAMPLES,
            num_warps=8,
            enable_fp_fusion=False,
        )
    return augmented


@triton.jit(do_not_specialize=["n_recordings", "n_leads", "n_samples", "n_columns"])
def _augment_block(
    ecgs,
    parameters,
    origins,
    layouts,
    normals,
    augmented,
    n_recordings,
    n_leads,
    n_samples,
    n_columns,
    RECIPE: tl.constexpr,
    HAS_NORMALS: tl.constexpr,
    ROWS: tl.constexpr,
    SAMPLES: tl.constexpr,
):
    """Apply the recipe to a block of samples."""
    recording = tl.program_id(0).to(tl.int64)
    parameters += recording * n_columns
    start = tl.load(parameters + 1).to(tl.int64)
    first = start // 4 * 4 + tl.program_id(1) * SAMPLES
    position = first + tl.arange(0, SAMPLES)
    column = position - start
    row = tl.arange(0, ROWS)
    is_row = row < n_leads
    lead = tl.load(layouts + recording * n_leads + row, mask=is_row, other=-1)
    line = (recording * n_leads + row) * n_samples
    offsets = line[:, None] + column[None, :]
    present = is_row[:, None] & ((column >= 0) & (column < n_samples))[None, :]
    x = tl.load(ecgs + offsets, mask=present, other=0.0)

    n_numbers = n_recordings.to(tl.int64) * n_leads * n_samples
    for index in tl.static_range(len(RECIPE) // 4):
        own = parameters + RECIPE[4 * index + 1]
        if tl.load(own) > 0:
            x = _apply(
                x,
                own,
                tl.load(parameters),
                origins + 4 * recording,
                normals,
                n_numbers,
                offsets,
                present,
                lead,
                is_row,
                position,
                first,
                index,
                RECIPE[4 * index],
                RECIPE[4 * index + 2],
                RECIPE[4 * index + 3],
                HAS_NORMALS,
            )

    is_sample = present & (column.to(tl.float64) < tl.load(parameters + 2))[None, :]
    tl.store(augmented + offsets, x, mask=is_sample)
    is_padding = present & (is_sample == 0)
    padding = tl.load(ecgs + offsets, mask=is_padding, other=0.0)
    tl.store(augmented + offsets, padding, mask=is_padding)


@triton.jit
def _apply(
    x,
    own,
    rate,
    origin,
    normals,
    n_numbers,
    offsets,
    present,
    lead,
    is_row,
    position,
    first,
    index: tl.constexpr,
    KIND: tl.constexpr,
    COUNT: tl.constexpr,
    ADJUSTS: tl.constexpr,
    HAS_NORMALS: tl.constexpr,
):
    """Apply one augmentation, whose parameters begin at ``own``."""
    of_row = tl.load(own + 1 + tl.arange(0, x.shape[0]), mask=is_row, other=0.0)
    gain = of_row.to(tl.float32)[:, None]
    items = own + 13
    if KIND == 4:
        x = tl.where(gain > 0, x, 0.0)
    elif KIND == 5:
        x = _view(x, items, of_row, lead, position, is_row)
    elif KIND == 1:
        if HAS_NORMALS:
            noise = tl.load(normals + COUNT * n_numbers + offsets, mask=present, other=0.0)
        else:
            noise = _noise(origin, index, first, x.shape[0], x.shape[1])
        x = x + noise * gain
    elif KIND == 2:
        x = x + _shifted(items, position, COUNT)[None, :] * gain
    else:
        x = x + _sinusoids(items, position, rate, COUNT)[None, :] * gain
    if ADJUSTS:
        x = _adjust_limb_leads(x, lead)
    return x


@triton.jit
def _noise(origin, index, first, ROWS: tl.constexpr, SAMPLES: tl.constexpr):
    """Draw normal numbers at positions from ``first``, in the lanes of the rows."""
    nothing = tl.zeros((ROWS, SAMPLES // 4), tl.uint32)
    lane = tl.arange(0, ROWS).to(tl.uint32)[:, None]
    seed, record, epoch, purpose = sequence(origin, 16 + index, lane)
    block = (first // 4 + tl.arange(0, SAMPLES // 4)).to(tl.uint32)[None, :]
    a, b, c, d = tl.philox(
        seed, nothing + block, nothing + record, nothing + epoch, nothing + purpose
    )
    a, b = normals_of_words(a, b)
    c, d = normals_of_words(c, d)
    return tl.interleave(tl.interleave(a, c), tl.interleave(b, d))


@triton.jit
def _sinusoids(items, position, rate, COUNT: tl.constexpr):
    """Sum sinusoids; angles are reduced to an eighth turn in double precision."""
    total = tl.zeros(position.shape, tl.float32)
    for k in tl.static_range(COUNT):
        amplitude = tl.load(items + 3 * k).to(tl.float32)
        quarters = tl.load(items + 3 * k + 1) * (4.0 / rate)
        phase = tl.load(items + 3 * k + 2) * 0.63661977236758134
        angle = position.to(tl.float64) * quarters + phase
        # Adding 1.5 * 2**52 leaves the rounded number in the lowest bits.
        shifted = angle + 6755399441055744.0
        rest = (angle - (shifted - 6755399441055744.0)) * 1.5707963267948966
        quarter = shifted.to(tl.int64, bitcast=True).to(tl.int32)
        cosine, _ = circle_of_quarters(quarter, rest.to(tl.float32))
        total += amplitude * cosine
    return total


@triton.jit
def _shifted(items, position, COUNT: tl.constexpr):
    """One within the union of the intervals, zero elsewhere."""
    t = position.to(tl.float64)
    is_shifted = t != t
    for k in tl.static_range(COUNT):
        is_shifted |= (t >= tl.load(items + 2 * k)) & (t < tl.load(items + 2 * k + 1))
    return is_shifted.to(tl.float32)


@triton.jit
def _view(x, items, starts, lead, position, is_row):
    """Turn and scale the vectorcardiogram, and make an interval of each lead zero."""
    total = tl.zeros(x.shape, tl.float32)
    for k in tl.static_range(8):
        independent = k if k < 2 else k + 4
        source = tl.sum(tl.where((lead == independent)[:, None], x, 0.0), axis=0)
        factor = tl.load(items + 2 + lead * 8 + k, mask=is_row, other=0.0).to(tl.float32)
        total += factor[:, None] * source[None, :]
    distance = position.to(tl.float64)[None, :] - starts[:, None]
    distance = tl.where(distance < 0, distance + tl.load(items + 1), distance)
    return tl.where(distance < tl.load(items), 0.0, total)


@triton.jit
def _adjust_limb_leads(x, lead):
    """Recompute III, aVR, aVL and aVF from I and II, if both are there."""
    one = tl.sum(tl.where((lead == 0)[:, None], x, 0.0), axis=0)
    two = tl.sum(tl.where((lead == 1)[:, None], x, 0.0), axis=0)
    has_both = tl.sum(((lead == 0) | (lead == 1)).to(tl.int32)) == 2
    of_one = tl.where(lead == 4, 1.0, tl.where(lead == 2, -1.0, -0.5))
    of_two = tl.where((lead == 2) | (lead == 5), 1.0, -0.5)
    derived = one[None, :] * of_one[:, None] + two[None, :] * of_two[:, None]
    is_derived = (lead >= 2) & (lead <= 5) & has_both
    return tl.where(is_derived[:, None], derived, x)
