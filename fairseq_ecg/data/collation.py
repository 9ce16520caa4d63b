"""Joining the ECGs of a batch: which may be joined, and how they come to one length."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
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
        self.name = name

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
                    f"{self.name(row)} has {count} {what}, but {self.name(0)} of the same batch "
                    f"has {counts[0]}. {remedy}"
                )

    def all_have(self, key: str, are_there: Sequence[bool]) -> None:
        """Raise DataError unless all segments have a variable, or none has it."""
        if any(are_there) and not all(are_there):
            other, holder = (self.name(are_there.index(value)) for value in (False, True))
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


@dataclass(frozen=True, eq=False)
class Crop:
    """How the signals of a batch come to one length: long ones are cropped, short ones padded.

    Args:
        length: of the batch in samples.
        lengths: ``(B,)`` of the signals in samples.
        starts: ``(B,)`` first sample that is taken of each.
    """

    length: int
    lengths: np.ndarray
    starts: np.ndarray

    @classmethod
    def drawn(
        cls, lengths: np.ndarray, length: int, crop_start: Callable[[int, int], int]
    ) -> "Crop":
        """Draw where signals are cropped.

        Args:
            lengths: ``(B,)`` of the signals in samples.
            length: of the batch in samples.
            crop_start: of the position in the batch and the surplus in samples, the first sample
                to take; asked only of signals that are longer than ``length``.
        """
        starts = np.zeros(len(lengths), np.int64)
        for row in np.flatnonzero(lengths > length).tolist():
            starts[row] = crop_start(row, int(lengths[row]) - length)
        return cls(length, lengths, starts)

    @property
    def valid(self) -> np.ndarray:
        """Samples of each signal that are in the batch, ``(B,)``; what follows is padding."""
        return np.minimum(self.lengths, self.length)

    def join(
        self, signals: Sequence[Tensor] | Tensor, dtype: torch.dtype, padding: float = 0
    ) -> Tensor:
        """Stack signals.

        Args:
            signals: each ``(..., T_i)``; a batch ``(B, ..., length)`` is taken as it is.
            dtype: of the batch.
            padding: value on the right of short ones.

        Returns:
            ``(B, ..., length)``.
        """
        if isinstance(signals, Tensor) and signals.shape[-1] == self.length:
            return signals.to(dtype)
        batch = torch.full(
            (len(signals), *signals[0].shape[:-1], self.length), padding, dtype=dtype
        )
        pieces = zip(batch, signals, self.starts.tolist(), self.valid.tolist(), strict=True)
        for row, signal, start, n_taken in pieces:
            row[..., :n_taken] = signal[..., start : start + n_taken]
        return batch

    def padding_mask(self) -> Tensor:
        """Return where padding is, ``(B, length)`` bool."""
        if (self.lengths >= self.length).all():
            return torch.zeros((), dtype=torch.bool).expand(len(self.lengths), self.length)
        return torch.arange(self.length) >= torch.from_numpy(self.valid).unsqueeze(1)
