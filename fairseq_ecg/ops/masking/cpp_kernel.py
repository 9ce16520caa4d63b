"""Masks in C++: many rows at once, from the streams that NumPy has, bit by bit."""

from collections.abc import Sequence

import torch
from torch import Tensor

from fairseq_ecg.ops.masking.reference import SpanMasking
from fairseq_ecg.ops.masking.streams import Streams


def serves(masking: SpanMasking) -> bool:
    """Whether the kernel knows how to draw such spans."""
    return (
        masking.mask_type == "static"
        and not masking.no_overlap
        and masking.mask_length > 0
        and masking.mask_prob >= 0
        and masking.min_masks >= 0
    )


def draw_masked(
    valid: Sequence[Sequence[int]],
    maskings: Sequence[SpanMasking],
    streams: Streams,
    numbers: Sequence[int | None],
) -> list[Tensor]:
    """Draw the masks of several axes, one after another from the stream of each row.

    Args:
        valid: of each axis, the positions of each row that may be masked.
        maskings: of each axis.
        streams: of the rows, at their beginning.
        numbers: of each axis, as in :func:`fairseq_ecg.ops.masking.reference.draw_masked`.

    Returns:
        Of each axis what that function returns.
    """
    return torch.ops.fairseq_ecg_c.draw_masked(
        torch.from_numpy(streams.keys),
        [torch.tensor(positions) for positions in valid],
        [masking.mask_prob for masking in maskings],
        [masking.mask_length for masking in maskings],
        [masking.min_masks for masking in maskings],
        [-1 if number is None else number for number in numbers],
    )
