"""PTB-XL 1.0.3."""

import ast
from pathlib import Path

import numpy as np
import pandas as pd

from fairseq_ecg.data.tables import repetitions
from fairseq_ecg.errors import DataError
from fairseq_ecg.prepare.sources.archive import (
    TabledWFDBArchive,
    add_faults,
    file_names,
    read_table,
    unpacked,
)

FILE_COLUMNS = {500: "filename_hr", 100: "filename_lr"}
"""Column of the file at each rate in Hz."""
TASKS = {
    # Of each task: the column that marks its statements, and the one that holds its labels, None
    # where the statement itself is the label.
    "all": (None, None),
    "diagnostic": ("diagnostic", None),
    "subdiagnostic": ("diagnostic", "diagnostic_subclass"),
    "superdiagnostic": ("diagnostic", "diagnostic_class"),
    "form": ("form", None),
    "rhythm": ("rhythm", None),
}
"""Kinds of labels (Strodthoff et al. 2021, doi:10.1109/JBHI.2020.3022989)."""


class PTBXL(TabledWFDBArchive):
    """PTB-XL 1.0.3: 21,799 recordings of 10 s.

    Args:
        raw_root: folder that holds ``ptbxl_database.csv``, or the folder above it.
        sample_rate: which of the two versions of every recording, 500 or 100 Hz.
        task: kind of labels, one of `TASKS`.

    Raises:
        DataError: there is no such rate or task.
    """

    name = "ptb_xl"

    def __init__(self, raw_root: Path, *, sample_rate: int = 500, task: str = "superdiagnostic"):
        if sample_rate not in FILE_COLUMNS:
            raise DataError(f"sample_rate {sample_rate}: PTB-XL has {set(FILE_COLUMNS)} Hz")
        if task not in TASKS:
            raise DataError(f"task {task!r}: not one of {', '.join(TASKS)}")
        super().__init__(unpacked(Path(raw_root), "ptbxl_database.csv"))
        self.sample_rate = int(sample_rate)
        self.task = task

    def records(self) -> pd.DataFrame:
        """List the records in the order of ``ptbxl_database.csv``.

        Returns:
            Its columns, with ``sex`` female 1, male 0 as published and ``age`` 300 for more than 89
            years as published, then ``path``, ``save_file``, ``source``, ``dataset``. An ``ecg_id``
            that is listed twice has a ``fault``.

        Raises:
            DataError: the table is missing or damaged.
        """
        where = self.raw_root / "ptbxl_database.csv"
        file = FILE_COLUMNS[self.sample_rate]
        needed = ("ecg_id", "patient_id", "age", "sex", "scp_codes", "strat_fold", file)
        records = read_table(where, needed)
        faults = repetitions(records, file, where) | repetitions(records, "ecg_id", where)
        whole = ("patient_id", "sex", "strat_fold")
        records = records.astype(dict.fromkeys(whole, "Int64"))
        records["path"] = records[file].str.removesuffix(".hea").str.removesuffix(".dat")
        below = f"records{self.sample_rate}/"
        records["save_file"] = file_names(records["path"], f"{self.name}_", below=below)
        records["source"] = records["dataset"] = self.name
        return add_faults(records, faults)

    def labels(self, meta: pd.DataFrame) -> pd.DataFrame:
        """Derive the labels of the task from ``scp_codes``.

        As in the benchmark of its authors every statement that is listed counts, whatever its
        likelihood (0 stands for one that is unknown), and recordings without a statement of the
        task's kind are left out, but for the task ``all``.

        Returns:
            Column ``idx``, then 0 or 1 for each label in the order of the alphabet. Labels are
            those that ``scp_statements.csv`` knows, whichever records there are.

        Raises:
            DataError: ``scp_statements.csv`` is missing or lacks a statement.
        """
        path = self.raw_root / "scp_statements.csv"
        statements = read_table(path, index_col=0)
        label_of = self._labels_of_statements(path, statements)
        names = sorted(set(label_of.values()))
        column_of = {name: i for i, name in enumerate(names)}
        values = np.zeros((len(meta), len(names)), dtype=np.int64)
        for row, text in enumerate(meta["scp_codes"]):
            for code in statements_of(text, meta["path"].iloc[row]):
                if code not in statements.index:
                    raise DataError(f"{path}: no statement {code}, which {meta['path'].iloc[row]} "
                                    "has. Take both tables from one version of PTB-XL")  # fmt: skip
                if code in label_of:
                    values[row, column_of[label_of[code]]] = 1
        labels = pd.DataFrame(values, columns=names)
        labels.insert(0, "idx", meta["idx"].to_numpy())
        return labels if self.task == "all" else labels[values.any(axis=1)].reset_index(drop=True)

    def _labels_of_statements(self, path: Path, statements: pd.DataFrame) -> dict[str, str]:
        """Label of each statement of the task."""
        marks, column = TASKS[self.task]
        for needed in (marks, column):
            if needed is not None and needed not in statements:
                raise DataError(f"{path}: no column {needed}")
        kept = statements if marks is None else statements[statements[marks] == 1]
        labels = pd.Series(kept.index, index=kept.index) if column is None else kept[column]
        return labels.dropna().to_dict()


def statements_of(text: str, where: str) -> list[str]:
    """Read the statements of a recording.

    Args:
        text: ``scp_codes``, a Python dictionary of likelihoods by statement.
        where: names the recording in the error message.

    Returns:
        The statements in their order.

    Raises:
        DataError: the text is no such dictionary.
    """
    try:
        codes = ast.literal_eval(text)
    except Exception:  # of a text that is nested too deep as well
        codes = None
    if not isinstance(codes, dict):
        raise DataError(f"{where}: scp_codes is {text!r}, not likelihoods by statement")
    return list(codes)
