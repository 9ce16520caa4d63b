"""How the draws of a batch are laid out: one row of float64 numbers for each recording.

The first columns are the window's, the others those of one augmentation after the other. C++ knows
the same numbers from ``csrc/augment/augment.h``.
"""

from enum import IntEnum

N_LEADS = 12

RATE, START, VALID, N_WINDOW_COLUMNS = range(4)
"""Sampling rate in Hz, where the window starts in its recording, how many samples it holds."""

APPLIED, ROWS, ITEMS = 0, 1, 1 + N_LEADS
"""Columns of an augmentation: whether it is applied, one for each row of the ECG, and its items."""


class Kind(IntEnum):
    """What an augmentation is to the kernels."""

    POWERLINE_NOISE = 0
    EMG_NOISE = 1
    BASELINE_SHIFT = 2
    BASELINE_WANDER = 3
    LEADS_MASK = 4
    VECTORCARDIOGRAM_VIEW = 5
