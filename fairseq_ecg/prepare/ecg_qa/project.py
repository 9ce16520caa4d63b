"""The files of the ECG-QA project, and where the ECGs lie that they ask about."""

import ast
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fairseq_ecg.data.label_file import NO_ANSWER
from fairseq_ecg.data.names import path_below
from fairseq_ecg.data.question_types import ATTRIBUTE_TYPES, FORMS, RELATIONS
from fairseq_ecg.data.tables import line_of, whole_numbers
from fairseq_ecg.errors import DataError, as_data_error, shortened
from fairseq_ecg.prepare.sources.archive import read_table, unpacked

SPLITS = ("train", "valid", "test")
VERSIONS = ("template", "paraphrased")

_AGAIN = "Download ECG-QA again"
_ONE_VERSION = "Take all files from one version of ECG-QA"
_ECG_ID_DIGITS = 18


@dataclass(frozen=True, slots=True)
class Question:
    """A question about one or two ECGs.

    Attributes:
        where: names file and entry in error messages.
        ecg_ids: ``ecg_id`` of PTB-XL or ``study_id`` of MIMIC-IV-ECG, one or two.
        ecg_paths: WFDB records of these, if the file says them, else none.
        template: number of the template that the question was made of.
        relation: of its ECGs, one of `RELATIONS`.
        form: one of `FORMS`.
        attribute_type: one of `ATTRIBUTE_TYPES`.
        text: of the question.
        answers: all right ones.
        attributes: what the question asks about, or offers; none for comparisons.
    """

    where: str
    ecg_ids: tuple[int, ...]
    ecg_paths: tuple[str, ...]
    template: int
    relation: str
    form: str
    attribute_type: str
    text: str
    answers: tuple[str, ...]
    attributes: tuple[str, ...]

    @property
    def verifies_one(self) -> bool:
        """Whether it asks if one ECG has an attribute, ``single-verify``."""
        return self.relation == "single" and self.form == "verify"

    def refused(self, fault: str) -> DataError:
        """Make the error of a question that cannot be used."""
        return DataError(f"{self.where}: {fault}")


def unpacked_project(root: Path) -> Path:
    """Find the folder of one part of ECG-QA, that of PTB-XL or that of MIMIC-IV-ECG.

    Args:
        root: ``ecgqa/ptbxl`` or ``ecgqa/mimic-iv-ecg`` of the project, or what its own script made
            of it, whose questions say ``ecg_path``.

    Raises:
        DataError: there is no such folder, or it holds no such questions.
    """
    folder = unpacked(root, "answers.csv")
    if not any((folder / version).is_dir() for version in VERSIONS):
        raise DataError(
            f"{folder}: holds neither of the folders {' and '.join(VERSIONS)}. Give ecgqa/ptbxl or "
            "ecgqa/mimic-iv-ecg of the ECG-QA project"
        )
    return folder


def question_files(folder: Path, version: str) -> dict[str, list[Path]]:
    """Find the files of questions.

    Args:
        folder: of the project's part.
        version: one of `VERSIONS`.

    Returns:
        The files by split, sorted by name.

    Raises:
        DataError: there is none.
    """
    files = {split: sorted((folder / version / split).glob("*.json")) for split in SPLITS}
    if not any(files.values()):
        raise DataError(f"{folder / version}: no questions (train/00000.json). {_AGAIN}")
    return files


def read_questions(path: Path) -> Iterator[Question]:
    """Read a file of questions.

    Args:
        path: JSON file, a list of objects.

    Yields:
        The questions in their order.

    Raises:
        DataError: the file is no such list, or an entry of it is no question.
    """
    with as_data_error(f"{path}: cannot be read as JSON", _AGAIN):
        entries = json.loads(path.read_text(encoding="utf-8"))
    if not isinstance(entries, list):
        raise DataError(f"{path}: is no list of questions but {shortened(entries, 40)}. {_AGAIN}")
    for number, entry in enumerate(entries, start=1):
        yield _question(entry, f"{path}, entry {number}")


def _question(entry: Any, where: str) -> Question:
    if not isinstance(entry, dict):
        raise DataError(f"{where}: is no question but {shortened(entry, 40)}. {_AGAIN}")
    relation, _, form = _value(entry, "question_type", where, _is_text, "a text").partition("-")
    if relation not in RELATIONS or form not in FORMS:
        raise DataError(
            f"{where}: question_type {shortened(entry['question_type'])} is not one of "
            f"{', '.join(RELATIONS)}, with -{', -'.join(FORMS)} behind. {_AGAIN}"
        )
    attribute_type = _value(entry, "attribute_type", where, _is_text, "a text")
    if attribute_type not in ATTRIBUTE_TYPES:
        raise DataError(
            f"{where}: attribute_type {shortened(attribute_type)} is not one of "
            f"{', '.join(ATTRIBUTE_TYPES)}. {_AGAIN}"
        )
    ecg_ids = _value(entry, "ecg_id", where, _are_ids, "a list of one or two numbers of ECGs")
    n_ecgs = 1 if relation == "single" else 2
    if len(ecg_ids) != n_ecgs:
        raise DataError(f"{where}: names {len(ecg_ids)} ECGs, and its type has {n_ecgs}. {_AGAIN}")
    paths = entry.get("ecg_path") or []
    if paths and not (_are_texts(paths) and len(paths) == n_ecgs):
        raise DataError(
            f"{where}: 'ecg_path' must be a path for each 'ecg_id'. Map the questions again, or "
            "give --ecg-root"
        )
    text = _value(entry, "question", where, _is_text, "a text")
    if not text.strip():
        raise DataError(f"{where}: the question has no words. {_AGAIN}")
    attributes = entry.get("attribute")
    if attributes is not None and not _are_texts(attributes):
        raise DataError(f"{where}: 'attribute' must be a list of texts, or null. {_AGAIN}")
    return Question(
        where=where,
        ecg_ids=tuple(ecg_ids),
        ecg_paths=tuple(paths),
        template=_value(entry, "template_id", where, _is_number, "a number"),
        relation=relation,
        form=form,
        attribute_type=attribute_type,
        text=text,
        answers=tuple(_value(entry, "answer", where, _are_texts, "a list of texts")),
        attributes=tuple(attributes or ()),
    )


def _value(entry: Mapping[str, Any], key: str, where: str, is_valid: Any, what: str) -> Any:
    if key not in entry:
        raise DataError(f"{where}: has no {key!r}. {_AGAIN}")
    if not is_valid(entry[key]):
        raise DataError(
            f"{where}: {key!r} must be {what}, is {shortened(entry[key], 40)}. {_AGAIN}"
        )
    return entry[key]


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _is_number(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _are_texts(value: Any) -> bool:
    return isinstance(value, list) and all(map(_is_text, value))


def _are_ids(value: Any) -> bool:
    return (
        isinstance(value, list)
        and 1 <= len(value) <= 2
        and all(_is_number(each) and 0 <= each < 10**_ECG_ID_DIGITS for each in value)
    )


class Answers:
    """Classes of answers, and which of them can be right for a question.

    Args:
        folder: of the project's part, with ``answers.csv`` and ``answers_for_each_template.csv``.

    Attributes:
        classes: C names in the order of the network's outputs; `NO_ANSWER` is none of them.
        templates: positions in ``classes`` of the answers of each template, by its number.

    Raises:
        DataError: a file is missing or damaged, or the two do not belong together.
    """

    def __init__(self, folder: Path):
        self.path = folder / "answers.csv"
        table = read_table(self.path, ("class",), keep_default_na=False, dtype=str)
        names = [name for name in table["class"] if name != NO_ANSWER]
        self._index = {name: index for index, name in enumerate(names)}
        if not names or len(self._index) < len(names):
            fault = "names a class twice" if names else "names no class"
            raise DataError(f"{self.path}: {fault}. {_AGAIN}")
        self.classes = names
        path = folder / "answers_for_each_template.csv"
        templates = read_table(path, ("template_id", "classes"))
        numbers = whole_numbers(templates["template_id"], f"{path}: template_id").tolist()
        self.templates: dict[int, list[int]] = {}
        for row, (template, names) in enumerate(zip(numbers, templates["classes"], strict=True)):
            where = f"{path}, line {line_of(row)}"
            self.templates[template] = self._indices(_texts(names, where), where)
        self._templates_path = path

    def _indices(self, names: Sequence[str], where: str) -> list[int]:
        unknown = [name for name in names if name != NO_ANSWER and name not in self._index]
        if unknown:
            raise DataError(
                f"{where}: answer {shortened(unknown[0])} is no class of {self.path}. "
                f"{_ONE_VERSION}"
            )
        return [self._index[name] for name in names if name != NO_ANSWER]

    def right(self, question: Question) -> list[int]:
        """Return the classes of the right answers.

        Raises:
            DataError: an answer is no class.
        """
        return self._indices(question.answers, question.where)

    def valid(self, question: Question) -> list[int]:
        """Return the classes that can be right: those offered, or else those of the template.

        Raises:
            DataError: an attribute that is offered is no class, or the template is not known.
        """
        if question.form != "choose":
            if question.template not in self.templates:
                raise question.refused(
                    f"template_id {question.template} is not in {self._templates_path}. "
                    f"{_ONE_VERSION}"
                )
            return self.templates[question.template]
        offered = question.attributes
        if not offered:
            raise question.refused(f"offers nothing to choose from ('attribute'). {_AGAIN}")
        if "the normal range" in offered[0]:
            offered = tuple(name.partition(" of ")[0] for name in offered)
        return sorted(self._indices(offered, question.where))


def _texts(text: Any, where: str) -> list[str]:
    """Read a Python list of texts."""
    try:
        texts = ast.literal_eval(text)
    except Exception:  # of a text that is nested too deep as well
        texts = None
    if not _are_texts(texts):
        raise DataError(f"{where}: {shortened(text)} is no list of answers. {_AGAIN}")
    return texts


class ECGArchive:
    """Where the ECGs of an archive lie: PTB-XL at 500 Hz, or MIMIC-IV-ECG.

    Args:
        root: folder of the archive, or the folder above it.

    Raises:
        DataError: it is neither archive.
    """

    def __init__(self, root: Path):
        self.root = unpacked(root, "record_list.csv")
        self._paths: dict[int, str] | None = None
        if (self.root / "record_list.csv").is_file():
            table = read_table(self.root / "record_list.csv", ("study_id", "path"))
            self._paths = dict(zip(table["study_id"].tolist(), table["path"], strict=True))
            return
        self.root = unpacked(root, "records500")
        if not (self.root / "records500").is_dir():
            raise DataError(
                f"{root}: is neither PTB-XL (records500) nor MIMIC-IV-ECG (record_list.csv). Give "
                "the folder of the archive that the questions are about"
            )

    def locate(self, ecg_id: int, where: str) -> str:
        """Return the path of a record without extension.

        Args:
            ecg_id: ``ecg_id`` of PTB-XL or ``study_id`` of MIMIC-IV-ECG.
            where: names the question in the error message.

        Raises:
            DataError: it is not in the archive.
        """
        if self._paths is None:
            path = f"records500/{ecg_id // 1000 * 1000:05d}/{ecg_id:05d}_hr"
        elif ecg_id in self._paths:
            table = str(self.root / "record_list.csv")
            path = path_below(table, self._paths[ecg_id], f"the path of study {ecg_id}", "it")
        else:
            raise DataError(
                f"{where}: ecg_id {ecg_id} is no study of {self.root / 'record_list.csv'}. Give "
                "the archive that the questions are about"
            )
        return str(self.root.absolute() / path)
