"""What an archive of ECGs has to say so that it can be prepared."""

import re
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar

import pandas as pd

from fairseq_ecg.formats import ECG

RESERVED = ("idx", "save_path", "source_path", "org_path", "preprocessed_path", "segmented_path")
"""Columns that the next step adds."""

FOUND = re.compile(
    r"(lead_order|sample_rate|sample_size|avail_leads|(nan|nan_leads|constant_leads)(_any)?"
    r"|(mean|std)_\d+)$"
)
"""Columns of ``meta.csv`` that are found in the signals."""

PATIENT = "patient_id"
"""Column that the patient has in tables that are made here."""

FAULT = "fault"
"""Column of records that are known not to be usable before they are read: why."""


class Source(ABC):
    """An archive of ECGs.

    A source is sent to worker processes: it is picklable, and holds no open files.

    Args:
        raw_root: folder of the archive.
    """

    name: str
    """Of the source, the first part of the names of its files (``mimic_iv_ecg``)."""

    verify: bool = False
    """Whether `read` refuses what there is reason to doubt, see ``formats.read_ecg``."""

    makes_segments: ClassVar[bool] = False
    """Whether `segment` makes one file of each record, in place of the stages; then every record
    has a value in the column `PATIENT`."""

    def __init__(self, raw_root: Path):
        self.raw_root = raw_root

    @abstractmethod
    def records(self) -> pd.DataFrame:
        """List the records of the archive.

        Returns:
            One row for each record, in an order that depends on the archive alone. Columns
            ``path`` (what `read` finds it by, relative to ``raw_root`` or absolute), ``source``,
            ``dataset``; ``save_file`` (name of the ``.mat`` file) if it does not follow from
            ``path``; and what else is known before a signal is read. Names may not depend on
            which other records there are: ids are kept by them. No column is called as one of
            `RESERVED` or `FOUND`, which the signals add.

        Raises:
            DataError: the archive is not as it should be.
        """

    @abstractmethod
    def read(self, record: Mapping[str, Any]) -> ECG:
        """Read one record; called in worker processes.

        Args:
            record: its row of the table of records.

        Returns:
            The recording in mV, with whatever leads it has, and ``metadata``: numbers, texts and
            lists become columns of ``meta.csv``, after ``sample_rate`` and ``sample_size``; a
            DataFrame becomes rows of a table of its own, ``<name>.csv``; `DOUBTS` become rows of
            ``doubts.csv``. The signal of a recording
            that should not be in memory as a whole may be a `blocks.Signal` in place of an array.

        Raises:
            DataError: the record is missing, damaged, or not to be had in mV.
        """

    def segment(self, record: Mapping[str, Any], ecg: ECG) -> dict[str, Any]:
        """Make the file of one record, of a source that `makes_segments`; in worker processes.

        Args:
            record: its row of the table of records.
            ecg: what `read` returned.

        Returns:
            What `mat.write_mat` writes as ``save_file``, ``feats`` and ``curr_sample_rate`` among
            it, by name.

        Raises:
            DataError: the record cannot be used.
        """
        raise NotImplementedError(f"{self.name} makes no segments of its own")

    def fingerprint(self) -> dict[str, Any]:
        """Return the options that the files of `segment` depend on, as JSON can hold them."""
        return {}

    def locate(self, path: str) -> str:
        """Say where a record lies, for the column ``path`` of ``meta.csv``.

        Args:
            path: of the table of records.

        Returns:
            An absolute path, or what stands for one where a record is no file of its own.
        """
        return str(self.raw_root.absolute() / path)

    def describe(self, meta: pd.DataFrame) -> pd.DataFrame:
        """Finish the table of metadata, of which every row is a record that was read.

        Here the column `FAULT` is left out: these records have none.

        Args:
            meta: columns of `records`, then of ``metadata``.

        Returns:
            The table as it is written.
        """
        return meta.drop(columns=FAULT, errors="ignore")

    def labels(self, meta: pd.DataFrame) -> pd.DataFrame | None:
        """Derive labels from metadata.

        Args:
            meta: ``meta.csv`` as it was written.

        Returns:
            Column ``idx``, then one column for each label; None if the source has no labels.
        """
        return None

    def tables(self) -> Iterator[tuple[str, pd.DataFrame]]:
        """Read what the archive holds besides records.

        Yields:
            Name of a table, written as ``<name>.csv`` beside ``records.csv``, and rows of it. Large
            tables come in pieces that follow one another.
        """
        return iter(())
