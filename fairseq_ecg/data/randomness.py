"""Random states keyed by what they are for: no draw depends on workers, order or batch size."""

from enum import IntEnum

import numpy as np


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
    key = np.random.SeedSequence([seed, epoch, index, segment, stream])
    return np.random.RandomState(np.random.MT19937(key))
