"""Files for a classifier, of what the questions of ECG-QA and their answers say of ECGs.

The format is that of fairseq_signals: a file names a record, some of its leads, and labels for
some of the classes.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from fairseq_ecg.errors import DataError
from fairseq_ecg.jobs.files import replacing
from fairseq_ecg.jobs.progress import progress_bar
from fairseq_ecg.prepare.ecg_qa.project import (
    SPLITS,
    ECGArchive,
    question_files,
    read_questions,
    unpacked_project,
)
from fairseq_ecg.prepare.ecg_qa.recordings import Measured, Recordings
from fairseq_ecg.prepare.ecg_qa.statements import LEAD_GROUPS, statements
from fairseq_ecg.prepare.ecg_qa.writing import Part, Row, Written, run_in, write_names, write_parts
from fairseq_ecg.prepare.mat import write_mat

CLASSES = "grounding_class.csv"
TEST = "test"
"""Split that has only what questions verify, and whose attributes are the classes."""

_LESS_CERTAIN = ("myocardial infarction", "Myocardial infarction", "ischemic ST-T changes")
"""Attributes of which one question counts every likelihood and another one none below 100 %: where
they differ, the ECG does not have it."""

_NO, _YES = 1, 2
_FILES_AT_ONCE = 1_000

Pair = tuple[str, str]
"""Attribute and group of leads."""


class Sample(NamedTuple):
    """A file: leads of an ECG, and labels for some classes.

    Attributes:
        ecg_id: of the ECG.
        leads: their positions, ascending.
        labels: class and 0 or 1, ascending.
    """

    ecg_id: int
    leads: tuple[int, ...]
    labels: tuple[tuple[int, int], ...]

    @property
    def name(self) -> str:
        """Name of the file."""
        leads = "entire" if len(self.leads) == 12 else "_".join(map(str, self.leads))
        return f"{self.ecg_id}_{leads}.mat"


class Split:
    """What the questions of a split say.

    Args:
        name: of the split.
        files: of its questions.
    """

    def __init__(self, name: str, files: list[Path]):
        self.name, self._files = name, files
        self._said: dict[int, dict[Pair, int]] = {}

    def read(self, recordings: Recordings) -> None:
        """Read the questions.

        Args:
            recordings: takes in the ECGs of which they say something.

        Raises:
            DataError: they are not as they should be, or contradict one another.
        """
        pairs: dict[Pair, Pair] = {}  # one object of each
        for path in progress_bar(self._files, f"ecg_qa: {self.name}", "file", show=True):
            for question in read_questions(path):
                for attribute, leads, holds in statements(question, verified_only=self._is_test):
                    recordings.add(question)
                    said = self._said.setdefault(question.ecg_ids[0], {})
                    pair = pairs.setdefault((attribute, leads), (attribute, leads))
                    said[pair] = said.get(pair, 0) | (_YES if holds else _NO)
        for ecg_id, said in self._said.items():
            for pair, labels in said.items():
                if labels == _NO | _YES:
                    if pair[0] not in _LESS_CERTAIN:
                        raise self._contradiction(ecg_id, pair)
                    said[pair] = _NO

    @property
    def _is_test(self) -> bool:
        return self.name == TEST

    def _contradiction(self, ecg_id: int, pair: Pair) -> DataError:
        where = {holds: self._where(ecg_id, pair, holds) for holds in (True, False)}
        return DataError(
            f"{where[True]} says that ECG {ecg_id} has {pair[0]!r} ({pair[1]}), and {where[False]} "
            "that it has not. Correct one of them, or take all files from one version of ECG-QA"
        )

    def _where(self, ecg_id: int, pair: Pair, holds: bool | None = None) -> str:
        """Name the first question that says something."""
        for path in self._files:
            for question in read_questions(path):
                if question.ecg_ids[0] == ecg_id:
                    for said in statements(question, verified_only=self._is_test):
                        if said[:2] == pair and holds in (None, said.holds):
                            return question.where
        return self.name

    def attributes(self) -> list[str]:
        """Return the attributes, sorted."""
        return sorted({attribute for said in self._said.values() for attribute, _ in said})

    def samples(self, classes: dict[str, int]) -> Iterator[Sample]:
        """Yield the files, by ECG and leads.

        Args:
            classes: numbers of the attributes that count.

        Raises:
            DataError: it is not known which leads a group has.
        """
        for ecg_id in sorted(self._said):
            of_leads: dict[tuple[int, ...], list[tuple[int, int]]] = {}
            for pair, label in self._said[ecg_id].items():
                attribute, leads = pair
                if attribute not in classes:
                    continue
                if leads not in LEAD_GROUPS:
                    raise DataError(
                        f"{self._where(ecg_id, pair)}: {attribute!r} is said of {leads!r}, which "
                        f"are none of {', '.join(LEAD_GROUPS)}. Take out the question"
                    )
                labels = of_leads.setdefault(LEAD_GROUPS[leads], [])
                labels.append((classes[attribute], int(label == _YES)))
            for positions in sorted(of_leads):
                yield Sample(ecg_id, positions, tuple(sorted(of_leads[positions])))


def prepare_grounding(
    root: Path,
    folder: Path,
    *,
    ecg_root: Path | None = None,
    strict: bool = False,
    again: bool = False,
) -> Written:
    """Make the files of a classifier of ECG-QA's attributes, and list them by split.

    Written to ``folder`` are ``<split>/<ecg_id>_<leads>.mat`` and ``<split>.tsv``, sorted by ECG
    and leads, ``grounding_class.csv`` and ``label_def.csv`` (the classes) and, if ECGs cannot be
    used, ``quarantine.csv``; these are left out.

    Args:
        root: of the project's part, see `unpacked_project`; its version ``template`` is read.
        folder: to write to, made where absent.
        ecg_root: archive that the questions are about, see `ECGArchive`; None: where they say.
        strict: stop at the first ECG that cannot be used.
        again: prepare everything again, also what an earlier run did.

    Returns:
        What was made.

    Raises:
        DataError: a file of the project or the archive is not as it should be, questions contradict
            one another, or another run works on ``folder``.
    """
    files = question_files(unpacked_project(root), "template")
    recordings = Recordings(None if ecg_root is None else ECGArchive(ecg_root))
    splits = [Split(name, files[name]) for name in SPLITS]
    for split in splits:
        split.read(recordings)
    names = splits[SPLITS.index(TEST)].attributes()
    if not names:
        raise DataError(
            f"{root}: no question of the test split verifies an attribute of one ECG; those name "
            "the classes. Download ECG-QA again"
        )
    classes = {name: number for number, name in enumerate(names)}
    with run_in(folder, "grounding") as folder:
        measured = recordings.measure(folder, strict=strict, again=again)
        left_out = 0
        parts = []
        for split in splits:
            samples = list(split.samples(classes))
            usable = [sample for sample in samples if sample.ecg_id in measured.usable]
            left_out += len(samples) - len(usable)
            parts += [
                _part(split.name, usable[first : first + _FILES_AT_ONCE], measured)
                for first in range(0, len(usable), _FILES_AT_ONCE)
            ]
        rows = write_parts(folder, "grounding", parts, _write_files, {}, again=again)
        _write_classes(folder / CLASSES, names)
        write_names(folder, names)
    counts = {split: len(of_split) for split, of_split in rows.items()}
    return Written(counts, left_out, measured.quarantine)


def _part(split: str, samples: list[Sample], measured: Measured) -> Part:
    return Part(split, (samples, measured.of({sample.ecg_id for sample in samples})))


def _write_files(
    folder: Path, samples: list[Sample], usable: dict[int, tuple[str, int]]
) -> list[Row]:
    """Write files; called in worker processes. Returns the rows of the manifest."""
    rows: list[Row] = []
    for sample in samples:
        path, n_samples = usable[sample.ecg_id]
        targets, labels = (np.array([each], np.int64) for each in zip(*sample.labels, strict=True))
        content = {
            "ecg_path": path,
            "lead": np.array([sample.leads], np.int64),
            "target_idx": targets,
            "label": labels,
            "attribute_id": targets,
        }
        write_mat(folder / sample.name, content)
        rows.append([sample.name, n_samples])
    return rows


def _write_classes(path: Path, names: list[str]) -> None:
    with replacing(path) as unfinished:
        table = pd.DataFrame({"class": names})
        table.to_csv(unfinished, index_label="index")
