"""What all sources share: the items of a split, and what is read of their segments."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from torch import Tensor

from fairseq_ecg.data.recording import Recording


@dataclass(frozen=True)
class Variables:
    """Variables of segments, beside the ECG, that a view and a target use.

    Args:
        required: every segment must have them.
        optional: read where there are any.
    """

    required: tuple[str, ...] = ()
    optional: tuple[str, ...] = ()

    def __add__(self, other: "Variables") -> "Variables":
        return Variables(self.required + other.required, self.optional + other.optional)


class SegmentBatch(ABC):
    """Segments of some items, in order, as a source reads them.

    Variables are known once all `recordings` have been read.

    Args:
        ids: ``(B,)`` int64, index of the item of each.
        positions: ``(B,)`` int64, position of each in its item.

    Attributes:
        ecgs: ``(B, L, T)`` float32 where all were read together.
        are_finite: whether it is known of these that no sample is NaN or infinite.
        sample_rates: ``(B,)`` of these, in Hz.
    """

    ecgs: Tensor | None = None
    are_finite: bool = False
    sample_rates: np.ndarray

    def __init__(self, ids: np.ndarray, positions: np.ndarray):
        self.ids = ids
        self.positions = positions

    def __len__(self) -> int:
        return len(self.ids)

    def own_leads(self, row: int) -> list | None:
        """Return the leads that a segment itself says are to be loaded, if it says any."""
        return None

    @abstractmethod
    def recordings(self) -> Iterator[Recording]:
        """Read the ECGs one by one.

        Raises:
            DataError: one cannot be read, or lacks a required variable.
        """

    @abstractmethod
    def where(self, row: int) -> str:
        """Name a segment in error messages."""

    @abstractmethod
    def integers(self, key: str) -> np.ndarray:
        """Read the variable that holds one integer: ``(B,)`` int64, `MISSING` where there is none.

        Raises:
            DataError: it holds something else, or is required and missing.
        """

    @abstractmethod
    def arrays(self, key: str) -> list[np.ndarray | None]:
        """Read the variable that holds an array, at least two-dimensional, of each segment.

        Raises:
            DataError: it is required and missing.
        """


class Source(ABC):
    """Items of a split: single segments or, grouped, those of one recording together.

    Args:
        path: of the split.
        grouped: whether items are recordings of several segments, as a CMSC manifest lists them.
        min_samples: shorter items are dropped. None: none are.

    Attributes:
        sizes: ``(N,)`` int64, length of each item in samples.

    Raises:
        DataError: the split cannot be read, or nothing remains.
    """

    sizes: np.ndarray

    def __len__(self) -> int:
        return len(self.sizes)

    @abstractmethod
    def name(self, index: int) -> str:
        """Name the file, or the files, of an item."""

    @abstractmethod
    def read(self, indices: Sequence[int], variables: Variables, copies: int = 1) -> SegmentBatch:
        """Read the segments of items.

        Args:
            indices: of the items.
            variables: to read beside the ECGs.
            copies: how often each segment occurs, one beside the other.
        """
