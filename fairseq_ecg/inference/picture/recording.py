"""Recordings that can be drawn."""

from fairseq_ecg.ecg.quality import Quality, quality, quality_of_standardised
from fairseq_ecg.ecg.units import check_millivolts
from fairseq_ecg.formats import ECG
from fairseq_ecg.inference.prepared import STANDARDISED, UNIT, PreparedInStore
from fairseq_ecg.inference.recordings import NamedRecording


def read_shown(recording: NamedRecording) -> tuple[ECG, ECG | NamedRecording]:
    """Read a recording whose amplitudes are plausible.

    Returns:
        What is drawn, in mV, or what is in a store in standard deviations, as :func:`unit_of`
        says; and what a network is to be given, which what is standardised already is not again.

    Raises:
        DataError: it cannot be read, or its amplitudes are not those of mV.
    """
    ecg = recording.read()
    if isinstance(recording.source, PreparedInStore):
        return ecg, recording
    check_millivolts(ecg)
    return ecg, ecg


def unit_of(ecg: ECG) -> str:
    """Return the unit of the samples of a recording that is drawn, ``mV`` or ``SD``."""
    return ecg.metadata.get(UNIT, "mV")


def quality_of(ecg: ECG) -> Quality:
    """Return the quality of a recording that is drawn, whatever its unit."""
    if unit_of(ecg) == STANDARDISED:
        return quality_of_standardised([ecg.signal], ecg.leads, ecg.sample_rate)
    return quality(ecg)
