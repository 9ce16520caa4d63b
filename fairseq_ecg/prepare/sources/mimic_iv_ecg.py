"""MIMIC-IV-ECG 1.0, and what MIMIC-IV says of its patients."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pandas as pd

from fairseq_ecg.data.report_lines import joined_lines
from fairseq_ecg.data.tables import repetitions
from fairseq_ecg.errors import DataError
from fairseq_ecg.prepare.sources.archive import (
    TabledWFDBArchive,
    add_faults,
    file_names,
    read_pieces,
    read_table,
    unpacked,
)

RECORD_COLUMNS = ("subject_id", "study_id", "file_name", "ecg_time", "path")
CARDIAC_MARKERS = {"51003": "troponin T", "50911": "creatine kinase, MB isoenzyme"}
"""``itemid`` of the laboratory events that become ``cardiac_markers.csv``."""
DAYS_PER_YEAR = 365.25
PIECE_ROWS = 200_000
"""Rows of large tables in memory at a time."""


class MIMICIVECG(TabledWFDBArchive):
    """MIMIC-IV-ECG 1.0: 800,035 recordings of 10 s at 500 Hz.

    Args:
        raw_root: folder that holds ``record_list.csv`` and ``machine_measurements.csv``, or the
            folder above it.
        mimic_iv_root: folder of MIMIC-IV, with ``hosp/patients.csv.gz`` and
            ``hosp/labevents.csv.gz``. Without it nothing is known of the patients.
    """

    name = "mimic_iv_ecg"

    def __init__(self, raw_root: Path, *, mimic_iv_root: Path | None = None):
        super().__init__(unpacked(Path(raw_root), "record_list.csv"))
        self.mimic_iv_root = None if mimic_iv_root is None else Path(mimic_iv_root)

    def records(self) -> pd.DataFrame:
        """List the records in the order of ``record_list.csv``.

        Returns:
            Columns of ``record_list.csv``; with MIMIC-IV ``sex`` (female 1, male 0), ``anchor_age``
            (years), ``anchor_year``, ``anchor_day_offset``, ``dod``, ``anchor_year_dt``, ``age``
            (years) and all times in the years of the anchor; ``machine_report``; ``save_file``,
            ``source``, ``dataset``. A study that is listed twice, or without a report by the
            machine, has a ``fault``.

        Raises:
            DataError: a table is missing or damaged.
        """
        where = self.raw_root / "record_list.csv"
        records = read_table(where, RECORD_COLUMNS)
        faults = repetitions(records, "path", where) | repetitions(records, "study_id", where)
        if self.mimic_iv_root is not None:
            records = _with_patients(records, self._patients())
        records["machine_report"] = records["study_id"].map(self._reports())
        for row, study in records.loc[records["machine_report"].isna(), "study_id"].items():
            faults.setdefault(
                row,
                f"{where}, line {row + 2}: machine_measurements.csv has no study {study}. "
                "Download both files again",
            )
        records["save_file"] = file_names(records["path"], f"{self.name}_", below="files/")
        records["source"] = records["dataset"] = self.name
        return add_faults(records, faults)

    def tables(self) -> Iterator[tuple[str, pd.DataFrame]]:
        """Read ``patients`` and ``cardiac_markers`` of MIMIC-IV.

        Yields:
            ``patients`` with times in the years of the anchor; then ``cardiac_markers``, those
            rows of ``labevents.csv.gz`` as they are, of which `PIECE_ROWS` are read at a time.
        """
        if self.mimic_iv_root is None:
            return
        yield "patients", self._patients()
        path = self.mimic_iv_root / "hosp" / "labevents.csv.gz"
        for events in read_pieces(path, ("subject_id", "itemid"), rows=PIECE_ROWS, dtype=str):
            yield "cardiac_markers", events[events["itemid"].isin(CARDIAC_MARKERS)]

    def _reports(self) -> pd.Series:
        """Report of the machine by study."""
        path = self.raw_root / "machine_measurements.csv"
        header = read_table(path, ("study_id",), nrows=0)
        lines = [column for column in header if column.startswith("report_")]
        types = dict.fromkeys(lines, str)
        studies, texts = [], []
        for rows in read_pieces(path, rows=PIECE_ROWS, usecols=["study_id", *lines], dtype=types):
            studies.extend(rows["study_id"])
            of_rows = zip(*(rows[line].fillna("") for line in lines), strict=True)
            texts.extend(sys.intern(joined_lines(row)) for row in of_rows)
        reports = pd.DataFrame({"study_id": studies, "report": texts}).drop_duplicates()
        if not reports["study_id"].is_unique:
            study = reports.loc[reports["study_id"].duplicated(), "study_id"].iloc[0]
            raise DataError(f"{path}: has different reports of study {study}. Download it again")
        return reports.set_index("study_id")["report"]

    def _patients(self) -> pd.DataFrame:
        path = self.mimic_iv_root / "hosp" / "patients.csv.gz"
        needed = ("subject_id", "gender", "anchor_age", "anchor_year", "anchor_year_group", "dod")
        patients = read_table(path, needed)
        if not patients["subject_id"].is_unique:
            subject = patients.loc[patients["subject_id"].duplicated(), "subject_id"].iloc[0]
            raise DataError(f"{path}: subject {subject} is there twice. Download it again")
        years = patients["anchor_year_group"].str.extract(r"^\s*(\d{4})\s*-\s*(\d{4})\s*$")
        first, last = years[0].astype("Int64"), years[1].astype("Int64")
        if not (last - first == 2).fillna(False).all():
            group = patients.loc[~(last - first == 2).fillna(False), "anchor_year_group"].iloc[0]
            raise DataError(f"{path}: anchor_year_group {group!r} does not span two years")
        anchor_year = first.astype("int64") + 1
        days = (anchor_year - patients["anchor_year"]) * DAYS_PER_YEAR
        offset = pd.to_timedelta(days.astype("int64"), unit="D")
        return pd.DataFrame(
            {
                "subject_id": patients["subject_id"],
                "sex": patients["gender"].map({"F": 1, "M": 0}).astype("Int64"),
                "anchor_age": patients["anchor_age"],
                "anchor_year": anchor_year,
                "anchor_day_offset": offset,
                "dod": pd.to_datetime(patients["dod"]) + offset,
                "anchor_year_dt": pd.to_datetime(anchor_year.astype(str) + "-01-01"),
            }
        )


def _with_patients(records: pd.DataFrame, patients: pd.DataFrame) -> pd.DataFrame:
    """Add columns of the patients and ``age``; times become those of the anchor."""
    merged = records.merge(patients, on="subject_id", how="left")
    merged["ecg_time"] = pd.to_datetime(merged["ecg_time"]) + merged["anchor_day_offset"]
    days = (merged["ecg_time"] - merged["anchor_year_dt"]).dt.days
    merged["age"] = merged["anchor_age"] + days / DAYS_PER_YEAR
    return merged
