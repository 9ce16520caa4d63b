"""Recordings that can be drawn."""

from fairseq_ecg.data.errors import DataError
from fairseq_ecg.formats import ECG
from fairseq_ecg.formats.units import check_millivolts
from fairseq_ecg.inference.recordings import NamedRecording


def read_millivolts(recording: NamedRecording) -> ECG:
    """Read a recording that has a scale.

    Raises:
        DataError: it cannot be read, is standardised, or its amplitudes are not those of mV.
    """
    ecg = recording.read()
    if not isinstance(ecg, ECG):
        raise DataError(
            f"{recording.name}: is standardised, so that it has no scale in mV. Name the recording "
            "that it was prepared from"
        )
    check_millivolts(ecg)
    return ecg
