"""Augmentation of a batch by the definition: one augmentation after the other, in float64.

The arithmetic is that of fairseq_signals, so that its draws give its numbers; only they are drawn
for a batch at once.
"""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from fairseq_ecg.ops import philox
from fairseq_ecg.ops.augment.limb_leads import AVF, II, III, INDEPENDENT_LEADS, I, derived_from
from fairseq_ecg.ops.augment.table import (
    APPLIED,
    ITEMS,
    N_LEADS,
    RATE,
    ROWS,
    START,
    VALID,
    Kind,
)
from fairseq_ecg.ops.augment.vectorcardiogram_view import view


def augment(
    ecgs: Tensor,
    parameters: Tensor,
    origins: Tensor,
    layouts: Tensor,
    normals: Tensor | None,
    recipe: Sequence[int],
) -> Tensor:
    """Apply a recipe.

    Args:
        ecgs: ``(B, L, T)`` float32.
        parameters: ``(B, P)`` float64, see ``table.py``.
        origins: ``(B, 4)`` int64, where random numbers start.
        layouts: ``(B, L)`` int64, the standard position of the lead in each row.
        normals: ``(n, B, L, T)``, what the n EMG noises are made of. None: it is drawn.
        recipe: see :func:`fairseq_ecg.ops.augment.batch.describe`.

    Returns:
        ``(B, L, T)`` float32.
    """
    n_rows, n_samples = ecgs.shape[1:]
    columns = torch.arange(n_samples, device=ecgs.device, dtype=torch.float64)
    t = columns + parameters[:, START, None]
    is_sample = (columns < parameters[:, VALID, None]).unsqueeze(1)
    for index in range(len(recipe) // 4):
        kind, first, count, dependency = recipe[4 * index : 4 * index + 4]
        gain = parameters[:, first + ROWS : first + ROWS + n_rows].unsqueeze(-1)
        items = parameters[:, first + ITEMS :]
        if kind == Kind.LEADS_MASK:
            result = torch.where(gain > 0, ecgs, 0)
        elif kind == Kind.VECTORCARDIOGRAM_VIEW:
            result = _view(ecgs, gain, items, t)
        else:
            if kind == Kind.EMG_NOISE:
                noise = _normals(index, t, origins, n_rows) if normals is None else normals[count]
                noise = noise.double() * gain
            elif kind == Kind.BASELINE_SHIFT:
                noise = _shifted(items, t, count) * gain
            else:
                noise = _sinusoids(items, t, parameters[:, RATE, None], count) * gain
            if kind == Kind.BASELINE_WANDER:
                noise = noise.float()
            result = ecgs + noise
            if dependency:
                result = _adjust_limb_leads(result, layouts)
        is_applied = parameters[:, first + APPLIED, None, None] > 0
        ecgs = torch.where(is_applied & is_sample, result.float(), ecgs)
    return ecgs


def _sinusoids(items: Tensor, t: Tensor, sample_rate: Tensor, count: int) -> Tensor:
    """Sum of sinusoids, ``(B, 1, T)``."""
    total = torch.zeros_like(t)
    for j in range(count):
        amplitude, frequency, phase = items[:, 3 * j : 3 * j + 3].unsqueeze(-1).unbind(1)
        angle = 2 * np.pi * frequency * t / sample_rate + phase
        total = total + amplitude * angle.cos()
    return total.unsqueeze(1)


def _shifted(items: Tensor, t: Tensor, count: int) -> Tensor:
    """One within the union of the intervals, zero elsewhere, ``(B, 1, T)``."""
    starts, stops = items[:, : 2 * count].unflatten(1, (count, 2)).unsqueeze(-1).unbind(2)
    is_shifted = ((t.unsqueeze(1) >= starts) & (t.unsqueeze(1) < stops)).any(dim=1, keepdim=True)
    return is_shifted.double()


def _normals(index: int, t: Tensor, origins: Tensor, n_rows: int) -> Tensor:
    """Normal numbers at positions of recordings, in the lanes of the rows, ``(B, L, T)``."""
    position = t.long().unsqueeze(1)
    seeds, epochs, records, segments = origins.view(-1, 4, 1, 1).unbind(1)
    lanes = torch.arange(n_rows, device=t.device).unsqueeze(1)
    purposes = segments << 16 | (philox.Stream.AUGMENTATION + index) << 8 | lanes
    counters = torch.broadcast_tensors(position // 4, records, epochs, purposes)
    drawn = philox.reference.normal(philox.reference.words(torch.stack(counters, -1), seeds))
    return drawn.gather(-1, (position % 4).expand(drawn.shape[:-1]).unsqueeze(-1)).squeeze(-1)


def _view(ecgs: Tensor, starts: Tensor, items: Tensor, t: Tensor) -> Tensor:
    span, n_samples = items[:, :2].unsqueeze(-1).unsqueeze(-1).unbind(1)
    shape = (N_LEADS, len(INDEPENDENT_LEADS))
    matrices = items[:, 2 : 2 + shape[0] * shape[1]].unflatten(1, shape)
    return view(ecgs, matrices, starts, span, n_samples, t.unsqueeze(1))


def _adjust_limb_leads(ecgs: Tensor, layouts: Tensor) -> Tensor:
    """Recompute the derived limb leads from I and II, wherever their rows are."""
    rows, leads = zip(*((_row_of(lead, layouts), lead) for lead in (I, II)), strict=True)
    has_both = torch.stack([(layouts == lead).any(dim=1) for lead in leads]).all(dim=0)
    lead_i, lead_ii = (
        ecgs.gather(1, row.view(-1, 1, 1).expand(-1, 1, ecgs.shape[2])) for row in rows
    )
    derived = torch.cat(derived_from(lead_i, lead_ii), dim=1)
    which = (layouts - III).clamp(0, AVF - III).unsqueeze(-1).expand(ecgs.shape)
    is_derived = (layouts >= III) & (layouts <= AVF) & has_both.unsqueeze(1)
    return torch.where(is_derived.unsqueeze(-1), derived.gather(1, which), ecgs)


def _row_of(lead: int, layouts: Tensor) -> Tensor:
    return (layouts == lead).byte().argmax(dim=1)
