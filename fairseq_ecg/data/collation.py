"""Joining the ECGs of a batch: which may be joined, and how they come to one length."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
import torch
from torch import Tensor

from fairseq_ecg.errors import DataError

Columns: TypeAlias = Mapping[str, Sequence[Any] | np.ndarray | Tensor]
"""What is known of the segments of a batch, by key: a value for each, None where there is none."""


class BatchCheck:
    """Refuses segments of a batch that differ where they must not.

    Args:
        name: of the segment in each row of the batch, for messages.
    """

    def __init__(self, name: Callable[[int], str]):
        self._name = name

    def equal(self, counts: Sequence[int] | np.ndarray, what: str, remedy: str) -> None:
        """Raise DataError unless all counts are equal.

        Args:
            counts: of each segment.
            what: is counted.
            remedy: what to do; ends the message.
        """
        for row, count in enumerate(counts):
            if count != counts[0]:
                raise DataError(
                    f"{self._name(row)} has {count} {what}, but {self._name(0)} of the same batch "
                    f"has {counts[0]}. {remedy}"
                )

    def all_have(self, key: str, are_there: Sequence[bool]) -> None:
        """Raise DataError unless all segments have a variable, or none has it."""
        if any(are_there) and not all(are_there):
            other, holder = (self._name(are_there.index(value)) for value in (False, True))
            raise DataError(
                f"{other} has no {key!r}, but {holder} of the same batch has. "
                "All files of a data set must agree: prepare them again"
            )


def target_length(lengths: Sequence[int] | np.ndarray, *, pad: bool, max_length: int | None) -> int:
    """Length of a batch in samples.

    Args:
        lengths: of the ECGs in samples.
        pad: whether short ECGs are padded; otherwise long ones are cropped.
        max_length: upper limit in samples. None: no limit.

    Returns:
        The longest length if padding, else the shortest, up to the limit.
    """
    length = int(max(lengths) if pad else min(lengths))
    return length if max_length is None else min(length, max_length)


def collate_ecgs(
    ecgs: Sequence[Tensor] | Tensor,
    length: int,
    crop_start: Callable[[int, int], int],
    mask_padding: bool = True,
) -> tuple[Tensor, Tensor | None]:
    """Stack ECGs, cropping what is longer than ``length`` and padding what is shorter.

    Args:
        ecgs: each ``(L, T_i)``; a batch ``(B, L, length)`` float32 is taken as it is.
        length: of the batch in samples.
        crop_start: of the position in the batch and the surplus in samples, the first sample to
            take; asked only of ECGs that are longer than ``length``.
        mask_padding: whether the padding mask is wanted.

    Returns:
        ECGs ``(B, L, length)`` float32, zeros on the right of short ones, and the padding mask of
        the same shape, True where the zeros are, or None if it is not wanted.
    """
    shape = (len(ecgs), len(ecgs[0]), length)
    if isinstance(ecgs, Tensor) and ecgs.shape[-1] == length:
        return ecgs, torch.zeros((), dtype=torch.bool).expand(shape) if mask_padding else None
    padding_mask = torch.zeros(shape, dtype=torch.bool) if mask_padding else None
    batch = torch.zeros(shape, dtype=torch.float32)
    for position, ecg in enumerate(ecgs):
        surplus = ecg.shape[-1] - length
        start = crop_start(position, surplus) if surplus > 0 else 0
        n_taken = min(ecg.shape[-1], length)
        batch[position, :, :n_taken] = ecg[:, start : start + n_taken]
        if padding_mask is not None:
            padding_mask[position, :, n_taken:] = True
    return batch, padding_mask
