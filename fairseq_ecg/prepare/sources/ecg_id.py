"""The ECG-ID Database 1.0.0: 310 recordings of 90 persons, 20 s of lead I each."""

import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import pandas as pd

from fairseq_ecg.data.names import path_below
from fairseq_ecg.data.wfdb_record import WFDBRecord
from fairseq_ecg.ecg.recording import check_doubts, with_notes
from fairseq_ecg.ecg.units import millivolts_per
from fairseq_ecg.errors import DataError, as_data_error, damage_as_data_error
from fairseq_ecg.formats import ECG
from fairseq_ecg.jobs.progress import progress_bar
from fairseq_ecg.prepare.sources.archive import (
    UNITS,
    SegmentedArchive,
    add_faults,
    files_below,
    natural,
    patient_metadata,
    refuse_faulty,
    unpacked,
)

FILTERED = 1
"""Position of the signal that is used, lead I after filters; the signal before it is without."""


class ECGID(SegmentedArchive):
    """ECG-ID: of each recording some seconds from a random start, of its filtered lead I.

    Args:
        raw_root: folder that holds the folders of the persons, at any depth.
        sample_rate: of the files in Hz.
        segment_seconds: length of a segment in seconds.
        seed: of the starts.
        resample: whether recordings of another rate are resampled; without it they are skipped.
    """

    name = "ecg_id"

    def __init__(
        self,
        raw_root: Path,
        *,
        sample_rate: float = 500,
        segment_seconds: float = 5.0,
        seed: int = 42,
        resample: bool = False,
    ):
        folder = unpacked(Path(raw_root), "Person_01")
        super().__init__(folder, sample_rate=sample_rate, resample=resample)
        if not math.isfinite(segment_seconds) or round(segment_seconds * sample_rate) < 1:
            raise DataError(f"{segment_seconds} s at {sample_rate} Hz make no segment")
        self.n_samples = round(segment_seconds * sample_rate)
        self.seed = seed

    def fingerprint(self) -> dict[str, Any]:
        """See `Source.fingerprint`."""
        return super().fingerprint() | {"n_samples": self.n_samples}

    def records(self) -> pd.DataFrame:
        """List the records sorted by path, numbers as numbers: `listed` of them.

        Raises:
            DataError: there are no records.
        """
        found = files_below(self.raw_root, (".dat", ".hea"))
        paths = sorted({path.rpartition(".")[0] for path in found}, key=natural)
        if not paths:
            raise DataError(
                f"{self.raw_root}: no records (Person_01/rec_1.dat). Give the folder of ECG-ID"
            )
        return self.listed(paths)

    def listed(self, paths: Sequence[str]) -> pd.DataFrame:
        """List records, and draw where their segments start.

        The records are opened: starts are drawn, and persons are numbered, in the order of
        ``paths`` of those that can be used.

        Args:
            paths: relative to ``raw_root``, without extension.

        Returns:
            Columns ``path``, ``save_file`` (``0_rec_1.mat``), ``source``, ``dataset``,
            ``patient_id`` (number of the person from 0; persons are known by the number at the end
            of the name of their folder) and ``start`` (first sample of the segment). A record that
            cannot be used has a ``fault``, and -1 for both.
        """
        state = np.random.RandomState(self.seed)
        persons: dict[str, int] = {}
        names: set[str] = set()
        rows, faults = [], {}
        for row, path in enumerate(progress_bar(paths, "ecg_id: records", "record", show=True)):
            patient, start, name = -1, -1, path.replace("/", "_")
            try:
                with as_data_error(f"{self.locate(path)}: cannot be read"):
                    n_samples = self._signal(self._read(path)).shape[1]
                person = _person(path)
                of_person = f"{persons.get(person, len(persons))}_{PurePosixPath(path).name}"
                if of_person in names:
                    raise DataError(f"{self.locate(path)}: the person has a record of this name "
                                    "in another folder. Rename one of them")  # fmt: skip
                names.add(of_person)
                patient, name = persons.setdefault(person, len(persons)), of_person
                others = n_samples - self.n_samples
                start = int(state.randint(others)) if others else 0
            except DataError as error:
                faults[row] = str(error)
            rows.append((path, f"{name}.mat", self.name, self.name, patient, start))
        columns = ["path", "save_file", "source", "dataset", "patient_id", "start"]
        return add_faults(pd.DataFrame(rows, columns=columns), faults)

    def read(self, record: Mapping[str, Any]) -> ECG:
        """Read the filtered signal of a record.

        Returns:
            Lead I with ``metadata`` ``units``, ``age`` (years) and ``sex`` (female 1, male 0).
        """
        refuse_faulty(record)
        ecg = self._read(record["path"])
        if self.verify:
            check_doubts(ecg.where, ecg.doubts)
        return ecg

    def _read(self, path: str) -> ECG:
        of_record = self.raw_root / path_below(str(self.raw_root), path, "a record", "the archive")
        where = str(of_record)
        record = WFDBRecord(of_record.with_name(f"{of_record.name}.hea"), where)
        if len(record.signals) <= FILTERED:
            raise DataError(
                f"{where}: has {len(record.signals)} signals, of which the second is to be the "
                "filtered one. Download the record again"
            )
        factor = millivolts_per(record.units[FILTERED] or "")
        if factor is None:
            raise DataError(f"{where}: its filtered signal is not in mV. Download it again")
        rate = _annotated_rate(of_record) or record.rate
        if rate is None:
            raise DataError(f"{where}: does not say its sampling rate. Download the record again")
        signals, doubts = record.read_all()
        metadata = {"units": UNITS, **patient_metadata(record.header.comments)}
        return ECG(
            where,
            factor * signals[FILTERED][None],
            ("I",),
            rate,
            with_notes(metadata, doubts=doubts),
        )

    def _signal(self, ecg: ECG) -> np.ndarray:
        """Signal from which a segment is cut, at the rate of the files."""
        signal = self.at_rate(ecg)
        if signal.shape[1] < self.n_samples:
            raise DataError(
                f"{ecg.where}: has {signal.shape[1] / self.sample_rate:g} s, shorter than a "
                f"segment of {self.n_samples / self.sample_rate:g} s. Give --segment-seconds to "
                "the step 'records'"
            )
        return signal

    def segment(self, record: Mapping[str, Any], ecg: ECG) -> dict[str, Any]:
        """Cut the segment.

        Returns:
            ``patient_id``, ``curr_sample_rate`` and ``feats``, ``(1, n_samples)`` float32 in mV.

        Raises:
            DataError: the record is not as it was when it was listed.
        """
        start = int(record["start"])
        feats = self._signal(ecg)[:, start : start + self.n_samples].astype(np.float32)
        if feats.shape[1] < self.n_samples:
            raise DataError(f"{ecg.where}: is shorter than it was. Run the step 'records' again")
        return {
            "patient_id": int(record["patient_id"]),
            "curr_sample_rate": self.sample_rate,
            "feats": feats,
        }


def _person(path: str) -> str:
    """Key of a person: the number at the end of the folder's name, or all of it."""
    folder = PurePosixPath(path).parent.name
    number = re.search(r"\d+$", folder)
    return number[0] if number else folder


def _annotated_rate(record: Path) -> float | None:
    """Rate in Hz that the annotations of beats say, which fairseq_signals goes by."""
    path = record.with_name(f"{record.name}.atr")
    if not path.is_file():
        return None
    with damage_as_data_error(str(path), "file of annotations", "Download it again"):
        import wfdb  # costs a second to import

        return wfdb.rdann(str(record), "atr").fs
