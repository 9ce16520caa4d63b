"""Formats that ECGDataKit reads: SCP-ECG (EN 1064, ISO 11073-91064), HL7 aECG, ISHNE Holter."""

import re
import warnings
from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np

from fairseq_ecg.ecg.recording import with_notes
from fairseq_ecg.errors import DataError, damage_as_data_error
from fairseq_ecg.formats.channels import Channel, Given, ParsedRecord
from fairseq_ecg.formats.groups import Group, combined
from fairseq_ecg.formats.location import Location
from fairseq_ecg.limits import check_limit

_REMEDY = "Get it again, or convert it to WFDB, EDF or DICOM"
_MORE_OF_THEM = re.compile(r"(\d+) (.+?)(?: in the rhythm series| found); only the first is read")
_NOT_LOADED = re.compile(
    r"sequences ignored in the rhythm series: \[(.*)\]|(Section 12 .*) is present but not loaded"
)
_LEADS_OF_ISHNE = range(2, 20)
"""Codes of leads that have a name."""
_FAULT = -(2**15)
"""Count that stands for a faulty lead in ISHNE files."""


def _read(kind: str, location: Location, given: Given, at_once: int | None = None) -> ParsedRecord:
    """Read the rhythm of a file; all of it is in memory."""
    where = str(location)
    try:
        from ecgdatakit import ChecksumWarning, FileParser
    except ImportError:
        raise DataError(
            f"{where}: {kind} needs ECGDataKit: pip install 'fairseq-ecg[scp]'. Or convert the "
            "file to WFDB, EDF or DICOM"
        ) from None
    with (
        location.on_disk() as path,
        damage_as_data_error(where, f"{kind} file", _REMEDY),
        warnings.catch_warnings(record=True) as said,
    ):
        warnings.simplefilter("always")
        warnings.simplefilter("error", ChecksumWarning)
        found = FileParser.detect_format(path)
        if found is not None and found["name"] != kind:
            raise DataError(f"{where}: is no {kind} file, but {found['name']}")
        if kind == "HL7 aECG":
            check_limit(where, "elements", path.read_bytes().count(b"<"))
        record = FileParser.parse(path)
        parsed = combined(where, _groups(record))
    texts = [str(warning.message) for warning in said]
    doubts = [text for text in texts if "may be truncated" in text]
    metadata = with_notes(parsed.metadata, _unread(texts), doubts)
    if record.patient.patient_id:
        metadata["patient"] = record.patient.patient_id
    return ParsedRecord(parsed.channels, metadata)


read_scp = partial(_read, "SCP-ECG")
"""Read the rhythm of an SCP-ECG file, Huffman-coded or not, with reference beats added."""
read_aecg = partial(_read, "HL7 aECG")
"""Read the first rhythm series of an HL7 aECG file."""
read_ishne = partial(_read, "ISHNE Holter")
"""Read an ISHNE Holter file."""


def _groups(record: Any) -> list[Group]:
    """Leads by the time at which they begin, and the reference beats."""
    times = record.raw_metadata.get("rhythm_time", {})  # of aECG, where leads have rounded rates
    codes = record.raw_metadata.get("lead_spec")  # of ISHNE, where leads without name are "Lead 1"
    of_time: dict[tuple[str, int], list[Channel]] = {}
    for index, lead in enumerate(record.leads):
        samples, name = lead.samples, lead.label
        if codes is not None:
            if codes[index] not in _LEADS_OF_ISHNE:
                name = f"signal {index + 1}"
            fault = _FAULT * (lead.resolution / 1000 if lead.units else 1)
            samples = np.where(np.isclose(samples, fault, rtol=1e-9, atol=0), np.nan, samples)
        rate = times.get("sampling_rate_exact", lead.sampling_rate)
        channel = Channel(samples, name, lead.units or None, float(rate))
        start = lead.annotations.get("start_sample", "1")
        of_time.setdefault((start, samples.size), []).append(channel)
    groups = [
        Group(f"the rhythm from sample {start}", channels, start=f"sample {start}")
        for (start, _), channels in of_time.items()
    ]
    beats = [Channel(np.empty(0), beat.label) for beat in record.median_beats]
    return [*groups, Group("reference beats", beats, is_derived=True)]


def _unread(texts: Sequence[str]) -> list[str]:
    """What warnings of ECGDataKit say that is in the file and not in what it gives."""
    unread = []
    for text in texts:
        if match := _MORE_OF_THEM.search(text):
            unread.append(f"{int(match[1]) - 1} more {match[2]}")
        elif match := _NOT_LOADED.search(text):
            unread.append(match[1] or match[2])
    return unread
