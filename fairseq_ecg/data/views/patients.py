"""Whose segment it is, for the losses that contrast patients."""

import numpy as np

from fairseq_ecg.data.sources import SegmentBatch, Variables
from fairseq_ecg.data.store.layout import MISSING
from fairseq_ecg.errors import DataError

VARIABLES = Variables(optional=("idx", "patient_id"))
"""What `patients_of` reads."""


def patients_of(segments: SegmentBatch) -> np.ndarray:
    """Return what is called the patient of each segment, ``(B,)`` int32.

    That is the ``idx`` of its recording where the file has one, as in fairseq_signals: other
    recordings of the same patient then count as those of another. Files without ``idx`` need
    ``patient_id``.

    Raises:
        DataError: a file has neither.
    """
    patients = segments.integers("idx")
    without_idx = patients == MISSING
    if without_idx.any():
        patients = np.where(without_idx, segments.integers("patient_id"), patients)
    if (patients == MISSING).any():
        where = segments.where(int((patients == MISSING).argmax()))
        raise DataError(
            f"{where}: has neither 'idx' nor 'patient_id', by which segments of one recording "
            "are distinguished from those of others. Prepare the file again"
        )
    return patients.astype(np.int32)
