"""Random states keyed by what they are for: no draw depends on workers, order or batch size."""

from dataclasses import dataclass, replace
from enum import IntEnum

import numpy as np

from fairseq_ecg.ops.masking import Streams, stream_of


class Stream(IntEnum):
    """What a random state is used for."""

    LEAD_BUCKET = 0
    CROP = 2
    MASK = 3
    WORDS = 4
    NEGATIVES = 5


def random_state(
    seed: int, epoch: int, index: int, segment: int, stream: Stream
) -> np.random.RandomState:
    """Random state of one use of one segment.

    Args:
        seed: seed of the run.
        epoch: epoch, from 1.
        index: index of the item in its data set.
        segment: position of the segment in the item; 0 where an item is one segment.
        stream: what is drawn.

    Returns:
        A generator independent of those of all other arguments.
    """
    return stream_of([seed, epoch, index, segment, stream])


def random_states(
    seed: int, epoch: int, indices: np.ndarray, segments: np.ndarray, stream: Stream
) -> Streams:
    """Random states of one use of the segments of a batch.

    Args:
        seed: as of `random_state`.
        epoch: as of `random_state`.
        indices: ``(B,)`` int64.
        segments: ``(B,)`` int64.
        stream: what is drawn.

    Returns:
        At each position what `random_state` returns.
    """
    keys = np.empty((len(indices), 5), np.int64)
    keys[:, 0], keys[:, 1], keys[:, 4] = seed, epoch, stream
    keys[:, 2], keys[:, 3] = indices, segments
    return Streams(keys)


@dataclass(frozen=True, eq=False)
class Draws:
    """Random states of a batch.

    Args:
        seed: as of `random_state`.
        epoch: as of `random_state`.
        ids: ``(B,)`` int64, index of the item of each segment.
        positions: ``(B,)`` int64, position of each segment in its item.
    """

    seed: int
    epoch: int
    ids: np.ndarray
    positions: np.ndarray

    def at_position(self, positions: np.ndarray) -> "Draws":
        """Return those of the same items at other positions ``(B,)``."""
        return replace(self, positions=positions)

    def of_row(self, row: int, stream: Stream) -> np.random.RandomState:
        """Return the random state of one use of one segment; see `random_state`."""
        key = int(self.ids[row]), int(self.positions[row])
        return random_state(self.seed, self.epoch, *key, stream)

    def of_rows(self, stream: Stream) -> Streams:
        """Return the random states of one use of all segments; see `random_states`."""
        return random_states(self.seed, self.epoch, self.ids, self.positions, stream)

    def of_batch(self, stream: Stream) -> np.random.RandomState:
        """Return the random state of what segments have of one another.

        It is that of these segments in this order, whichever process makes the batch.
        """
        ids = self.ids.tolist()
        return stream_of([self.seed, self.epoch, *ids, len(ids), stream])
