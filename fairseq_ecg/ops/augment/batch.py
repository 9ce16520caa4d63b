"""Draws of a whole batch: small tensors on the host, from Philox or from recorded draws."""

import functools
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from fairseq_ecg.ops import backends, philox
from fairseq_ecg.ops.augment.augmentation import Augmentation
from fairseq_ecg.ops.augment.random_numbers import ROW_LANES, RandomNumbers
from fairseq_ecg.ops.augment.recipe import check_leads
from fairseq_ecg.ops.augment.table import (
    APPLIED,
    ITEMS,
    N_LEADS,
    N_WINDOW_COLUMNS,
    RATE,
    ROWS,
    START,
    VALID,
    Kind,
)

MOST_AUGMENTATIONS = 32
"""As many as a kernel's arguments hold."""


def describe(augmentations: Sequence[Augmentation]) -> list[int]:
    """Tell kernels what a recipe is and where its columns are.

    Returns:
        Four numbers for each augmentation: its kind; its first column; how many sinusoids or
        stretches it has, or which of the EMG noises it is; whether limb leads are adjusted.
    """
    recipe, column, n_emg_noises = [], N_WINDOW_COLUMNS, 0
    for augmentation in augmentations:
        is_emg_noise = augmentation.kind == Kind.EMG_NOISE
        count = n_emg_noises if is_emg_noise else augmentation.count
        dependency = getattr(augmentation, "dependency", False)
        recipe += [int(augmentation.kind), column, count, int(dependency)]
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
        starts: ``(B,)``, where in its recording the batch's window starts. Default: 0.
        valid: ``(B,)``, how many columns of the batch are samples; the others are left as they
            are. Default: what the recording has from its start.

    Returns:
        ``parameters`` (B, P) float64, ``origins`` and ``layouts``: plain tensors that travel
        with the batch, for `apply_batch`.

    Raises:
        ValueError: leads that an augmentation cannot serve, or too many augmentations.
    """
    _check(augmentations, layouts)
    lengths = lengths.double()
    starts = torch.zeros_like(lengths) if starts is None else starts.double()
    valid = lengths - starts if valid is None else valid.double()
    parameters = _new_table(augmentations, len(origins))
    parameters[:, RATE], parameters[:, START], parameters[:, VALID] = sample_rates, starts, valid

    n_rows = layouts.shape[1]
    backend = "cpu" if backends.missing("cpu") is None else "reference"
    sizes = [augmentation.n_blocks + n_rows for augmentation in augmentations]
    counters = _counters(origins, *_purposes(tuple(sizes), n_rows))
    seeds = origins[:, 0].repeat_interleave(sum(sizes))
    words = philox.random_numbers(counters.flatten(0, 1), seeds, "words", backend)
    words = words.view(counters.shape)
    uniforms = philox.reference.uniform(words).double()
    parts = zip(*(each.split(sizes, dim=1) for each in (counters, words, uniforms)), strict=True)
    for augmentation, first, part in zip(
        augmentations, describe(augmentations)[1::4], parts, strict=True
    ):
        of_part, words_of_part, uniforms_of_part = part
        numbers = RandomNumbers(
            of_part, origins[:, 0], words_of_part, uniforms_of_part, n_rows, lengths, backend
        )
        rows, items = augmentation.draw_batch(numbers)
        parameters[:, first + APPLIED] = augmentation.applies(uniforms_of_part[:, 0, 0])
        if rows is not None:
            parameters[:, first + ROWS : first + ROWS + n_rows] = rows
        if items is not None:
            parameters[:, first + ITEMS : first + ITEMS + augmentation.n_items] = items
    return {"parameters": parameters, "origins": origins, "layouts": layouts}


def pack_draws(
    augmentations: Sequence[Augmentation],
    draws: Sequence[Sequence[Any | None]],
    *,
    sample_rates: Tensor,
    layouts: Tensor,
) -> dict[str, Tensor]:
    """Make draws of single recordings, noise included, draws of a batch of them.

    Args:
        augmentations: in order of application.
        draws: of each recording what each augmentation's ``draw`` returned, for recordings of
            one length.
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
    for place, (augmentation, first) in enumerate(
        zip(augmentations, describe(augmentations)[1::4], strict=True)
    ):
        drawn = [of_recording[place] for of_recording in draws]
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
            noises = [None if one is None else torch.from_numpy(one.noise) for one in drawn]
            some = next((noise for noise in noises if noise is not None), torch.zeros(n_rows, 0))
            noises = [torch.zeros_like(some) if noise is None else noise for noise in noises]
            normals.append(torch.stack(noises))
    origins = torch.zeros(len(draws), 4, dtype=torch.long)
    packed = {"parameters": parameters, "origins": origins, "layouts": layouts}
    return packed | ({"normals": torch.stack(normals)} if normals else {})


def _check(augmentations: Sequence[Augmentation], layouts: Tensor) -> None:
    if len(augmentations) > MOST_AUGMENTATIONS:
        raise ValueError(f"{len(augmentations)} augmentations: at most {MOST_AUGMENTATIONS} go")
    for layout in set(map(tuple, layouts.tolist())):
        if len(set(layout)) < len(layout) or not set(layout) <= set(range(N_LEADS)):
            raise ValueError(f"{list(layout)} are not standard positions (0 to 11) of leads")
        check_leads(augmentations, layout)


def _new_table(augmentations: Sequence[Augmentation], n_recordings: int) -> Tensor:
    """Parameters with ones in the columns of rows: what nothing is drawn for changes nothing."""
    parameters = torch.zeros(n_recordings, n_columns(augmentations), dtype=torch.float64)
    for first in describe(augmentations)[1::4]:
        parameters[:, first + ROWS : first + ITEMS] = 1
    return parameters


@functools.cache
def _purposes(sizes: tuple[int, ...], n_rows: int) -> tuple[Tensor, Tensor]:
    """Positions // 4 and purposes (streams and lanes) of the blocks of a recipe, ``(N,)`` each."""
    blocks, purposes = [], []
    for place, size in enumerate(sizes):
        stream = philox.Stream.AUGMENTATION + place << 8
        of_recording = size - n_rows
        blocks += [*range(of_recording), *[0] * n_rows]
        purposes += [stream | philox.COMMON_LANE] * of_recording
        purposes += [stream | ROW_LANES + row for row in range(n_rows)]
    return torch.tensor(blocks, dtype=torch.long), torch.tensor(purposes, dtype=torch.long)


def _counters(origins: Tensor, blocks: Tensor, purposes: Tensor) -> Tensor:
    _, epochs, records, segments = origins.unsqueeze(-1).unbind(1)
    columns = torch.broadcast_tensors(blocks, records, epochs, segments << 16 | purposes)
    return torch.stack(columns, dim=-1)
