"""Recordings with their reports, from archives that have both: PTB-XL and MIMIC-IV-ECG."""

import logging
from abc import abstractmethod
from collections.abc import Collection, Mapping
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import pandas as pd

from fairseq_ecg.data.tables import repetitions
from fairseq_ecg.errors import DataError, as_data_error
from fairseq_ecg.formats import ECG
from fairseq_ecg.prepare.sources.archive import (
    TabledWFDBArchive,
    add_faults,
    read_pieces,
    read_table,
    unpacked,
)
from fairseq_ecg.prepare.sources.mimic_iv_ecg import PIECE_ROWS
from fairseq_ecg.prepare.sources.ptb_xl import statements_of
from fairseq_ecg.prepare.sources.source import PATIENT

logger = logging.getLogger(__name__)

REPORT = "report"
TRANSLATED = "ptbxl_database_translated.csv"
"""Table of PTB-XL with its reports in English, which fairseq_signals ships."""

MIMIC_LINES = tuple(f"report_{line}" for line in range(18))
"""Columns of the machine's report on a recording of MIMIC-IV-ECG."""


class ReportArchive(TabledWFDBArchive):
    """An archive of recordings of which every one becomes a file with its report.

    Args:
        raw_root: folder of the archive.
        marker: its table.
        exclude: numbers of recordings to leave out.
    """

    makes_segments = True
    identifier: str
    """Column of the archive that numbers its recordings."""

    def __init__(self, raw_root: Path, marker: str, exclude: Collection[int]):
        super().__init__(unpacked(Path(raw_root), marker))
        self.exclude = frozenset(exclude)

    def records(self) -> pd.DataFrame:
        """List the recordings in the order of the archive's table, without those to leave out.

        Returns:
            Columns of `listed`, ``save_file`` (the record's own name), ``source``, ``dataset``. A
            recording that is listed twice or has an empty report has a ``fault``.

        Raises:
            DataError: a table is missing or damaged, or no recording remains.
        """
        records, where = self.listed()
        if not len(records):
            raise DataError(f"{where}: lists no recording")
        faults = {
            row: f"{where}, line {row + 2}: its report is empty: there is no text to learn from"
            for row, text in records[REPORT].items()
            if not (isinstance(text, str) and text.strip())
        }
        faults |= repetitions(records, self.identifier, where)
        faults |= {
            row: f"{where}, line {row + 2}: record_list.csv has no study "
            f"{records[self.identifier][row]}. Download both files again"
            for row in records.index[records["path"].isna()]
        }
        records["path"] = records["path"].fillna(records[self.identifier].astype(str))
        records["save_file"] = [f"{PurePosixPath(path).name}.mat" for path in records["path"]]
        records["source"] = records["dataset"] = self.name
        records = add_faults(records, faults)
        records = records[~records[self.identifier].isin(self.exclude)].reset_index(drop=True)
        if not len(records):
            raise DataError(f"{where}: --exclude leaves no recording")
        return records

    @abstractmethod
    def listed(self) -> tuple[pd.DataFrame, Path]:
        """Read the recordings and their reports.

        Returns:
            A table with ``path`` (NaN where it is not known), `identifier`, `PATIENT` and `REPORT`,
            whose index counts the rows of a file, and this file.
        """

    def segment(self, record: Mapping[str, Any], ecg: ECG) -> dict[str, Any]:
        """Make the file of a recording, all leads in the order of the record, in mV.

        Raises:
            DataError: a sample has no value.
        """
        feats = np.asarray(ecg.signal[:, :], np.float64)
        if np.isnan(feats).any():
            raise DataError(
                f"{ecg.where}: skipped for a nan value, a sample that the record says is missing. "
                "Download the record again, or leave it out"
            )
        rate = ecg.sample_rate
        return {"curr_sample_rate": rate, "feats": feats, "text": record[REPORT]}


class PTBXLReports(ReportArchive):
    """PTB-XL: a report by a cardiologist or a device, and the statements it was coded as.

    Args:
        raw_root: folder that holds ``ptbxl_database.csv``, or the folder above it. Reports are
            those of `TRANSLATED` where that is there.
        exclude: ``ecg_id`` of recordings to leave out.
    """

    name = "ptb_xl"
    identifier = "ecg_id"

    def __init__(self, raw_root: Path, *, exclude: Collection[int] = ()):
        super().__init__(raw_root, "ptbxl_database.csv", exclude)

    def listed(self) -> tuple[pd.DataFrame, Path]:
        """See `ReportArchive.listed`; further columns are those of the table.

        ``ecg_id`` is the number that the record's name begins with.
        """
        where = self.raw_root / TRANSLATED
        if not where.is_file():
            where = self.raw_root / "ptbxl_database.csv"
            logger.warning(
                "%s: reports are partly in German, as %s is not beside it. Take it from "
                "fairseq_signals (data/ecg_text/preprocess)",
                where,
                TRANSLATED,
            )
        table = read_table(where, ("filename_hr", REPORT, "scp_codes"))
        table["path"] = table["filename_hr"].str.removesuffix(".hea").str.removesuffix(".dat")
        names = table["path"].str.rpartition("/")[2]
        with as_data_error(f"{where}: 'filename_hr' are to be as records500/00000/00001_hr"):
            table["ecg_id"] = names.str.partition("_")[0].astype(int)
        patients = table.get(PATIENT, table["ecg_id"])
        table[PATIENT] = pd.to_numeric(patients, errors="coerce").astype("Int64")
        return table, where

    def segment(self, record: Mapping[str, Any], ecg: ECG) -> dict[str, Any]:
        """See `ReportArchive.segment`; ``diagnoses`` are the statements in their order."""
        diagnoses = statements_of(record["scp_codes"], record["path"])
        listed = [str(diagnosis) for diagnosis in diagnoses] or np.empty((0, 0))
        return super().segment(record, ecg) | {"diagnoses": listed}


class MIMICReports(ReportArchive):
    """MIMIC-IV-ECG: the statements of the machine, one after the other.

    Args:
        raw_root: folder that holds ``record_list.csv`` and ``machine_measurements.csv``, or the
            folder above it.
        exclude: ``study_id`` of recordings to leave out.
    """

    name = "mimic_iv_ecg"
    identifier = "study_id"

    def __init__(self, raw_root: Path, *, exclude: Collection[int] = ()):
        super().__init__(raw_root, "record_list.csv", exclude)

    def listed(self) -> tuple[pd.DataFrame, Path]:
        """See `ReportArchive.listed`; in the order of ``machine_measurements.csv``."""
        where = self.raw_root / "machine_measurements.csv"
        columns, pieces = ["subject_id", "study_id", *MIMIC_LINES], []
        types = dict.fromkeys(MIMIC_LINES, str)
        for rows in read_pieces(where, columns, rows=PIECE_ROWS, usecols=columns, dtype=types):
            lines = zip(*(rows[line] for line in MIMIC_LINES), strict=True)
            reports = [" ".join(line for line in row if isinstance(line, str)) for row in lines]
            pieces.append(rows[["subject_id", "study_id"]].assign(**{REPORT: reports}))
        studies = pd.concat(pieces)
        path_of = read_table(self.raw_root / "record_list.csv", ("study_id", "path"))
        path_of = path_of.drop_duplicates("study_id").set_index("study_id")["path"]
        studies.insert(0, "path", studies["study_id"].map(path_of))
        return studies.assign(**{PATIENT: studies["subject_id"]}), where
