"""Label files: the array of labels that recordings point into with their ``idx``."""

import os

import numpy as np
import torch

from fairseq_ecg.data.errors import DataError


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
            self._labels = np.load(self.path, mmap_mode="r")
        except FileNotFoundError:
            raise DataError(f"{self.path}: no such label file. Check task.label_file") from None
        except (OSError, ValueError, EOFError) as error:
            raise DataError(f"{self.path}: cannot be read as a .npy file: {error}") from error
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
