"""DICOM waveforms (12-lead, general and ambulatory ECG)."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from fairseq_ecg.data.errors import DataError, damage_as_data_error
from fairseq_ecg.data.leads import LEADS
from fairseq_ecg.formats.channels import Channel, Content, Given
from fairseq_ecg.formats.leads import standard_lead
from fairseq_ecg.formats.location import Location
from fairseq_ecg.formats.stretches import Frames, Later

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


def read_dicom(location: Location, given: Given, at_once: int | None = None) -> Content:
    """Read the rhythm of a DICOM waveform object.

    Of its multiplex groups the original one (not derived, as median beats are) with the most of
    the twelve leads is taken, and of several such the longest. Samples are scaled by sensitivity,
    correction factor and baseline of their channel; padding becomes NaN. Of a long recording the
    counts are in memory.
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
        return Content(_channels(groups[index], where, at_once), metadata)


def _n_leads(group: Any) -> int:
    names = {standard_lead(_name(channel) or "") for channel in group.ChannelDefinitionSequence}
    return len(names & set(LEADS))


def _seconds(group: Any) -> float:
    return group.NumberOfWaveformSamples / float(group.SamplingFrequency)


def _channels(group: Any, where: str, at_once: int | None) -> list[Channel]:
    n_samples = group.NumberOfWaveformSamples
    whole: Sequence[np.ndarray | Later]
    if at_once is None or n_samples <= at_once:
        whole = _samples(group).T
    else:
        frames = Frames(lambda start, stop: _stretch(group, where, start, stop))
        whole = [
            Later(frames, i, n_samples, np.dtype(np.float64))
            for i in range(len(group.ChannelDefinitionSequence))
        ]
    return [
        Channel(samples, _name(channel), _unit(channel), float(group.SamplingFrequency))
        for samples, channel in zip(whole, group.ChannelDefinitionSequence, strict=True)
    ]


def _samples(group: Any) -> np.ndarray:
    """Samples of a multiplex group, ``(n_samples, n_channels)``, in the units of its channels."""
    from pydicom import Dataset
    from pydicom.waveforms import multiplex_array

    dataset = Dataset()
    dataset.WaveformSequence = [group]
    samples = multiplex_array(dataset, 0, as_raw=False).astype(np.float64)
    padding = _padding(group)
    if padding is not None:
        samples[multiplex_array(dataset, 0, as_raw=True) == padding] = np.nan
    return samples


def _stretch(group: Any, where: str, start: int, stop: int) -> np.ndarray:
    """Samples ``start`` to ``stop`` of each channel."""
    from pydicom import Dataset

    with damage_as_data_error(where, "DICOM waveform"):
        n_bytes = group.NumberOfWaveformChannels * group.WaveformBitsAllocated // 8
        part = Dataset()
        part.update(group)
        del part.NumberOfWaveformSamples, part.WaveformData  # elements are those of the group
        part.NumberOfWaveformSamples = stop - start
        part.WaveformData = group.WaveformData[start * n_bytes : stop * n_bytes]
        return _samples(part).T


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
