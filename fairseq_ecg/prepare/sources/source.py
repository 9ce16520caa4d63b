"""What an archive of ECGs has to tell so that it can be prepared."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from fairseq_ecg.formats import ECG


class Source(ABC):
    """An archive of ECGs.

    A source is sent to worker processes: it is picklable, and holds no open files.

    Args:
        raw_root: folder of the archive.
    """

    name: str
    """Of the source, the first part of the names of its files (``mimic_iv_ecg``)."""

    def __init__(self, raw_root: Path):
        self.raw_root = raw_root

    @abstractmethod
    def records(self) -> pd.DataFrame:
        """List the records of the archive.

        Returns:
            One row for each record, in an order that depends on the archive alone. Columns
            ``path`` (what `read` finds it by), ``source``, ``dataset``; ``save_file`` (name of the
            ``.mat`` file) if it does not follow from ``path``; and what else is known before a
            signal is read.

        Raises:
            DataError: the archive is not as it should be.
        """

    @abstractmethod
    def read(self, record: Mapping[str, Any]) -> ECG:
        """Read one record; called in worker processes.

        Args:
            record: its row of the table of records.

        Returns:
            The recording in mV, with whatever leads it has, and ``metadata`` that becomes columns
            of ``meta.csv``.

        Raises:
            DataError: the record is missing, damaged, or not to be had in mV.
        """

    def describe(self, meta: pd.DataFrame) -> pd.DataFrame:
        """Finish the table of metadata, of which every row is a record that was read.

        Args:
            meta: columns of `records`, then of ``metadata``.

        Returns:
            The table as it is written.
        """
        return meta

    def labels(self, meta: pd.DataFrame) -> pd.DataFrame | None:
        """Derive labels from metadata.

        Args:
            meta: ``meta.csv`` as it was written.

        Returns:
            Column ``idx``, then one column for each label; None if the source has no labels.
        """
        return None
