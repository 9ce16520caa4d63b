"""What all sources share: the items of a split, and what is read of their segments."""

import os
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from torch import Tensor

from fairseq_ecg.data.recording import Recording
from fairseq_ecg.data.store.layout import MISSING


class Variables(NamedTuple):
    """Variables of segments, beside the ECG: those all must have, and those that some have."""

    required: tuple[str, ...] = ()
    optional: tuple[str, ...] = ()

    def and_those(self, other: "Variables") -> "Variables":
        """Join two sets of variables."""
        return Variables(self.required + other.required, self.optional + other.optional)


class SegmentBatch(ABC):
    """Segments of some items, in order.

    Variables and lengths are known once `recordings` has ended.

    Attributes:
        ids: ``(B,)`` int64, index of the item of each.
        positions: ``(B,)`` int64, position of each in its item.
        n_samples: ``(B,)`` integers, length of each in samples.
        ecgs: ``(B, L, T)`` float32 where all were read together, else None; of these also
            ``sample_rates`` (B,) in Hz and whether they ``are_finite`` for certain.
        item_classes: as `Source.classes`.
    """

    ids: np.ndarray
    positions: np.ndarray
    n_samples: np.ndarray
    ecgs: Tensor | None = None
    sample_rates: np.ndarray
    are_finite: bool
    item_classes: np.ndarray | None = None

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
        """Return a variable that holds one integer, ``(B,)`` int64; `MISSING` where there is none.

        Raises:
            DataError: it holds something else, or is required and missing.
        """

    def classes(self) -> np.ndarray:
        """Return the class of each one's patient, ``(B,)`` int64; `MISSING` where there is none."""
        if self.item_classes is None:
            return np.full(len(self.ids), MISSING)
        return self.item_classes[self.ids]

    def seconds(self) -> "SegmentBatch | None":
        """Return the second ECGs of those items that are about two; None if no item here is.

        Its ``ids`` say which items these are; each item is there once.
        """
        return None

    @abstractmethod
    def arrays(self, key: str) -> list[np.ndarray | None]:
        """Return a variable that holds an array of at least two dimensions, of each segment.

        Raises:
            DataError: it is required and missing.
        """

    @abstractmethod
    def texts(self, key: str) -> list[list[str] | None]:
        """Return a variable that holds texts, of each segment, without blanks that pad them.

        It is a list of one where a variable is one text, empty where it is an empty one, and None
        where there is no such variable.

        Raises:
            DataError: it holds something else.
        """


class Source(ABC):
    """Items of a split: single segments or, grouped, those of one recording together.

    Args:
        path: of the split.
        grouped: whether items are recordings of several segments, as a CMSC manifest lists them.
        min_samples: shorter items are dropped. None: none are.

    Attributes:
        sizes: ``(N,)`` int64, length of each item in samples.
        classes: ``(N,)`` int64, class of the patient of each item as the manifest lists it,
            `MISSING` where it lists none; None where it lists no classes at all.
        n_tokens: ``(N,)`` int64, tokens of the text of each item as the manifest lists them; None
            where it lists none.

    Raises:
        DataError: the split cannot be read, or nothing remains.
    """

    sizes: np.ndarray
    classes: np.ndarray | None = None
    n_tokens: np.ndarray | None = None

    @abstractmethod
    def __init__(self, path: str | os.PathLike, grouped: bool, min_samples: int | None): ...

    @abstractmethod
    def name(self, index: int) -> str:
        """Name the file, or the files, of an item."""

    @abstractmethod
    def read(self, indices: Sequence[int], variables: Variables, copies: int) -> SegmentBatch:
        """Read the segments of items.

        Args:
            indices: of the items.
            variables: to read beside the ECGs.
            copies: how often each segment occurs, one beside the other.
        """
