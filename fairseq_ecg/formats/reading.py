"""One function for all formats."""

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module

from fairseq_ecg.ecg.recording import DOUBTS, ECG, check_doubts
from fairseq_ecg.errors import DataError, as_data_error
from fairseq_ecg.formats.archives import ZIP, format_of_zip, refuse_packed
from fairseq_ecg.formats.channels import Channel, Given, ParsedRecord, to_ecg
from fairseq_ecg.formats.hdf5 import SIGNATURE
from fairseq_ecg.formats.location import Location
from fairseq_ecg.formats.wfdb import header_of


@dataclass(frozen=True)
class FileFormat:
    """How files of a format are recognised and read.

    Args:
        module: of this package, imported when it is needed, as is the library behind it.
        reader: its function, from a `Location`, what is `Given` and the samples to read at once to
            a `ParsedRecord`.
        suffixes: extensions of its files, for those whose first bytes do not identify them.
        signature: bytes that identify it, whatever a file is called; none where it has no such.
        offset: of the signature in a file.
    """

    module: str
    reader: str
    suffixes: tuple[str, ...] = ()
    signature: bytes = b""
    offset: int = 0


FORMATS = {
    "wfdb": FileFormat("wfdb", "read_wfdb", (".hea", ".dat")),
    "edf": FileFormat("edf", "read_edf", (".edf",), b"0       "),
    "bdf": FileFormat("edf", "read_bdf", (".bdf",), b"\xffBIOSEMI"),
    "dicom": FileFormat("dicom", "read_dicom", (".dcm", ".dicom"), b"DICM", offset=128),
    "scp": FileFormat("scp", "read_scp", (".scp",), b"SCPECG", offset=16),
    "aecg": FileFormat("scp", "read_aecg"),  # ".xml", as MUSE's: see `format_of`
    "ishne": FileFormat("scp", "read_ishne", (".ecg",), b"ISHNE1.0"),
    "muse": FileFormat("reading", "read_muse", (".xml",)),
    "csv": FileFormat("delimited", "read_delimited", (".csv", ".tsv", ".txt")),
    "npy": FileFormat("arrays", "read_npy", (".npy",), b"\x93NUMPY"),
    "npz": FileFormat("variables", "read_npz", (".npz",)),
    "xlsx": FileFormat("workbooks", "read_xlsx", (".xlsx",)),
    "mat": FileFormat("mat", "read_mat", (".mat",), b"MATLAB "),
    "hdf5": FileFormat("hdf5", "read_hdf5", (".h5", ".hdf5", ".hdf", ".hd5"), SIGNATURE),
}
"""All formats by name."""

FORMAT_OF_SUFFIX = {suffix: name for name, row in FORMATS.items() for suffix in row.suffixes}
"""Format by extension."""

_AECG = re.compile(rb"<(?:\w+:)?AnnotatedECG\b")
_START = 4096
"""Bytes of a file by which its format is recognised."""
_PARQUET = b"PAR1"


def read_ecg(
    path: str | os.PathLike,
    *,
    format: str | None = None,
    leads: Sequence[str] | None = None,
    sample_rate: float | None = None,
    units: str | Sequence[str] | None = None,
    gain: float | Sequence[float] | None = None,
    at_once: int | None = None,
    verify: bool = False,
) -> ECG:
    """Read one recording.

    What the file says counts. What is given fills in what it does not say; where it says
    something else, that is an error. Rates that differ by less than a thousandth agree, and the
    one given is taken.

    Args:
        path: file, WFDB record with or without extension, or URL of either (anything fsspec
            opens, such as ``s3://bucket/a.edf``).
        format: one of `FORMATS`; recognised by the first bytes or the extension if not given.
        leads: names of the file's leads, in its order.
        sample_rate: in Hz.
        units: ``mV``, ``uV``, ``V``, ``nV`` or ``counts``, of all leads or of each.
        gain: counts of the converter per mV, of all leads or of each.
        at_once: of a recording with more samples than this, ``signal`` is a `ChunkedSignal`, which
            reads what is asked of it, where the format allows that. None: the whole is read.
        verify: refuse what there is reason to doubt, which is otherwise read and listed in
            ``metadata["doubts"]``: samples that do not have the checksum that the file says, or
            another number of them. Checksums of a recording that is not read at once are compared
            only now, for which all of it is read.

    Returns:
        The recording in mV with all leads of the file, in its order. `arrange` picks and orders,
        `check_millivolts` doubts what the file says of units.

    Raises:
        DataError: the file is missing, damaged or of no known format, says too little,
            contradicts what is given, or is to be verified and there is reason to doubt it.
        ValueError: there is no such format.
    """
    if format is not None and format not in FORMATS:
        raise ValueError(f"format={format!r}: choose one of {', '.join(FORMATS)}")
    given = Given(leads, sample_rate, units, gain)
    location = Location.of(path)
    with as_data_error(f"{location}: cannot be read"):
        format = format or format_of(location)
        if format == "wfdb":
            location = header_of(location)
        row = FORMATS[format]
        read = getattr(import_module(f"fairseq_ecg.formats.{row.module}"), row.reader)
        record = read(location, given, at_once)
        if verify:
            check_doubts(str(location), (*record.metadata.get(DOUBTS, ()), *record.verify()))
        return to_ecg(str(location), record, given, at_once)


def format_of(path: str | os.PathLike | Location) -> str:
    """Recognise the format of a file by its first bytes, or else by its extension.

    Raises:
        DataError: it is missing, empty, or of no format known here.
    """
    location = Location.of(path)
    if location.suffix == ".hea" or _is_record(location):
        return "wfdb"
    if not location.suffix and not location.exists() and not os.path.isdir(location.address):
        raise DataError(f"{location}.hea: no such WFDB header, and {location} is no file")
    start = location.read(_START)
    if not start:
        raise DataError(f"{location}: is empty")
    if start.startswith(ZIP):
        return format_of_zip(location)
    if location.suffix != ".dat":  # whose samples may be any bytes
        refuse_packed(location, start)
    for format, row in FORMATS.items():
        if row.signature and start.startswith(row.signature, row.offset):
            return format
    if location.suffix in FORMAT_OF_SUFFIX:
        format = FORMAT_OF_SUFFIX[location.suffix]
        return "aecg" if format == "muse" and _AECG.search(start.replace(b"\0", b"")) else format
    if start.startswith(_PARQUET):
        raise DataError(
            f"{location}: a table of Parquet, not a recording. Read it with pandas, and each cell "
            "that holds a recording with fairseq_ecg.formats.ecg_from_array"
        )
    raise DataError(
        f"{location}: of no known format. Known are {', '.join(FORMAT_OF_SUFFIX)} and WFDB records "
        "without extension; give format where the extension is another one"
    )


def _is_record(location: Location) -> bool:
    """Whether a path without a known extension names a WFDB record."""
    return (
        location.suffix not in FORMAT_OF_SUFFIX and location.beside(f"{location.name}.hea").exists()
    )


def read_muse(location: Location, given: Given, at_once: int | None = None) -> ParsedRecord:
    """Read a MUSE XML file."""
    from fairseq_ecg.formats import muse

    with location.on_disk() as path:
        ecg = muse.read_muse(path).ecg
    return ParsedRecord(
        [
            Channel(row, lead, "mV", ecg.sample_rate)
            for lead, row in zip(ecg.leads, ecg.signal, strict=True)
        ],
        ecg.metadata,
    )
