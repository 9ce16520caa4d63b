"""Recordings that can be drawn."""

from fairseq_ecg.formats import ECG
from fairseq_ecg.formats.units import check_millivolts
from fairseq_ecg.inference.recordings import NamedRecording


def read_millivolts(recording: NamedRecording) -> ECG:
    """Read a recording whose amplitudes can be believed.

    Raises:
        DataError: it cannot be read, or its amplitudes are not those of mV.
    """
    ecg = recording.read()
    check_millivolts(ecg)
    return ecg
