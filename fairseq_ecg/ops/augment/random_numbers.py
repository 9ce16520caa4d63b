"""The random numbers of one augmentation in all recordings of a batch."""

from enum import Enum
from typing import NamedTuple

from torch import Tensor

from fairseq_ecg.ops.augment.table import N_LEADS

ROWS_LANE = 254
"""Lane of what each row of an ECG has but once, the number of row l at position l."""

ROWS_BLOCKS = N_LEADS // 4
"""Blocks of four numbers that the rows have together."""


class Normals(Enum):
    """Of what an augmentation needs normal numbers."""

    NONE = 0
    OF_RECORDING = 1
    OF_ROWS = 2


class RandomNumbers(NamedTuple):
    """What the draws of an augmentation are made of, float64; `Normals` says which normals.

    Attributes:
        of_recording: uniform numbers in [0, 1), ``(B, 4 * n)``, four of each block; the first of
            all decides about the application.
        of_rows: uniform numbers ``(B, L)``, one of each row of the ECG.
        normals: standard normal numbers: the first of each of the recording's blocks but the very
            first, ``(B, n - 1)``, or one of each row, ``(B, L)``, or none.
        lengths: ``(B,)``, of the recordings in samples.
    """

    of_recording: Tensor
    of_rows: Tensor
    normals: Tensor
    lengths: Tensor
