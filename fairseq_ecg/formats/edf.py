"""EDF, EDF+ and BDF."""

import warnings

from fairseq_ecg.data.errors import DataError, damage_as_data_error
from fairseq_ecg.formats.channels import Channel, Content, Given
from fairseq_ecg.formats.location import Location

_TRUNCATED = r"(Incomplete data record|\w+ header indicates (?!-1 ))"
"""How edfio's warnings of missing data start; -1 records is what an interrupted writer leaves."""


def read_edf(location: Location, given: Given) -> Content:
    """Read an EDF or EDF+ file."""
    return _read(location, "EDF")


def read_bdf(location: Location, given: Given) -> Content:
    """Read a BDF or BDF+ file."""
    return _read(location, "BDF")


def _read(location: Location, kind: str) -> Content:
    import edfio

    where = str(location)
    read = {"EDF": edfio.read_edf, "BDF": edfio.read_bdf}[kind]
    with (
        location.on_disk() as path,
        damage_as_data_error(where, f"{kind} file"),
        warnings.catch_warnings(),
    ):
        warnings.filterwarnings("error", message=_TRUNCATED)
        # Latin-1 holds ASCII, which the format asks for, and the micro sign that devices write.
        edf = read(path, header_encoding="latin-1")
        if not edf.is_continuous:
            raise DataError(f"{where}: has gaps ({kind}+D). Cut it into continuous files")
        return Content(
            [
                Channel(
                    signal.data,
                    signal.label.strip() or None,
                    signal.physical_dimension,
                    signal.sampling_frequency,
                )
                for signal in edf.signals
            ],
            {
                "patient": edf.local_patient_identification,
                "recording": edf.local_recording_identification,
            },
        )
