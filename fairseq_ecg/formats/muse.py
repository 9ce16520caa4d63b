"""Recordings that GE's MUSE exports as XML, version 8."""

import base64
import binascii
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
from lxml import etree

from fairseq_ecg.ecg.arrangement import derive_limb_leads
from fairseq_ecg.ecg.recording import ECG
from fairseq_ecg.errors import DataError
from fairseq_ecg.formats.channels import Channel, Given, to_ecg
from fairseq_ecg.formats.groups import Group, combined
from fairseq_ecg.limits import check_limit

SECTIONS = (
    "MuseInfo",
    "PatientDemographics",
    "TestDemographics",
    "Order",
    "RestingECGMeasurements",
    "OriginalRestingECGMeasurements",
    "Diagnosis",
    "OriginalDiagnosis",
    "ExtraQuestions",
    "QRSTimesTypes",
    "Waveform",
    "PharmaData",
)
"""Parts of a file that become metadata, in this order."""

_MILLIVOLTS_PER = {"MICROVOLTS": 1e-3, "MILLIVOLTS": 1.0}
_DIAGNOSES = {"Diagnosis", "OriginalDiagnosis"}
# Elements that are read otherwise.
_NOT_METADATA = {"DiagnosisStatement", "LeadData", "QRS"}
_LARGEST_EXPONENT = 30
_LARGEST_WHOLE = 2**53
_STRAY_AMPERSAND = re.compile(rb"&(?!(?:amp|lt|gt|quot|apos|#[0-9]+|#x[0-9a-fA-F]+);)")


@dataclass(frozen=True, eq=False)
class MuseRecording:
    """A recording as MUSE exports it.

    Args:
        ecg: the rhythm in mV, limb leads that follow from I and II added. Its ``metadata`` are
            texts by ``<Section>_<field>``, None where a field is empty; the statements of a
            diagnosis are joined by blanks.
        qrs: one row for each QRS complex: ``Number``, ``Type`` and ``Time`` (samples), integers or
            NA.
        leads: one row for each lead of the file, fields of ``LeadData`` without the samples.
    """

    ecg: ECG
    qrs: pd.DataFrame
    leads: pd.DataFrame

    @property
    def metadata(self) -> Mapping[str, str | None]:
        """That of ``ecg``."""
        return self.ecg.metadata


def read_muse(path: Path) -> MuseRecording:
    """Read a file.

    Entities and DTDs are never resolved, nor is anything else fetched or expanded. A stray ``&``
    is text.

    Args:
        path: of the XML file.

    Returns:
        The recording. Several rhythms are one where each has leads of its own, see `combined`.

    Raises:
        DataError: there is no such file, it is no MUSE export, it has no rhythm, samples are
            missing or without units, or there is more of anything than is plausible.
    """
    root = _parse(path)
    waveforms = list(root.iterfind("Waveform"))
    rhythm = next((each for each in waveforms if _is_rhythm(each)), None)
    if rhythm is None:
        raise DataError(f"{path}: has no waveform of type Rhythm. Export it with its waveforms")
    groups = [_group(path, number, waveform) for number, waveform in enumerate(waveforms, 1)]
    ecg = derive_limb_leads(to_ecg(str(path), combined(str(path), groups), Given()))
    metadata: dict[str, str | None] = {}
    for section in SECTIONS:
        element = rhythm if section == "Waveform" else root.find(section)
        if element is None:
            continue
        metadata |= _fields(section, element)
        if section in _DIAGNOSES:
            statements = element.iterfind("DiagnosisStatement/StmtText")
            joined = " ".join(_content(statement) or "" for statement in statements)
            metadata[f"{section}_DiagnosisStatement"] = " ".join(joined.split()) or None
    leads = [
        {field.tag: _content(field) for field in _elements(lead) if field.tag != "WaveFormData"}
        for waveform in waveforms
        if _is_rhythm(waveform)
        for lead in waveform.iterfind("LeadData")
    ]
    ecg = replace(ecg, metadata=metadata | dict(ecg.metadata))
    return MuseRecording(ecg, _qrs(path, root), pd.DataFrame(leads))


def _is_rhythm(waveform: etree._Element) -> bool:
    return _text(waveform, "WaveformType") == "Rhythm"


def _parse(path: Path) -> etree._Element:
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        raise DataError(f"{path}: no such file") from None
    check_limit(str(path), "elements", data.count(b"<"))
    if b"\0" not in data[:4]:  # as in UTF-16
        data = data.replace(b"\0", b" ")
    data = _STRAY_AMPERSAND.sub(b"&amp;", data)
    safe = {"resolve_entities": False, "no_network": True, "load_dtd": False}
    try:
        root = etree.fromstring(data, etree.XMLParser(**safe))
    except etree.XMLSyntaxError as error:
        # A control character in a name, for instance; the samples are checked by their number.
        is_beyond = error.code == etree.ErrorTypes.ERR_RESOURCE_LIMIT
        root = None if is_beyond else _recovered(data, etree.XMLParser(recover=True, **safe))
        if root is None:
            raise DataError(f"{path}: no XML ({error})") from error
    if root.tag != "RestingECG":
        raise DataError(
            f"{path}: no MUSE export, its first element is not RestingECG but {root.tag[:60]}. "
            "Export it as HL7 aECG, DICOM or SCP-ECG, or convert it to WFDB or EDF"
        )
    return root


def _recovered(data: bytes, parser: etree.XMLParser) -> etree._Element | None:
    try:
        return etree.fromstring(data, parser)
    except etree.XMLSyntaxError:
        return None


def _content(element: etree._Element) -> str | None:
    """Text of an element without blanks around it, None where there is none."""
    return (element.text or "").strip() or None


def _text(element: etree._Element, tag: str) -> str | None:
    child = element.find(tag)
    return None if child is None else _content(child)


def _elements(element: etree._Element) -> Iterator[etree._Element]:
    """Children without comments."""
    return element.iterchildren(tag=etree.Element)


def _fields(prefix: str, element: etree._Element) -> dict[str, str | None]:
    """Texts below an element by path; those of the same path are joined by ``; ``."""
    fields: dict[str, str | None] = {}
    for child in _elements(element):
        if child.tag in _NOT_METADATA:
            continue
        name = f"{prefix}_{child.tag}"
        found = _fields(name, child) if len(child) else {name: _content(child)}
        for key, text in found.items():
            earlier = fields.get(key)
            fields[key] = f"{earlier}; {text}" if earlier and text else earlier or text
    return fields


def _group(path: Path, number: int, waveform: etree._Element) -> Group:
    """Return a waveform; of one that is no rhythm the names of its leads alone."""
    elements = list(waveform.iterfind("LeadData"))
    names = [_text(element, "LeadID") for element in elements]
    if not _is_rhythm(waveform):
        return Group(f"waveform {number}", [Channel(np.empty(0), name) for name in names], True)
    stated = _number(path, "NumberofLeads", _text(waveform, "NumberofLeads") or "0")
    if len(elements) < stated:
        raise DataError(f"{path}: has {len(elements)} of {stated:g} leads. Export it again")
    base = _number(path, "SampleBase", _text(waveform, "SampleBase"))
    exponent = _number(path, "SampleExponent", _text(waveform, "SampleExponent") or "0")
    if abs(exponent) > _LARGEST_EXPONENT:
        raise DataError(f"{path}: SampleExponent is {exponent:g}, which cannot be")
    channels = [
        Channel(_samples(f"{path}: lead {name}", element), name, "mV", base * 10**exponent)
        for name, element in zip(names, elements, strict=True)
    ]
    lengths = {name: channel.samples.size for name, channel in zip(names, channels, strict=True)}
    if len(set(lengths.values())) > 1:
        raise DataError(f"{path}: leads differ in their numbers of samples: {lengths}")
    return Group(f"waveform {number}", channels, start=_text(waveform, "WaveformStartTime"))


def _samples(where: str, element: etree._Element) -> np.ndarray:
    """Samples of a ``LeadData`` in mV, ``(n_samples,)`` float64."""
    size = _text(element, "LeadSampleSize") or "2"
    if size != "2":
        raise DataError(f"{where} has samples of {size} bytes, not of 2")
    try:
        data = base64.b64decode("".join((_text(element, "WaveFormData") or "").split()))
        counts = np.frombuffer(data, dtype="<i2")
    except (binascii.Error, ValueError) as error:
        raise DataError(f"{where} has damaged samples ({error}). Export it again") from error
    expected = _text(element, "LeadSampleCountTotal")
    if expected is not None and _number(where, "LeadSampleCountTotal", expected) != len(counts):
        raise DataError(
            f"{where} has {len(counts)} samples, LeadSampleCountTotal says {expected}. "
            "Export it again"
        )
    unit = (_text(element, "LeadAmplitudeUnits") or "").upper()
    if unit not in _MILLIVOLTS_PER:
        raise DataError(f"{where} is in {unit or 'no unit'}, not in MICROVOLTS or MILLIVOLTS")
    per_bit = _text(element, "LeadAmplitudeUnitsPerBit")
    factor = _number(where, "LeadAmplitudeUnitsPerBit", per_bit)
    if factor <= 0:
        raise DataError(f"{where} has LeadAmplitudeUnitsPerBit {per_bit}, which cannot be")
    return counts * (factor * _MILLIVOLTS_PER[unit])


def _number(where: object, name: str, text: str | None) -> float:
    try:
        number = float(text or "")
    except ValueError:
        number = np.nan
    if not np.isfinite(number):
        raise DataError(f"{where}: {name} is {text!r}, not a number")
    return number


def _whole(where: object, name: str, text: str) -> int:
    number = _number(where, name, text)
    if abs(number) > _LARGEST_WHOLE:
        raise DataError(f"{where}: {name} is {text!r}, which cannot be")
    return int(number)


def _qrs(path: Path, root: etree._Element) -> pd.DataFrame:
    rows = []
    for index, element in enumerate(root.iterfind("QRSTimesTypes/QRS"), 1):
        number = _text(element, "Number") or element.get("Number") or str(index)
        texts = (number, _text(element, "Type"), _text(element, "Time"))
        rows.append([text and _whole(path, "a field of QRS", text) for text in texts])
    return pd.DataFrame(rows, columns=["Number", "Type", "Time"], dtype="Int64")
