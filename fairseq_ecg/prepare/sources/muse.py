"""Folders of recordings that GE's MUSE exports as XML."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from fairseq_ecg.ecg.recording import LEFT_OUT, with_notes
from fairseq_ecg.errors import DataError
from fairseq_ecg.formats import ECG
from fairseq_ecg.formats.groups import DERIVED
from fairseq_ecg.prepare.sources.archive import (
    add_faults,
    file_names,
    files_below,
    natural,
    refuse_faulty,
    with_metadata,
)
from fairseq_ecg.prepare.sources.source import Source

YEARS_PER = {
    "YEARS": 1.0,
    "MONTHS": 1 / 12,
    "WEEKS": 7 / 365,
    "DAYS": 1 / 365,
    "HOURS": 1 / (24 * 365),
}
_SEX = {"FEMALE": 1, "MALE": 0}
_NO_PATIENT = r"(?i)^x+$"
_LARGEST_EXACT = 2**53


class MUSE(Source):
    """A folder of MUSE exports, at any depth.

    Args:
        raw_root: the folder.
        name: of source and data set; fairseq_signals says ``uhn``.
    """

    def __init__(self, raw_root: Path, *, name: str = "uhn"):
        super().__init__(Path(raw_root))
        self.name = name

    def records(self) -> pd.DataFrame:
        """List the files sorted by path, numbers as numbers.

        Returns:
            Columns ``path``, ``save_file``, ``source``, ``dataset``. A file whose name would be
            that of another one has a ``fault``.

        Raises:
            DataError: there are none.
        """
        paths = sorted(files_below(self.raw_root, (".xml",)), key=natural)
        if not paths:
            raise DataError(f"{self.raw_root}: no .xml files. Give the folder of MUSE's exports")
        records = pd.DataFrame({"path": paths})
        stems = records["path"].str.slice(stop=-len(".xml"))
        records["save_file"] = file_names(stems)
        records["source"] = records["dataset"] = self.name
        again = records.index[records["save_file"].duplicated()]
        return add_faults(
            records,
            {
                row: f"{self.raw_root / records.at[row, 'path']}: another file becomes "
                f"{records.at[row, 'save_file']}, too. Rename it"
                for row in again
            },
        )

    def read(self, record: Mapping[str, Any]) -> ECG:
        """Read a file; ``metadata`` also holds its tables ``qrs_data`` and ``lead_data``.

        Median beats are not named among the signals left out: every file has them.
        """
        from fairseq_ecg.formats.muse import read_muse  # needs lxml

        refuse_faulty(record)
        recording = read_muse(self.raw_root / record["path"])
        metadata = dict(recording.metadata)
        metadata |= {"qrs_data": recording.qrs, "lead_data": recording.leads}
        left_out = metadata.pop(LEFT_OUT, "").split(", ")
        left_out = [name for name in left_out if name and not name.endswith(DERIVED)]
        return with_metadata(recording.ecg, with_notes(metadata, left_out))

    def describe(self, meta: pd.DataFrame) -> pd.DataFrame:
        """Add what MUSE's fields mean.

        Returns:
            The table with ``UNKNOWN`` emptied, and at its end ``age`` (years), ``patient_id``
            (numbers, or texts where an identifier is no number), ``acq_dt``, ``edit_dt``, ``dob``
            and ``sex`` (female 1, male 0). What was found in the signals stands where
            fairseq_signals has it: ``sample_rate`` in place of ``Waveform_SampleBase``.
        """
        meta = _in_order(super().describe(meta))
        for column in meta.select_dtypes(["object", "string"]):
            meta[column] = meta[column].mask(meta[column] == "UNKNOWN")
        meta["age"] = pd.to_numeric(_field(meta, "PatientDemographics_PatientAge"), "coerce") * (
            _field(meta, "PatientDemographics_AgeUnits").str.upper().map(YEARS_PER).astype(float)
        )
        meta["patient_id"] = _patient_ids(_field(meta, "PatientDemographics_PatientID"))
        meta["acq_dt"] = _times(meta, "TestDemographics_Acquisition")
        meta["edit_dt"] = _times(meta, "TestDemographics_Edit")
        dates = _field(meta, "PatientDemographics_DateofBirth")
        meta["dob"] = pd.to_datetime(dates, format="%m-%d-%Y", errors="coerce")
        gender = _field(meta, "PatientDemographics_Gender")
        meta["sex"] = gender.str.upper().astype(object).map(_SEX)
        return meta


def _in_order(meta: pd.DataFrame) -> pd.DataFrame:
    """Put what was found in the signals where fairseq_signals has it."""
    positions: dict[str, float] = {name: position for position, name in enumerate(meta)}
    for name, before in (
        ("avail_leads", "lead_order"),
        ("sample_rate", "Waveform_SampleBase"),
        ("sample_size", meta.columns[-1]),
    ):
        if name in positions and before in positions:
            positions[name] = positions[before] + 0.5
    names = sorted(positions, key=positions.__getitem__)
    return meta[names].drop(columns="Waveform_SampleBase", errors="ignore")


def _field(meta: pd.DataFrame, name: str) -> pd.Series:
    if name in meta:
        return meta[name].astype("string")
    return pd.Series(None, index=meta.index, dtype="string")


def _times(meta: pd.DataFrame, prefix: str) -> pd.Series:
    """Date and time in one; MUSE writes the month first."""
    text = _field(meta, f"{prefix}Date") + " " + _field(meta, f"{prefix}Time")
    return pd.to_datetime(text, format="%m-%d-%Y %H:%M:%S", errors="coerce")


def _patient_ids(texts: pd.Series) -> pd.Series:
    """Identifiers as numbers, or as they are where numbers would not distinguish them."""
    known = texts.mask(texts.str.match(_NO_PATIENT).fillna(False))
    numbers = pd.to_numeric(known, errors="coerce")
    is_exact = numbers.isna() == known.isna()
    if (is_exact & ~(numbers.abs() >= _LARGEST_EXACT).fillna(False)).all():
        return numbers.astype(float)
    return known
