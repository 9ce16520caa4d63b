"""Files of questions for question answering, in the format of fairseq_signals."""

import zlib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from fairseq_ecg.data.question_types import ATTRIBUTE_TYPES, FORMS, RELATIONS
from fairseq_ecg.data.targets.question import write_attribute_names
from fairseq_ecg.data.text import Tokenizer
from fairseq_ecg.errors import DataError
from fairseq_ecg.jobs.progress import progress_bar
from fairseq_ecg.prepare.ecg_qa.project import (
    SPLITS,
    Answers,
    ECGArchive,
    Question,
    question_files,
    read_questions,
    unpacked_project,
)
from fairseq_ecg.prepare.ecg_qa.recordings import Measured, Recordings
from fairseq_ecg.prepare.ecg_qa.statements import NAMED_WITH_LEADS
from fairseq_ecg.prepare.ecg_qa.writing import Part, Row, Written, run_in, write_names, write_parts
from fairseq_ecg.prepare.mat import write_mat

TOKENIZER = "bert-base-uncased"
NOT_SURE = "not sure"
NO_ATTRIBUTE = -1
"""``attribute_id`` of questions that do not verify an attribute."""


class _File(NamedTuple):
    """A file of questions.

    Attributes:
        split: of the questions.
        path: of the file.
        content: checksum of it.
        n_questions: how many there are.
        ecg_ids: what they are about.
        attributes: what they verify.
    """

    split: str
    path: Path
    content: int
    n_questions: int
    ecg_ids: frozenset[int]
    attributes: frozenset[str]


def prepare_questions(
    root: Path,
    folder: Path,
    *,
    ecg_root: Path | None = None,
    version: str = "template",
    tokenizer: str = TOKENIZER,
    strict: bool = False,
    again: bool = False,
) -> Written:
    """Make a file of each question of ECG-QA, and list them by split.

    Written to ``folder`` are ``<split>/<number>.mat`` and ``<split>.tsv``, ``label_def.csv`` (the
    classes of answers), ``attributes.csv`` (what ``attribute_id`` numbers, for each split anew)
    and, if ECGs cannot be used, ``quarantine.csv``; questions about these are left out, and the
    numbers of the others stay.

    Args:
        root: of the project's part, see `unpacked_project`.
        folder: to write to, made where absent.
        ecg_root: archive that the questions are about, see `ECGArchive`; None: where they say.
        version: of the questions, one of `project.VERSIONS`.
        tokenizer: by which the tokens of a question are counted, see `Tokenizer.load`.
        strict: stop at the first ECG that cannot be used.
        again: prepare everything again, also what an earlier run did.

    Returns:
        What was made.

    Raises:
        DataError: a file of the project or the archive is not as it should be, or another run works
            on ``folder``.
    """
    project = unpacked_project(root)
    answers = Answers(project)
    files = question_files(project, version)
    tokens = load_tokenizer(tokenizer)
    recordings = Recordings(None if ecg_root is None else ECGArchive(ecg_root))
    found = [_read(split, path, answers, recordings) for split, path in _shown(files)]
    numbers = _numbered(found)
    with run_in(folder, "questions") as folder:
        measured = recordings.measure(folder, strict=strict, again=again)
        parts = list(_parts(found, numbers, measured, (project, tokenizer)))
        settings = {
            "version": version,
            "classes": answers.classes,
            "templates": answers.templates,
            "tokens": [tokens.lower_case, zlib.crc32("\n".join(tokens.vocabulary).encode())],
        }
        rows = write_parts(folder, "questions", parts, _write_file, settings, again=again)
        write_names(folder, answers.classes)
        named = {s: {number: name for name, number in numbers[s].items()} for s in SPLITS}
        write_attribute_names(folder, named)
    counts = {split: len(of_split) for split, of_split in rows.items()}
    left_out = sum(each.n_questions for each in found) - sum(counts.values())
    return Written(counts, left_out, measured.quarantine)


def _shown(files: Mapping[str, Sequence[Path]]) -> Iterable[tuple[str, Path]]:
    """Iterate over split and path of files, with a progress bar."""
    paths = [(split, path) for split, of_split in files.items() for path in of_split]
    return progress_bar(paths, "ecg_qa: questions", "file", show=True)


def _read(split: str, path: Path, answers: Answers, recordings: Recordings) -> _File:
    """Read a file of questions, and refuse what `variables` could not use."""
    n_questions, ecg_ids, attributes = 0, set[int](), set[str]()
    for question in read_questions(path):
        recordings.add(question)
        ecg_ids.update(question.ecg_ids)
        answers.right(question)
        answers.valid(question)
        if question.verifies_one:
            if not (question.attributes and question.answers):
                raise question.refused("verifies an attribute, and lacks 'attribute' or 'answer'")
            attributes.add(attribute_of(question))
        n_questions += 1
    content = zlib.crc32(path.read_bytes())
    return _File(split, path, content, n_questions, frozenset(ecg_ids), frozenset(attributes))


def _numbered(files: Iterable[_File]) -> dict[str, dict[str, int]]:
    """Number the attributes that questions of each split verify, in the order of the alphabet."""
    names: dict[str, set[str]] = {split: set() for split in SPLITS}
    for file in files:
        names[file.split].update(file.attributes)
    return {
        split: {name: number for number, name in enumerate(sorted(of_split))}
        for split, of_split in names.items()
    }


def _parts(
    files: Iterable[_File],
    numbers: Mapping[str, Mapping[str, int]],
    measured: Measured,
    how: tuple[Path, str],
) -> Iterator[Part]:
    """Yield the arguments of `_write_file` for each file."""
    first = Counter[str]()
    for file in files:
        usable = measured.of(file.ecg_ids)
        which = (file.path, file.content, first[file.split])
        yield Part(file.split, (*which, numbers[file.split], usable, *how))
        first[file.split] += file.n_questions


def load_tokenizer(name: str) -> Tokenizer:
    """Read the vocabulary of a tokenizer, see `Tokenizer.load`.

    Raises:
        DataError: it cannot be had, or the extra ``text`` is not installed.
    """
    try:
        return Tokenizer.load(name)
    except (FileNotFoundError, ImportError) as error:
        raise DataError(f"tokenizer {name}: {error}") from error


_tokenizer_of_process = lru_cache(1)(load_tokenizer)


def attribute_of(question: Question) -> str:
    """Return the attribute that a question verifies, without the leads that some names say."""
    name = question.attributes[0]
    return next((short for short in NAMED_WITH_LEADS if f"{short} in " in name), name)


def variables(
    question: Question, paths: list[str], answers: Answers, attributes: Mapping[str, int]
) -> dict[str, Any]:
    """Return what the file of a question holds.

    Args:
        question: about ECGs.
        paths: of these.
        answers: classes of answers.
        attributes: numbers of the attributes of the split.

    Returns:
        ``ecg_path``, ``question``, ``answer`` ``(1, C)`` 0 or 1, ``valid_classes`` ``(1, k)``,
        three numbers of its type, each finer than the one before, and ``attribute_id``.
    """
    answer = np.zeros((1, len(answers.classes)), np.int64)
    answer[0, answers.right(question)] = 1
    valid = np.array([answers.valid(question)], np.int64)
    relation = RELATIONS.index(question.relation)
    form = len(FORMS) * relation + FORMS.index(question.form)
    attribute = NO_ATTRIBUTE
    if question.verifies_one and question.answers[0] != NOT_SURE:
        attribute = attributes[attribute_of(question)]
    return {
        "ecg_path": paths,
        "question": question.text,
        "answer": answer,
        "valid_classes": valid if valid.size else np.empty((0, 0)),
        "question_type1": relation,
        "question_type2": form,
        "question_type3": len(ATTRIBUTE_TYPES) * form
        + ATTRIBUTE_TYPES.index(question.attribute_type),
        "attribute_id": attribute,
    }


def _write_file(
    folder: Path,
    path: Path,
    content: int,
    first: int,
    attributes: Mapping[str, int],
    usable: Mapping[int, tuple[str, int]],
    project: Path,
    tokenizer: str,
) -> list[Row]:
    """Write the files of the questions of one file; called in worker processes.

    Args:
        folder: of the split.
        path: of the questions.
        content: checksum of it.
        first: number of the first question in the split.
        attributes: numbers of the attributes of the split.
        usable: path and length of the ECGs that can be used.
        project: folder of the project's part.
        tokenizer: by which tokens are counted.

    Returns:
        Of each question whose ECGs can be used its file, their lengths and its tokens.
    """
    answers = Answers(project)
    rows: list[Row] = []
    texts = []
    for number, question in enumerate(read_questions(path), start=first):
        if not all(ecg_id in usable for ecg_id in question.ecg_ids):
            continue
        paths, sizes = zip(*(usable[ecg_id] for ecg_id in question.ecg_ids), strict=True)
        name = f"{number}.mat"
        write_mat(folder / name, variables(question, list(paths), answers, attributes))
        rows.append([name, *sizes])
        texts.append(question.text)
    tokens = _tokenizer_of_process(tokenizer)(texts)
    counts = (~tokens.padding_mask).sum(dim=1).tolist()
    return [[*row, count] for row, count in zip(rows, counts, strict=True)]
