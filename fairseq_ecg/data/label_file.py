"""Label files: the array of labels that recordings point into by their ``idx``, and their names."""

import csv
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from fairseq_ecg.data.regular import require_file
from fairseq_ecg.data.width import check_width
from fairseq_ecg.errors import DataError, as_data_error

LABEL_DEFINITION = "label_def.csv"
"""File with a line for each label, beside the array of labels."""


NO_ANSWER = "none"
"""Class of ECG-QA that stands for no answer, and that no network has an output for."""


def read_label_names(path: str | os.PathLike) -> list[str]:
    """Read the names of the labels, in the order of the network's outputs.

    Args:
        path: ``label_def.csv``, a CSV file with a column ``name``.

    Raises:
        DataError: there is no such file, it has no such column, or no or an empty name there.
    """
    return _read_names(path, ("name",))


def read_answer_names(path: str | os.PathLike) -> list[str]:
    """Read the names of the answers to questions, in the order of the network's outputs.

    Args:
        path: ``label_def.csv``, or the ``answers.csv`` of the ECG-QA project, with a column
            ``class``, of which `NO_ANSWER` is left out.

    Raises:
        DataError: there is no such file, it has no such column, or no or an empty name there.
    """
    return [name for name in _read_names(path, ("name", "class")) if name != NO_ANSWER]


def _read_names(path: str | os.PathLike, columns: Sequence[str]) -> list[str]:
    """Read the first of these columns that a CSV file has."""
    try:
        with (
            as_data_error(f"{path}: cannot be read as a CSV file", but=(FileNotFoundError,)),
            open(path, newline="", encoding="utf-8-sig") as file,
        ):
            check_width(path)
            reader = csv.DictReader(file)
            found = reader.fieldnames or ()
            column = next((name for name in columns if name in found), None)
            if column is None:
                wanted = " or ".join(map(repr, columns))
                raise DataError(f"{path}: no column {wanted} (it has {', '.join(found)})")
            names = [(row[column] or "").strip() for row in reader]
    except FileNotFoundError:
        raise DataError(f"{path}: no such file") from None
    if not names or not all(names):
        raise DataError(f"{path}: {'a label has no name' if names else 'names no label'}")
    return names


class LabelFile:
    """Labels of a data set, read from disk as they are asked for.

    Args:
        path: ``.npy`` file of a numeric array ``(N, C)``, row = ``idx`` of a recording.
        missing: whether labels may be NaN, for losses that leave such labels out.

    Raises:
        DataError: the file is not such an array.
    """

    def __init__(self, path: str | os.PathLike, missing: bool = False):
        self.path = os.fspath(path)
        self.missing = missing
        if not self.path.endswith(".npy"):
            raise DataError(f"{self.path}: label_file must be a .npy file, as labels/y.npy is")
        try:
            with as_data_error(
                f"{self.path}: cannot be read as a .npy file", but=(FileNotFoundError,)
            ):
                require_file(self.path)
                self._labels = np.load(self.path, mmap_mode="r")
        except FileNotFoundError:
            raise DataError(f"{self.path}: no such label file. Check task.label_file") from None
        if self._labels.ndim != 2 or self._labels.dtype.kind not in "fiub":
            raise DataError(
                f"{self.path}: expected a numeric array of two dimensions (recordings, labels), "
                f"found {self._labels.dtype} of shape {self._labels.shape}"
            )

    def __reduce__(self):
        # A memory map pickles as the whole array; a worker opens the file itself instead.
        return type(self), (self.path, self.missing)

    @property
    def n_labels(self) -> int:
        """C, labels of a recording."""
        return self._labels.shape[1]

    def names(self) -> list[str] | None:
        """Names of the labels, of the ``label_def.csv`` beside the file.

        Returns:
            The names; None if there is no such file, or one of other labels.
        """
        try:
            names = read_label_names(Path(self.path).with_name(LABEL_DEFINITION))
        except DataError:
            return None
        return names if len(names) == self.n_labels else None

    def row(self, idx: int, where: str) -> torch.Tensor:
        """Labels of one recording.

        Args:
            idx: of the recording.
            where: names the recording in error messages.

        Returns:
            ``(C,)`` in the dtype of the file.

        Raises:
            DataError: the file has no such row, or a label in it is infinite, or NaN where none
                may be missing.
        """
        if not 0 <= idx < len(self._labels):
            raise DataError(
                f"{where}: its idx {idx} is not a row of {self.path}, which has "
                f"{len(self._labels)}. Label file and recordings are of different data sets: "
                "build the labels again"
            )
        labels = torch.from_numpy(np.array(self._labels[idx]))
        usable = labels.isfinite() | labels.isnan() if self.missing else labels.isfinite()
        if not usable.all():
            raise DataError(
                f"{self.path}, row {idx} (of {where}): holds a label that is not finite. "
                "Leave recordings without labels out of the manifest; a regression takes NaN for "
                "a missing label with task.missing_labels=ignore"
            )
        return labels
