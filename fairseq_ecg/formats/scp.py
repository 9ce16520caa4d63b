"""SCP-ECG (EN 1064, ISO 11073-91064), read by ECGDataKit."""

import warnings

from fairseq_ecg.data.errors import DataError, damage_as_data_error
from fairseq_ecg.formats.channels import Channel, Content, Given
from fairseq_ecg.formats.location import Location

_REMEDY = "Get it again, or convert it to WFDB, EDF or DICOM"


def read_scp(location: Location, given: Given, at_once: int | None = None) -> Content:
    """Read the rhythm of an SCP-ECG file, Huffman-coded or not, with reference beats added."""
    where = str(location)
    try:
        from ecgdatakit import ChecksumWarning, FileParser
    except ImportError:
        raise DataError(
            f"{where}: SCP-ECG needs ECGDataKit: pip install 'fairseq-ecg[scp]'. Or convert the "
            "file to WFDB, EDF or DICOM"
        ) from None
    with (
        location.on_disk() as path,
        damage_as_data_error(where, "SCP-ECG file", _REMEDY),
        warnings.catch_warnings(),
    ):
        warnings.simplefilter("ignore")
        warnings.simplefilter("error", ChecksumWarning)
        record = FileParser.parse(path)
    if record.file_format.name != "SCP-ECG":
        raise DataError(f"{where}: is no SCP-ECG file, but {record.file_format.name}")
    return Content(
        [
            Channel(lead.samples, lead.label, lead.units or None, float(lead.sampling_rate))
            for lead in record.leads
        ],
        {"patient": record.patient.patient_id} if record.patient.patient_id else {},
    )
