"""DICOM waveforms (12-lead, general and ambulatory ECG)."""

from typing import Any

import numpy as np

from fairseq_ecg.data.errors import DataError, damage_as_data_error
from fairseq_ecg.data.leads import LEADS
from fairseq_ecg.formats.channels import Channel, Content, Given
from fairseq_ecg.formats.leads import standard_lead
from fairseq_ecg.formats.location import Location

_LEAD_OF_CODE = {1: "I", 2: "II", 61: "III", 62: "aVR", 63: "aVL", 64: "aVF"} | {
    code: f"V{code - 2}" for code in range(3, 9)
}
"""Lead by the number that MDC (``2:61``) and SCP-ECG (``5.6.3-9-61``) give it, DICOM CID 3001."""
_METADATA = (
    "PatientID",
    "PatientAge",
    "PatientSex",
    "AcquisitionDateTime",
    "Manufacturer",
    "SOPInstanceUID",
)


def read_dicom(location: Location, given: Given) -> Content:
    """Read the rhythm of a DICOM waveform object.

    Of its multiplex groups the original one (not derived, as median beats are) with the most of
    the twelve leads is taken, and of several such the longest. Samples are scaled by sensitivity,
    correction factor and baseline of their channel; padding becomes NaN.
    """
    import pydicom

    where = str(location)
    with location.open() as file, damage_as_data_error(where, "DICOM file"):
        dataset = pydicom.dcmread(file)
        groups = dataset.get("WaveformSequence") or []
    if not groups:
        raise DataError(f"{where}: a DICOM file without waveforms. An ECG has a WaveformSequence")
    with damage_as_data_error(where, "DICOM waveform"):
        originals = [
            i for i, group in enumerate(groups) if group.get("WaveformOriginality") != "DERIVED"
        ]
        if not originals:
            raise DataError(f"{where}: holds derived waveforms (median beats) only, no rhythm")
        index = max(originals, key=lambda i: (_n_leads(groups[i]), _seconds(groups[i])))
        metadata = {
            name: str(dataset.get(name)) for name in _METADATA if dataset.get(name) is not None
        }
        return Content(_channels(dataset, index), metadata)


def _n_leads(group: Any) -> int:
    names = {standard_lead(_name(channel) or "") for channel in group.ChannelDefinitionSequence}
    return len(names & set(LEADS))


def _seconds(group: Any) -> float:
    return group.NumberOfWaveformSamples / float(group.SamplingFrequency)


def _channels(dataset: Any, index: int) -> list[Channel]:
    from pydicom.waveforms import multiplex_array

    group = dataset.WaveformSequence[index]
    samples = multiplex_array(dataset, index, as_raw=False).astype(np.float64)
    padding = _padding(group)
    if padding is not None:
        samples[multiplex_array(dataset, index, as_raw=True) == padding] = np.nan
    return [
        Channel(samples[:, i], _name(channel), _unit(channel), float(group.SamplingFrequency))
        for i, channel in enumerate(group.ChannelDefinitionSequence)
    ]


def _padding(group: Any) -> int | None:
    value = group.get("WaveformPaddingValue")
    if isinstance(value, bytes):
        signed = group.WaveformSampleInterpretation in ("SB", "SS", "SL")
        return int.from_bytes(value, "little", signed=signed)
    return value


def _name(channel: Any) -> str | None:
    """Return the lead's code if it is known, otherwise its meaning or label."""
    source = (channel.get("ChannelSourceSequence") or [None])[0]
    code = "" if source is None else str(source.get("CodeValue") or "")
    number = code.replace(":", "-").rpartition("-")[2]
    if ("5.6.3-9-" in code or ":" in code) and number.isdigit():
        known = _LEAD_OF_CODE.get(int(number))
        if known:
            return known
    meaning = None if source is None else source.get("CodeMeaning")
    for name in (code, meaning, channel.get("ChannelLabel")):
        if name and standard_lead(str(name)) in LEADS:
            return str(name)
    return str(channel.get("ChannelLabel") or meaning or code) or None


def _unit(channel: Any) -> str | None:
    """Return the unit of a channel's sensitivity; None where the samples are counts."""
    units = channel.get("ChannelSensitivityUnitsSequence")
    if channel.get("ChannelSensitivity") is None or not units:
        return None
    return str(units[0].CodeValue)
