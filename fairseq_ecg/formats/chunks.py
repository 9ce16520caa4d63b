"""Long recordings, of which a chunk is read at a time.

A reader gives channels whose samples are a `LazyArray` each, or an array of the file as a
`StoredArray`, whose rows are; `ChunkedSignal` makes the signal in mV of them, or of arrays in
memory.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from fairseq_ecg.errors import as_data_error


class Frames:
    """What is read of a file that holds the samples of all channels frame after frame.

    The last chunk is kept, for channels are asked for one by one.

    Args:
        read: returns the samples of each channel from a frame to the one to stop before.
    """

    def __init__(self, read: Callable[[int, int], Sequence[np.ndarray]]):
        self._read = read
        self._span: tuple[int, int] | None = None
        self._kept: Sequence[np.ndarray] = ()

    def __call__(self, start: int, stop: int) -> Sequence[np.ndarray]:
        """Samples of each channel in the frames ``start`` to ``stop``."""
        if self._span != (start, stop):
            self._span, self._kept = None, ()  # not two chunks at a time
            self._kept = self._read(start, stop)
            self._span = start, stop
        return self._kept


@dataclass(frozen=True, eq=False)
class LazyArray:
    """Samples of one channel, which are read as they are asked for.

    Args:
        frames: of the file.
        channel: which one.
        size: number of samples.
        dtype: of the samples.
        per_frame: samples of this channel in a frame.
    """

    frames: Frames
    channel: int
    size: int
    dtype: np.dtype
    per_frame: int = 1

    def __getitem__(self, key: slice) -> np.ndarray:
        """Read ``[start:stop]``.

        Raises:
            DataError: the file is damaged there.
        """
        start, stop, _ = key.indices(self.size)
        if start >= stop:
            return np.empty(0, self.dtype)
        first = start // self.per_frame
        samples = self.frames(first, -(-stop // self.per_frame))[self.channel]
        before = first * self.per_frame
        return samples[start - before : stop - before]


@dataclass(frozen=True, eq=False)
class StoredArray:
    """An array in a file, which is read in parts.

    Args:
        read: returns the part that a tuple of slices and numbers selects, one for each axis.
        shape: of the array.
        dtype: of the array.
    """

    read: Callable[[tuple[slice | int, ...]], np.ndarray]
    shape: tuple[int, ...]
    dtype: np.dtype

    @property
    def ndim(self) -> int:
        """Number of axes."""
        return len(self.shape)

    @property
    def T(self) -> "StoredArray":
        """The array with its axes in reverse order."""
        return StoredArray(lambda key: self.read(key[::-1]).T, self.shape[::-1], self.dtype)

    def as_matrix(self) -> "StoredArray":
        """Return the array without axes of length 1 in front, a vector with one."""
        if self.ndim > 2 and self.shape[0] == 1:
            rest = StoredArray(lambda key: self.read((0, *key)), self.shape[1:], self.dtype)
            return rest.as_matrix()
        if self.ndim == 1:
            return StoredArray(lambda key: self.read(key[1:])[None], (1, *self.shape), self.dtype)
        return self

    def __len__(self) -> int:
        return self.shape[0]

    def __iter__(self) -> Iterator[LazyArray]:
        """Rows of a matrix."""
        n_rows, n_columns = self.shape
        frames = Frames(lambda start, stop: [*self.read((slice(None), slice(start, stop)))])
        return (LazyArray(frames, row, n_columns, self.dtype) for row in range(n_rows))


@dataclass(frozen=True, eq=False)
class ChunkedSignal:
    """Signal in mV that is made as it is asked for.

    Args:
        samples: of each lead, an array or `LazyArray`; all of one length.
        factors: of each lead, from its samples to mV.
        where: names the file in error messages.
    """

    samples: Sequence[np.ndarray | LazyArray]
    factors: Sequence[float]
    where: str = "recording"

    @property
    def shape(self) -> tuple[int, int]:
        """Leads and samples."""
        return len(self.samples), self.samples[0].size

    @cached_property
    def dtype(self) -> np.dtype:
        """Of floating point numbers their own, of integers float64."""
        kinds = [
            each.dtype if each.dtype.kind == "f" else np.dtype(np.float64) for each in self.samples
        ]
        return np.result_type(*kinds)

    def __getitem__(self, key: tuple[slice, slice]) -> np.ndarray:
        """Return ``[rows, start:stop]``.

        Raises:
            DataError: the file is damaged there, or does not fit in memory.
        """
        rows = range(len(self.samples))[key[0]]
        start, stop, _ = key[1].indices(self.shape[1])
        with as_data_error(f"{self.where}: samples {start} to {stop} cannot be read"):
            signal = np.empty((len(rows), max(stop - start, 0)), self.dtype)
            for i, row in enumerate(rows):
                samples = self.samples[row][start:stop]
                if samples.size != signal.shape[1]:
                    raise ValueError(f"{samples.size} of {signal.shape[1]} are there")
                signal[i] = _in_millivolts(samples, self.factors[row])
            return signal


def _in_millivolts(samples: np.ndarray, factor: float) -> np.ndarray:
    """Floating point numbers keep their precision, integers become float64."""
    if samples.dtype.kind != "f":
        samples = samples.astype(np.float64)
    return samples if factor == 1.0 else samples * factor
