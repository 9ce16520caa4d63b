"""The ECGs that questions ask about: each is read once, for its length and missing samples."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from fairseq_ecg.data.cells import as_cells
from fairseq_ecg.data.names import in_one_line
from fairseq_ecg.data.recording import read_wfdb
from fairseq_ecg.errors import DataError, as_data_error
from fairseq_ecg.jobs.files import replacing
from fairseq_ecg.jobs.journal import Journal, checksum
from fairseq_ecg.jobs.pool import in_parallel
from fairseq_ecg.jobs.progress import progress_bar
from fairseq_ecg.prepare.ecg_qa.project import ECGArchive, Question
from fairseq_ecg.prepare.stages import Outcome

JOURNAL = ".recordings.journal"

NAME = "ecg_qa"


class Asked(NamedTuple):
    """An ECG that questions ask about.

    Attributes:
        path: of its WFDB record, without extension.
        where: names the first question that does.
    """

    path: str
    where: str


class Recordings:
    """The ECGs that questions ask about.

    Args:
        archive: where they lie; None: where the questions say.
    """

    def __init__(self, archive: ECGArchive | None):
        self._archive = archive
        self._asked: dict[int, Asked] = {}
        self._faults: dict[int, str] = {}

    def add(self, question: Question) -> None:
        """Take in the ECGs of a question.

        Raises:
            DataError: it is not known where one lies, or another question says otherwise.
        """
        for position, ecg_id in enumerate(question.ecg_ids):
            if self._archive is not None and ecg_id in self._asked:
                continue
            asked = self._locate(question, position)
            known = self._asked.setdefault(ecg_id, asked)
            if known.path != asked.path:
                raise question.refused(
                    f"ecg_id {ecg_id} is at {asked.path}, but at {known.path} according to "
                    f"{known.where}. Map the questions again, or give --ecg-root"
                )

    def _locate(self, question: Question, position: int) -> Asked:
        ecg_id = question.ecg_ids[position]
        if self._archive is not None:
            try:
                return Asked(self._archive.locate(ecg_id, question.where), question.where)
            except DataError as error:
                self._faults[ecg_id] = str(error)
                return Asked(str(ecg_id), question.where)
        if not question.ecg_paths:
            raise question.refused(
                "does not say where its ECGs lie ('ecg_path'). Give --ecg-root, the archive that "
                "the questions are about"
            )
        path = question.ecg_paths[position]
        if not Path(path).is_absolute():
            raise question.refused(f"'ecg_path' {path} is not absolute. Give --ecg-root")
        return Asked(path, question.where)

    def measure(self, folder: Path, *, strict: bool, again: bool) -> "Measured":
        """Read each ECG, where `jobs.pool.workers` says.

        Args:
            folder: whose journal has those that were read already.
            strict: stop at the first ECG that cannot be used.
            again: read all of them.

        Returns:
            What was found. ``quarantine.csv`` in ``folder`` has those that cannot be used.

        Raises:
            DataError: none can be used, or with ``strict`` one cannot.
        """
        sizes: dict[int, int] = {}
        failures: dict[int, str] = {}
        for outcome in self._outcomes(folder, again):
            if not outcome.reason:
                sizes[outcome.idx] = outcome.entry["n_samples"]
                continue
            if strict:
                raise DataError(outcome.reason)
            failures[outcome.idx] = outcome.reason
        quarantine = self._write_quarantine(folder / "quarantine.csv", failures)
        if not sizes:
            reason = quarantine["reason"].iloc[0]
            raise DataError(f"none of {len(failures)} recordings can be used: {reason}")
        usable = {each: (self._asked[each].path, size) for each, size in sizes.items()}
        return Measured(usable, quarantine)

    def _outcomes(self, folder: Path, again: bool) -> Iterator[Outcome]:
        """Yield what is known of each ECG, and then read the others."""
        for ecg_id, reason in self._faults.items():
            yield Outcome(ecg_id, reason=reason)
        located = {each: asked for each, asked in self._asked.items() if each not in self._faults}
        checksums = {ecg_id: checksum({"path": asked.path}) for ecg_id, asked in located.items()}
        with Journal(folder / JOURNAL, {}, again) as journal:
            positions = journal.positions()
            done = [each for each in located if positions.get(each, ("",))[0] == checksums[each]]
            entries = journal.entries(positions[ecg_id][1] for ecg_id in done)
            yield from map(Outcome, done, entries)
            calls = [(each, *located[each]) for each in located.keys() - set(done)]
            with progress_bar(
                len(located), f"{NAME}: recordings", "record", show=True, initial=len(done)
            ) as bar:
                for outcome in in_parallel(_measure, sorted(calls)):
                    if not outcome.reason:
                        journal.add(outcome.idx, checksums[outcome.idx], outcome.entry)
                    bar.update()
                    yield outcome
            journal.tidy()

    def _write_quarantine(self, path: Path, failures: dict[int, str]) -> pd.DataFrame:
        """Write what cannot be used, in the order in which questions ask about it."""
        rows = [
            (NAME, asked.path, in_one_line(failures[ecg_id]), "recordings")
            for ecg_id, asked in self._asked.items()
            if ecg_id in failures
        ]
        table = pd.DataFrame(rows, columns=["source", "record", "reason", "step"])
        if rows:
            with replacing(path) as unfinished:
                as_cells(table).to_csv(unfinished, index=False)
        else:
            path.unlink(missing_ok=True)
        return table


@dataclass(frozen=True)
class Measured:
    """ECGs that were read.

    Attributes:
        usable: path without extension and length in samples of the ECGs that can be used, by
            ``ecg_id``.
        quarantine: columns ``source``, ``record``, ``reason``, ``step``, of those that cannot.
    """

    usable: dict[int, tuple[str, int]]
    quarantine: pd.DataFrame

    def of(self, ecg_ids: Iterable[int]) -> dict[int, tuple[str, int]]:
        """Return the entries of `usable` for some ECGs, in the order of their numbers."""
        return {each: self.usable[each] for each in sorted(ecg_ids) if each in self.usable}


def _measure(ecg_id: int, path: str, where: str) -> Outcome:
    """Read an ECG; called in worker processes."""
    try:
        if not Path(f"{path}.hea").is_file():
            raise DataError(
                f"{where}: ecg_id {ecg_id} is not in the archive, there is no {path}.hea. Download "
                "it, or give --ecg-root, the archive that the questions are about"
            )
        with as_data_error(f"{path}: cannot be read"):
            feats = read_wfdb(path, where).feats
        if np.isnan(feats).any():
            raise DataError(
                f"{path}: has a nan value, a sample that the record says is missing (asked about "
                f"in {where}). Download the record again"
            )
    except DataError as error:
        return Outcome(ecg_id, reason=str(error))
    return Outcome(ecg_id, {"n_samples": feats.shape[1]})
