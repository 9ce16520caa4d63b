"""Segments of a packed store, read a batch at a time."""

import functools
import os
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from torch import Tensor

from fairseq_ecg.data.manifest import log_size
from fairseq_ecg.data.recording import Recording
from fairseq_ecg.data.sources.source import SegmentBatch, Source, Variables
from fairseq_ecg.data.store.layout import MISSING, NO_LABELS, SAMPLE_VARIABLES, decode_labels
from fairseq_ecg.data.store.reader import Store
from fairseq_ecg.errors import DataError

_PACK_AGAIN = "Prepare the files again and pack them into a new store"
_REMEDIES = {
    "idx": f"no 'idx', by which rows of label_file are found. {_PACK_AGAIN}",
    "label": "no labels. Set task.label_file, or pack files with 'label'",
}


class StoreSource(Source):
    """A split of a store: items are those of the manifest that was packed.

    Args:
        path: the split, written as a file in the store: ``STORE/train``, where ``STORE`` is a
            folder or a URL.
        grouped: as of `Source`.
        min_samples: as of `Source`.
        verify: whether every segment's checksum is compared, see `Store`.

    Attributes:
        rows: ``(N, k)`` segments of each item.
    """

    def __init__(
        self, path: str | os.PathLike, grouped: bool, min_samples: int | None, verify: bool = False
    ):
        self.path = os.fspath(path)
        folder, _, split = self.path.rstrip("/").rpartition("/")
        self.split, self.store = split, Store(folder, verify)
        self.segments = self.store.segments(split)
        rows, sizes = self._pairs() if grouped else self._singles()
        kept = sizes >= (min_samples or 0)
        n_short = int(np.count_nonzero(~kept))
        dropped = [(n_short, f"shorter than {min_samples} samples")]
        log_size(self.path, len(kept) - n_short, dropped)
        self.rows, self.sizes = rows[kept], sizes[kept]
        if self.segments.class_index is not None:
            self.classes = self.segments.class_index[self.rows[:, 0]]

    def _singles(self) -> tuple[np.ndarray, np.ndarray]:
        rows = _in_order(self.segments.item)
        return rows[:, None], self.segments.n_samples[rows].astype(np.int64)

    def _pairs(self) -> tuple[np.ndarray, np.ndarray]:
        segments = self.segments
        first = _in_order(np.where(segments.position == 0, segments.pair, -1))
        second = _in_order(np.where(segments.position == 1, segments.pair, -1))
        if len(first) == 0:
            raise DataError(
                f"{self.path}: no recording of this split has two segments. Pre-training with CMSC "
                "needs pairs: cut recordings into shorter segments and pack them"
            )
        return np.stack([first, second], axis=1), segments.pair_samples[first].astype(np.int64)

    def name(self, index: int) -> str:
        """See `Source.name`."""
        return " and ".join(map(self.segment_name, self.rows[index].tolist()))

    def segment_name(self, row: int) -> str:
        """Name a segment by the file that was packed."""
        return f"{self.store.path}/{self.segments.paths[row]}"

    def read(self, indices: Sequence[int], variables: Variables, copies: int) -> "StoreSegments":
        """See `Source.read`."""
        return StoreSegments(self, np.asarray(indices, np.int64), variables, copies)


class StoreSegments(SegmentBatch):
    """Segments of some items of a store.

    Args:
        source: the store.
        indices: ``(B,)`` int64 of the items.
        variables: to read beside the ECGs.
        copies: how often each segment occurs.
        rows: ``(N, k)`` segments of each item. None: `StoreSource.rows`.
    """

    def __init__(
        self,
        source: StoreSource,
        indices: np.ndarray,
        variables: Variables,
        copies: int,
        rows: np.ndarray | None = None,
    ):
        rows = (source.rows if rows is None else rows)[indices]
        n_segments = rows.shape[1] * copies
        self._read = _repeated(source.store.read(source.segments, rows.ravel()), copies)
        self.ids = np.repeat(indices, n_segments)
        self.positions = np.tile(np.arange(n_segments), len(indices))
        self._source, self._required = source, variables.required
        self.item_classes = source.classes
        self._rows = rows.ravel().repeat(copies)
        self.n_samples = source.segments.n_samples[self._rows]
        self.sample_rates = source.segments.sample_rate[self._rows]
        self.ecgs = self._read if isinstance(self._read, Tensor) else None
        self.are_finite = bool(source.segments.finite[self._rows].all())

    def recordings(self) -> Iterator[Recording]:
        """See `SegmentBatch.recordings`."""
        for row, ecg in enumerate(self._read):
            yield Recording(self.where(row), ecg.numpy(), float(self.sample_rates[row]))

    def where(self, row: int) -> str:
        """See `SegmentBatch.where`."""
        name = self._source.segment_name(int(self._rows[row]))
        return f"{name} (split {self._source.split})"

    def integers(self, key: str) -> np.ndarray:
        """See `SegmentBatch.integers`."""
        numbers = getattr(self._source.segments, key)[self._rows]
        if key in self._required:
            self._require(key, numbers != MISSING)
        return numbers

    def arrays(self, key: str) -> list[np.ndarray | None]:
        """See `SegmentBatch.arrays`."""
        column = self._source.segments.lists.get(key)
        if key in SAMPLE_VARIABLES:
            arrays = self._labels_of_samples[key]
        else:
            rows = self._rows.tolist()
            arrays = [None if column is None else _as_row(column[row]) for row in rows]
        if key in self._required:
            self._require(key, np.array([array is not None for array in arrays]))
        return arrays

    def texts(self, key: str) -> list[list[str] | None]:
        """See `SegmentBatch.texts`."""
        column = self._source.segments.texts.get(key)
        if column is None:
            return [None] * len(self._rows)
        return column.take(self._rows).to_pylist()

    @functools.cached_property
    def _labels_of_samples(self) -> dict[str, list[np.ndarray | None]]:
        """`SAMPLE_VARIABLES` ``(1, T)`` of each segment, None where it has none."""
        have = self._source.segments.labels_offset[self._rows] != NO_LABELS
        read = self._source.store.read_labels(self._source.segments, self._rows[have])
        blocks = [read] if isinstance(read, np.ndarray) else [codes[None] for codes in read]
        decoded = [decode_labels(codes) for codes in blocks]
        found: dict[str, list[np.ndarray | None]] = {}
        for name in SAMPLE_VARIABLES:
            rows = (row for block in decoded for row in block[name])
            found[name] = [next(rows) if has else None for has in have.tolist()]
        return found

    def _require(self, key: str, are_there: np.ndarray) -> None:
        if not are_there.all():
            lack = _REMEDIES.get(key, f"no {key!r}. {_PACK_AGAIN}")
            raise DataError(f"{self.where(int(are_there.argmin()))}: has {lack}")


def _repeated(ecgs: Sequence[Tensor] | Tensor, copies: int) -> Sequence[Tensor] | Tensor:
    """Repeat each ECG, of which a copy is augmented by itself."""
    if copies == 1:
        return ecgs
    if isinstance(ecgs, Tensor):
        return ecgs.repeat_interleave(copies, dim=0)
    return [ecg for ecg in ecgs for _ in range(copies)]


def _as_row(value: Any) -> np.ndarray | None:
    """Make an array ``(1, C)`` of an Arrow list, if it is one."""
    return value.values.to_numpy(zero_copy_only=False)[None].copy() if value.is_valid else None


def _in_order(numbers: np.ndarray) -> np.ndarray:
    """Rows by ascending number, without those of number -1."""
    rows = np.argsort(numbers, kind="stable")
    return rows[np.count_nonzero(numbers < 0) :]
