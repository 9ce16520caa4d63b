"""Reading one 12-lead recording that is complete: all leads, and a value in every sample."""

import os

import numpy as np

from fairseq_ecg.data.errors import DataError
from fairseq_ecg.data.leads import LEADS
from fairseq_ecg.data.recording import Recording
from fairseq_ecg.formats import arrange, read_ecg


def read_recording(path: str | os.PathLike) -> Recording:
    """Read a recording of any of the formats of ``fairseq_ecg.formats``.

    Args:
        path: a file that says its leads, units and sampling rate, or a WFDB record with or
            without ``.hea``.

    Returns:
        The recording: ``feats`` is ``(12, n_samples)`` float64 in mV, leads in the order of
        ``fairseq_ecg.data.leads.LEADS``.

    Raises:
        DataError: The recording does not exist or cannot be read, or it lacks leads, or has
            samples without a value or a sampling rate that is no whole number.
    """
    ecg = arrange(read_ecg(path))
    finite = np.isfinite(ecg.signal).all(axis=1)
    if not finite.all():
        undefined = [name for name, is_finite in zip(LEADS, finite, strict=True) if not is_finite]
        raise DataError(
            f"{ecg.where}: samples without a value (NaN or infinite) in "
            f"{', '.join(undefined)}. Mend the recording or leave it out"
        )
    if ecg.sample_rate != int(ecg.sample_rate):
        raise DataError(
            f"{ecg.where}: {ecg.sample_rate} Hz; the sampling rate must be a whole number"
        )
    return Recording(ecg.where, ecg.signal.astype(np.float64), ecg.sample_rate)
