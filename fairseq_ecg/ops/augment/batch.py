"""Draws of a whole batch: small tensors on the host, from Philox or from recorded draws."""

import functools
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from fairseq_ecg.ops import backends, philox
from fairseq_ecg.ops.augment.augmentation import Augmentation
from fairseq_ecg.ops.augment.random_numbers import ROWS_BLOCKS, ROWS_LANE, Normals, RandomNumbers
from fairseq_ecg.ops.augment.recipe import check_leads
from fairseq_ecg.ops.augment.table import (
    APPLIED,
    ITEMS,
    N_LEADS,
    N_WINDOW_COLUMNS,
    RATE,
    ROWS,
    VALID,
    Kind,
)

MOST_AUGMENTATIONS = 32
"""As many as a kernel's arguments hold."""


def describe(augmentations: Sequence[Augmentation]) -> list[int]:
    """Describe to kernels what a recipe is and where its columns are.

    Returns:
        Four numbers for each augmentation: its kind; its first column; how many sinusoids or
        intervals it has, or which of the EMG noises it is; whether limb leads are adjusted.
    """
    recipe, column, n_emg_noises = [], N_WINDOW_COLUMNS, 0
    for augmentation in augmentations:
        is_emg_noise = augmentation.kind == Kind.EMG_NOISE
        count = n_emg_noises if is_emg_noise else augmentation.count
        recipe += [int(augmentation.kind), column, count, int(augmentation.adjusts_limb_leads)]
        column += ITEMS + augmentation.n_items
        n_emg_noises += is_emg_noise
    return recipe


def n_columns(augmentations: Sequence[Augmentation]) -> int:
    """Columns of the draws of a recipe."""
    items = sum(ITEMS + augmentation.n_items for augmentation in augmentations)
    return N_WINDOW_COLUMNS + items


def draw_batch(
    augmentations: Sequence[Augmentation],
    origins: Tensor,
    *,
    sample_rates: Tensor,
    lengths: Tensor,
    layouts: Tensor,
    starts: Tensor | None = None,
    valid: Tensor | None = None,
) -> dict[str, Tensor]:
    """Draw everything random about the augmentation of a batch but the noise at every sample.

    What is drawn for a recording depends on its origin, the recipe, its length and nothing else.
    All tensors are on the CPU.

    Args:
        augmentations: in order of application.
        origins: ``(B, 4)`` int64, see :func:`fairseq_ecg.ops.philox.origin`.
        sample_rates: ``(B,)`` in Hz.
        lengths: ``(B,)``, of the whole recordings in samples.
        layouts: ``(B, L)`` int64, the standard position (0 to 11) of the lead in each row.
        starts: ``(B,)``, where in its recording the batch's window starts, at least 0. Default: 0.
        valid: ``(B,)``, how many columns of the batch are samples; the others are left as they
            are. Default: what the recording has from its start.

    Returns:
        ``parameters`` (B, P) float64, ``origins`` and ``layouts``: plain tensors that travel
        with the batch, for `apply_batch`.

    Raises:
        ValueError: leads that an augmentation cannot serve, or too many augmentations.
    """
    _check(augmentations, layouts)
    n_rows = layouts.shape[1]
    lengths = lengths.double()
    starts = torch.zeros_like(lengths) if starts is None else starts.double()
    valid = lengths - starts if valid is None else valid.double()
    columns = [torch.stack([sample_rates.double(), starts, valid], dim=1)]
    ones = torch.ones((), dtype=torch.float64).expand(len(origins), N_LEADS)
    for augmentation, numbers in zip(
        augmentations, _numbers(augmentations, origins, lengths, n_rows), strict=True
    ):
        rows, items = augmentation.draw_batch(numbers)
        columns.append(augmentation.applies(numbers.of_recording[:, :1]).double())
        columns += [ones] if rows is None else [rows, ones[:, n_rows:]]
        columns += [] if items is None else [items]
    parameters = torch.cat(columns, dim=1)
    return {"parameters": parameters, "origins": origins, "layouts": layouts}


def pack_draws(
    augmentations: Sequence[Augmentation],
    draws: Sequence[Sequence[Any | None]],
    *,
    n_samples: int,
    sample_rates: Tensor,
    layouts: Tensor,
) -> dict[str, Tensor]:
    """Make draws of single recordings, noise included, draws of a batch of them.

    Args:
        augmentations: in order of application.
        draws: of each recording what each augmentation's ``draw`` returned.
        n_samples: length of the recordings, T.
        sample_rates: ``(B,)`` in Hz.
        layouts: ``(B, L)`` int64, the standard position (0 to 11) of the lead in each row.

    Returns:
        What `draw_batch` returns, and ``normals`` (n, B, L, T) float64, the noise of each of the
        recipe's n EMG noises, if there are any.

    Raises:
        ValueError: leads that an augmentation cannot serve, or too many augmentations.
    """
    _check(augmentations, layouts)
    n_rows = layouts.shape[1]
    parameters = _new_table(augmentations, len(draws))
    parameters[:, RATE], parameters[:, VALID] = sample_rates, torch.inf
    normals = []
    for index, (augmentation, first) in enumerate(
        zip(augmentations, describe(augmentations)[1::4], strict=True)
    ):
        drawn = [of_recording[index] for of_recording in draws]
        for row, one in enumerate(drawn):
            if one is None:
                continue
            rows, items = augmentation.batch_columns(one)
            parameters[row, first + APPLIED] = 1
            if rows is not None:
                parameters[row, first + ROWS : first + ROWS + n_rows] = torch.from_numpy(rows)
            if len(items) > 0:
                columns = slice(first + ITEMS, first + ITEMS + len(items))
                parameters[row, columns] = torch.tensor(items, dtype=torch.float64)
        if augmentation.kind == Kind.EMG_NOISE:
            nothing = torch.zeros(n_rows, n_samples, dtype=torch.float64)
            noises = [nothing if one is None else torch.from_numpy(one.noise) for one in drawn]
            normals.append(torch.stack(noises))
    origins = torch.zeros(len(draws), 4, dtype=torch.long)
    packed = {"parameters": parameters, "origins": origins, "layouts": layouts}
    return packed | ({"normals": torch.stack(normals)} if normals else {})


def _check(augmentations: Sequence[Augmentation], layouts: Tensor) -> None:
    if len(augmentations) > MOST_AUGMENTATIONS:
        raise ValueError(f"{len(augmentations)} augmentations: at most {MOST_AUGMENTATIONS} go")
    all_equal = bool((layouts == layouts[:1]).all())
    for layout in set(map(tuple, layouts[: 1 if all_equal else None].tolist())):
        if len(set(layout)) < len(layout) or not set(layout) <= set(range(N_LEADS)):
            raise ValueError(f"{list(layout)} are not standard positions (0 to 11) of leads")
        check_leads(augmentations, layout)


def _new_table(augmentations: Sequence[Augmentation], n_recordings: int) -> Tensor:
    """Parameters before anything is drawn: zeros, but ones for rows."""
    parameters = torch.zeros(n_recordings, n_columns(augmentations), dtype=torch.float64)
    for first in describe(augmentations)[1::4]:
        parameters[:, first + ROWS : first + ITEMS] = 1
    return parameters


def _numbers(
    augmentations: Sequence[Augmentation], origins: Tensor, lengths: Tensor, n_rows: int
) -> Iterator[RandomNumbers]:
    """Draw the random numbers of each augmentation, all at once: operations cost, not numbers."""
    numbers_of = tuple((each.n_blocks, each.normals) for each in augmentations)
    blocks, purposes, with_normals = _counters(numbers_of)
    seeds, epochs, records, segments = origins.unsqueeze(-1).unbind(1)
    purposes = segments << 16 | purposes
    counters = torch.stack(torch.broadcast_tensors(blocks, records, epochs, purposes), dim=-1)
    uniforms = _draw(counters, seeds, "uniforms")
    normals = _draw(counters[:, with_normals], seeds, "normals")
    first, first_normal = 0, 0
    for n_blocks, kind in numbers_of:
        first_of_rows = first + 4 * n_blocks
        if kind == Normals.OF_RECORDING:
            own_normals = normals[:, first_normal::4][:, : n_blocks - 1]
        else:
            own_normals = normals[:, first_normal : first_normal + n_rows]
        yield RandomNumbers(
            uniforms[:, first:first_of_rows],
            uniforms[:, first_of_rows : first_of_rows + n_rows],
            own_normals,
            lengths,
        )
        first = first_of_rows + 4 * ROWS_BLOCKS
        first_normal += 4 * _n_normal_blocks(kind, n_blocks)


def _draw(counters: Tensor, seeds: Tensor, kind: str) -> Tensor:
    """Four numbers of each counter (B, N, 4), in float64, as ``(B, 4 * N)``."""
    shape = (len(counters), 4 * counters.shape[1])
    backend = "reference" if backends.missing("cpu") else "cpu"
    seeds = seeds.expand(counters.shape[:2]).flatten().contiguous()
    counters = counters.flatten(0, 1).contiguous()
    run = backends.implementation("philox", backend).random_numbers
    drawn = run(counters, seeds, philox.reference.KINDS.index(kind))
    return drawn.view(shape).double()


@functools.cache
def _counters(numbers_of: tuple[tuple[int, Normals], ...]) -> tuple[Tensor, Tensor, Tensor]:
    """Lay out the blocks of a recipe: a recording's, then its rows', of one augmentation each.

    Returns:
        Position // 4 and purpose (stream and lane) of each, and the indices of those that normal
        numbers are made of.
    """
    blocks, purposes, with_normals = [], [], []
    for index, (n_blocks, normals) in enumerate(numbers_of):
        stop = len(blocks) + n_blocks + (ROWS_BLOCKS if normals == Normals.OF_ROWS else 0)
        with_normals += range(stop - _n_normal_blocks(normals, n_blocks), stop)
        stream = philox.Stream.AUGMENTATION + index << 8
        blocks += [*range(n_blocks), *range(ROWS_BLOCKS)]
        purposes += [stream | philox.COMMON_LANE] * n_blocks + [stream | ROWS_LANE] * ROWS_BLOCKS
    columns = (blocks, purposes, with_normals)
    return tuple(torch.tensor(column, dtype=torch.long) for column in columns)


def _n_normal_blocks(normals: Normals, n_blocks: int) -> int:
    return {Normals.NONE: 0, Normals.OF_RECORDING: n_blocks - 1, Normals.OF_ROWS: ROWS_BLOCKS}[
        normals
    ]
