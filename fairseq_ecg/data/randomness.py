"""Random states keyed by what they are for: no draw depends on workers, order or batch size."""

from enum import IntEnum

import numpy as np

from fairseq_ecg.ops.masking import Streams, stream_of


class Stream(IntEnum):
    """What a random state is used for."""

    LEAD_BUCKET = 0
    CROP = 2
    MASK = 3


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
