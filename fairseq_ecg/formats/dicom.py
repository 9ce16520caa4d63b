"""DICOM waveforms (12-lead, general and ambulatory ECG)."""

import io
import math
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np

from fairseq_ecg.ecg.lead_names import standard_lead
from fairseq_ecg.ecg.leads import LEADS
from fairseq_ecg.ecg.units import field_text, millivolts_per
from fairseq_ecg.errors import DataError, damage_as_data_error
from fairseq_ecg.formats.channels import Channel, Given, ParsedRecord
from fairseq_ecg.formats.chunks import Frames, LazyArray
from fairseq_ecg.formats.groups import Group, combined
from fairseq_ecg.formats.location import Location
from fairseq_ecg.formats.padding import Padding
from fairseq_ecg.limits import check_limit, check_unpacked

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
_SCALE = {
    "ChannelSensitivity": 1.0,
    "ChannelSensitivityCorrectionFactor": 1.0,
    "ChannelBaseline": 0.0,
}
"""What turns counts into samples, and what it is where a channel does not have it."""
_DTYPES = {
    (bits, f"{sign}{size}"): f"{kind}{bits // 8}"
    for bits, size in ((8, "B"), (16, "S"), (32, "L"), (64, "V"))
    for sign, kind in (("S", "i"), ("U", "u"))
}
"""Type of a count by its bits and interpretation; compressed ones (mu-law) are no ECG's."""
_PREAMBLE = 132
_MAGIC = b"DICM"
_FIRST_GROUPS = (b"\x02\0", b"\x08\0", b"\0\x08")
"""How a file without preamble begins: file meta information, or a data set in either byte order."""
_INFLATED_AT_ONCE = 2**24


def read_dicom(location: Location, given: Given, at_once: int | None = None) -> ParsedRecord:
    """Read the rhythm of a DICOM waveform object, with file meta information or without.

    Of its multiplex groups those are taken that are not derived (as median beats are) and make one
    recording, see `combined`. Samples are scaled by sensitivity, correction factor and baseline of
    their channel; padding becomes NaN. Of a long recording the counts are in memory.
    """
    where = str(location)
    with location.on_disk() as path, damage_as_data_error(where, "DICOM file"):
        dataset, byte_order = _dataset(where, path)
        groups = dataset.get("WaveformSequence") or []
    if not groups:
        raise DataError(f"{where}: a DICOM file without waveforms. An ECG has a WaveformSequence")
    with damage_as_data_error(where, "DICOM waveform"):
        record = combined(
            where,
            [_group(where, group, i, byte_order) for i, group in enumerate(groups, 1)],
        )
        said = {name: field_text(dataset.get(name)) for name in _METADATA}
        metadata = {name: text for name, text in said.items() if text is not None}
        return ParsedRecord(record.channels, metadata | dict(record.metadata))


def _dataset(where: str, path: Path) -> tuple[Any, Literal["<", ">"]]:
    """Return the data set of a file and its byte order."""
    import pydicom
    from pydicom.filereader import read_dataset
    from pydicom.uid import DeflatedExplicitVRLittleEndian, ExplicitVRBigEndian

    with open(path, "rb") as file:
        start = file.read(_PREAMBLE)
        is_bare = not start.endswith(_MAGIC)
        if is_bare and start[:2] not in _FIRST_GROUPS:
            raise ValueError("it does not begin as one")
        file.seek(0 if is_bare else _PREAMBLE)
        meta = read_dataset(file, False, True, stop_when=lambda tag, *_: tag.group != 2)
        syntax = meta.get("TransferSyntaxUID")
        if syntax == DeflatedExplicitVRLittleEndian:
            return read_dataset(io.BytesIO(_inflated(where, file.read())), False, True), "<"
    return pydicom.dcmread(path, force=is_bare), ">" if syntax == ExplicitVRBigEndian else "<"


def _inflated(where: str, data: bytes) -> bytes:
    decoder = zlib.decompressobj(-zlib.MAX_WBITS)
    parts, n_bytes, rest = [], 0, data
    while rest and not decoder.eof:
        parts.append(decoder.decompress(rest, _INFLATED_AT_ONCE))
        n_bytes += len(parts[-1])
        check_unpacked(where, len(data), n_bytes)
        rest = decoder.unconsumed_tail
    return b"".join(parts)


def _group(where: str, group: Any, number: int, byte_order: Literal["<", ">"]) -> Group:
    """Return a multiplex group; of a derived one the names alone."""
    definitions = group.get("ChannelDefinitionSequence") or []
    is_derived = field_text(group.get("WaveformOriginality")) == "DERIVED"
    name = f"multiplex group {number}"
    if is_derived:
        return Group(name, [Channel(np.empty(0), _name(each)) for each in definitions], True)
    counts = _counts(where, group, byte_order)
    if len(definitions) != counts.shape[1]:
        raise ValueError(f"{len(definitions)} channel definitions of {counts.shape[1]} channels")
    rate = float(group.SamplingFrequency)
    scales = [_scale(each) for each in definitions]
    padding = _padding(group, counts, rate)
    frames = Frames(lambda start, stop: _samples(counts, scales, padding, start, stop))
    channels = [
        Channel(
            LazyArray(frames, i, len(counts), np.dtype(np.float64)),
            _name(each),
            _unit(each),
            rate,
            uncalibrated=scale if isinstance(scale, str) else None,
        )
        for i, (each, scale) in enumerate(zip(definitions, scales, strict=True))
    ]
    offset = group.get("MultiplexGroupTimeOffset")
    return Group(name, channels, start=None if offset is None else f"{float(offset):g} ms")


def _counts(where: str, group: Any, byte_order: Literal["<", ">"]) -> np.ndarray:
    """Counts of a multiplex group as they are stored, ``(n_samples, n_channels)``."""
    shape = group.NumberOfWaveformSamples, group.NumberOfWaveformChannels
    check_limit(where, "samples", shape[0])
    check_limit(where, "channels", shape[1])
    kind = (group.WaveformBitsAllocated, group.WaveformSampleInterpretation)
    if kind not in _DTYPES:
        raise ValueError(f"samples of {kind[0]} bits that are {kind[1]}")
    dtype = np.dtype(_DTYPES[kind]).newbyteorder(byte_order)
    return np.frombuffer(group.WaveformData, dtype, shape[0] * shape[1]).reshape(shape)


def _samples(
    counts: np.ndarray,
    scales: Sequence[tuple[float, float, float] | str],
    padding: Padding,
    start: int,
    stop: int,
) -> list[np.ndarray]:
    """Samples ``start`` to ``stop`` of each channel, in its unit."""
    part = counts[start:stop]
    rows = []
    for i, scale in enumerate(scales):
        row = part[:, i].astype(np.float64)
        if not isinstance(scale, str):
            sensitivity, correction, baseline = scale
            row = row * sensitivity * correction + baseline
        row[padding.mask(part[:, i], start)] = np.nan
        rows.append(row)
    return rows


def _scale(channel: Any) -> tuple[float, float, float] | str:
    """Sensitivity, its correction and baseline of a channel, or why these cannot be."""
    values = [channel.get(name) for name in _SCALE]
    sensitivity, correction, baseline = (
        default if value is None else float(value)
        for value, default in zip(values, _SCALE.values(), strict=True)
    )
    factor = sensitivity * correction
    if factor == 0 or not all(map(math.isfinite, (factor, sensitivity, correction, baseline))):
        return (
            f"has no calibration (its sensitivity is {sensitivity:g}, corrected by {correction:g})"
        )
    return sensitivity, correction, baseline


def _padding(group: Any, counts: np.ndarray, sample_rate: float) -> Padding:
    value = group.get("WaveformPaddingValue")
    if value is None:
        return Padding()
    if isinstance(value, bytes):
        number = np.frombuffer(value, counts.dtype, 1)[0]
    else:
        number = np.array([value]).astype(counts.dtype)[0]
    return Padding.of(counts, int(number), sample_rate)


def _name(channel: Any) -> str | None:
    """Return the lead's code if it is known, otherwise its meaning or label."""
    source = (channel.get("ChannelSourceSequence") or [{}])[0]
    code = field_text(source.get("CodeValue")) or ""
    number = code.replace(":", "-").rpartition("-")[2]
    if ("5.6.3-9-" in code or ":" in code) and number.isdecimal():
        known = _LEAD_OF_CODE.get(int(number))
        if known:
            return known
    meaning, label = field_text(source.get("CodeMeaning")), field_text(channel.get("ChannelLabel"))
    for name in (code, meaning, label):
        if name and standard_lead(name) in LEADS:
            return name
    return label or meaning or code or None


def _unit(channel: Any) -> str | None:
    """Return the unit of a channel's sensitivity; None where the samples are counts."""
    units = channel.get("ChannelSensitivityUnitsSequence")
    if channel.get("ChannelSensitivity") is None or not units:
        return None
    code, meaning = (field_text(units[0].get(name)) for name in ("CodeValue", "CodeMeaning"))
    return (
        meaning if meaning and millivolts_per(meaning) and not millivolts_per(code or "") else code
    )
