"""NumPy's random streams, one for each row of a batch, known by their keys."""

from collections.abc import Iterator, Sequence

import numpy as np


def stream_of(key: Sequence[int]) -> np.random.RandomState:
    """Stream of a key.

    Args:
        key: whole numbers, none negative.

    Returns:
        A generator independent of those of all other keys.
    """
    return np.random.RandomState(np.random.MT19937(np.random.SeedSequence(key)))


class Streams:
    """Streams of the rows of a batch.

    A stream is made when it is asked for, at its beginning, which takes NumPy 100 us; kernels make
    them of the keys in 3 us.

    Args:
        keys: ``(B, K)`` int64, see `stream_of`.
    """

    def __init__(self, keys: np.ndarray):
        self.keys = keys

    def __len__(self) -> int:
        return len(self.keys)

    def __getitem__(self, row: int) -> np.random.RandomState:
        return stream_of(self.keys[row].tolist())

    def __iter__(self) -> Iterator[np.random.RandomState]:
        return map(stream_of, self.keys.tolist())
