"""CODE-15 %: 345,779 ECGs of the Telehealth Network of Minas Gerais in 18 HDF5 files.

Published by Ribeiro et al. at https://zenodo.org/records/4916206.
"""

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from fairseq_ecg.data.names import path_below
from fairseq_ecg.data.tables import repetitions
from fairseq_ecg.ecg.leads import LEADS
from fairseq_ecg.errors import DataError
from fairseq_ecg.formats import ECG
from fairseq_ecg.formats.hdf5 import check_data_set, open_hdf5
from fairseq_ecg.prepare.sources.archive import (
    add_faults,
    read_table,
    refuse_faulty,
    unpacked,
)
from fairseq_ecg.prepare.sources.source import Source

logger = logging.getLogger(__name__)

SAMPLE_RATE = 400

LABELS = ("is_male", "1dAVb", "RBBB", "LBBB", "SB", "ST", "AF", "normal_ecg")


class CODE15(Source):
    """The archive: ``exams.csv`` and ``exams_part0.hdf5`` to ``exams_part17.hdf5``.

    Files that are not there leave out their exams. Tracings are in mV (float32, 400 Hz) and padded
    with zeros at both ends, which are removed.

    Args:
        raw_root: folder of the files, or the folder around it.
    """

    name = "code_15"

    def __init__(self, raw_root: Path):
        super().__init__(unpacked(Path(raw_root), "exams.csv"))

    def records(self) -> pd.DataFrame:
        """List the exams whose trace file is there, in the order of ``exams.csv``.

        Returns:
            The columns of ``exams.csv``, ``path`` (the exam), ``save_file``, ``source``,
            ``dataset``, and ``hdf_ind``, its row in the trace file (-1 where it is not in it). An
            exam that is listed again, or whose trace file is damaged, has a ``fault``.

        Raises:
            DataError: ``exams.csv`` is missing or damaged, or all trace files are missing.
        """
        path = self.raw_root / "exams.csv"
        exams = read_table(path, ("exam_id", "trace_file"), low_memory=False)
        faults = repetitions(exams, "exam_id", path)
        unnamed = exams["trace_file"].isna()
        faults |= {row: f"{path}, line {row + 2}: no trace_file" for row in exams.index[unnamed]}
        names = sorted(set(exams["trace_file"].dropna()))
        for name in names:
            path_below(str(path), name, "a 'trace_file'", "the archive")
        row_of, damage = self._rows(names, path)
        for name, reason in damage.items():
            faults |= dict.fromkeys(exams.index[exams["trace_file"] == name], reason)
        exams = exams[unnamed | exams["trace_file"].isin(row_of)]
        names = exams["exam_id"].astype(str)
        records = exams.assign(
            path=names,
            save_file=self.name + "_" + names + ".mat",
            source=self.name,
            dataset=self.name,
            hdf_ind=[
                row_of.get(file, {}).get(exam, -1)
                for file, exam in zip(exams["trace_file"], exams["exam_id"], strict=True)
            ],
        )
        faults = {row: fault for row, fault in faults.items() if row in records.index}
        return add_faults(records, faults).reset_index(drop=True)

    def _rows(
        self, names: list[str], exams: Path
    ) -> tuple[dict[str, dict[int, int]], dict[str, str]]:
        """Row of each exam in each of the trace files that are there; what damaged ones lack."""
        there = [name for name in names if (self.raw_root / name).is_file()]
        if not there:
            raise DataError(f"{exams}: none of its trace files ({', '.join(names)}) is there")
        if len(there) < len(names):
            logger.warning(
                "%s: %d of %d trace files are missing, their exams are left out: %s",
                exams,
                len(names) - len(there),
                len(names),
                ", ".join(name for name in names if name not in there),
            )
        rows, damage = {}, {}
        for name in there:
            path = self.raw_root / name
            try:
                with open_hdf5(path, str(path), "trace file", "Download it again") as file:
                    check_data_set(file["exam_id"], str(path))
                    check_data_set(file["tracings"], str(path))
                    # The last row of every file is no exam: id 0, all zero.
                    exams = enumerate(file["exam_id"][:].tolist())
                    rows[name] = {int(exam): row for row, exam in exams if exam}
            except DataError as error:
                damage[name], rows[name] = str(error), {}
        return rows, damage

    def locate(self, path: str) -> str:
        """Return the exam: it has no file of its own."""
        return path

    def read(self, record: Mapping[str, Any]) -> ECG:
        """Read the tracing of one exam, without its padding."""
        refuse_faulty(record)
        path = self.raw_root / record["trace_file"]
        where = f"{path}, exam {record['exam_id']}"
        if record["hdf_ind"] < 0:
            raise DataError(f"{where}: the file has no such exam")
        with open_hdf5(path, str(path), "trace file", "Download it again") as file:
            if file["exam_id"][record["hdf_ind"]] != record["exam_id"]:
                raise DataError(f"{where}: is in another row now. Run the step 'records' again")
            check_data_set(file["tracings"], str(path))
            tracing = file["tracings"][record["hdf_ind"]]
        return ECG(where, _without_padding(tracing.T), LEADS, SAMPLE_RATE)

    def labels(self, meta: pd.DataFrame) -> pd.DataFrame:
        """Return the published labels."""
        return meta[["idx", *LABELS]]


def _without_padding(tracing: np.ndarray) -> np.ndarray:
    """Cut off samples at both ends where all leads are 0; an empty tracing stays as it is."""
    used = np.flatnonzero(tracing.any(axis=0))
    return tracing[:, used[0] : used[-1] + 1] if len(used) else tracing
