"""Reading the questions of manifests for a store, which holds each ECG once and these beside it."""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from fairseq_ecg.data.manifest import read_question_manifest
from fairseq_ecg.data.recording import read_integer, read_mat, read_texts
from fairseq_ecg.data.sources.files import record_names
from fairseq_ecg.data.sources.questions import MOST_RECORDS
from fairseq_ecg.data.store.tables import QUESTION_LISTS, QUESTIONS
from fairseq_ecg.data.targets.question import (
    ATTRIBUTES,
    GROUPS,
    QUESTION_TYPES,
    answers_of,
    attribute_names,
)
from fairseq_ecg.errors import DataError
from fairseq_ecg.jobs.progress import progress_bar

ROOT = "/"
"""What paths of records are relative to: files of questions name records anywhere."""

Key = tuple[str, str, str]
"""Split, root and path of an ECG or a question."""


@dataclass(frozen=True, slots=True)
class PackedQuestion:
    """A question that a manifest lists.

    Attributes:
        key: of the question.
        line: of its manifest.
        where: names file, manifest and line in error messages.
        records: paths below `ROOT` of the one or two records that it is about.
        lengths: of these in samples.
        columns: what a store has of it, by column, but for the rows of its ECGs.
    """

    key: Key
    line: int
    where: str
    records: tuple[str, ...]
    lengths: tuple[int, ...]
    columns: dict[str, Any]


def lists_questions(manifest: Path) -> bool:
    """Whether a manifest lists questions; the third column of other ones is a class.

    Raises:
        DataError: the manifest cannot be read.
    """
    with open(manifest, encoding="utf-8-sig", errors="replace") as file:
        root, first = file.readline().strip(), file.readline().rstrip("\n").split("\t")
    if len(first) != 3:
        return len(first) == 4 and first[2].isdecimal() and bool(first[2].strip("0"))
    path = Path(root, first[0])
    return path.is_file() and "question" in read_mat(
        str(path), f"{path} ({manifest}, line 2)", required=(), optional=("question",)
    )


def read_questions(manifest: Path) -> Iterator[PackedQuestion]:
    """Read the questions of a manifest.

    Raises:
        DataError: one of them cannot be used.
    """
    listed = read_question_manifest(manifest)
    assert listed.lengths is not None
    assert listed.n_tokens is not None
    split = manifest.stem
    for index in progress_bar(range(len(listed)), f"read {split}", "question", show=True):
        (path,) = listed.names(index)
        line = int(listed.lines[index])
        where = f"{Path(listed.root, path)} ({manifest}, line {line})"
        mat = read_mat(
            os.path.join(listed.root, path),
            where,
            required=("ecg_path", "question", "answer", *GROUPS),
            optional=("valid_classes",),
        )
        names = record_names(mat, where, MOST_RECORDS)
        lengths = tuple(length for length in listed.lengths[index].tolist() if length)
        if len(names) != len(lengths):
            raise DataError(
                f"{where}: names {len(names)} records, and its line has the length of "
                f"{len(lengths)}. Prepare the questions again"
            )
        texts = read_texts(mat, "question", where)
        if len(texts) != 1:
            raise DataError(f"{where}: 'question' must be one text. Prepare the questions again")
        answer, valid = answers_of(mat["answer"], mat.get("valid_classes"), where)
        yield PackedQuestion(
            (split, listed.root, path),
            line,
            where,
            tuple(os.path.abspath(name).removeprefix(ROOT) for name in names),
            lengths,
            {
                "n_tokens": int(listed.n_tokens[index]),
                "question": texts[0],
                "n_answers": len(answer),
                "answer": np.flatnonzero(answer).astype(np.int32),
                "valid_classes": valid.astype(np.int32),
                **{key: read_integer(mat, key, where) for key in QUESTION_TYPES},
                "attribute": read_integer(mat, "attribute_id", where),
            },
        )


def joined_attributes(manifests: Path, store: Path) -> dict[str, dict[int, str]]:
    """Join what numbers of attributes mean in a store to what they mean in further manifests.

    Returns:
        Attribute by number, for each split.

    Raises:
        DataError: a number means another attribute in each.
    """
    joined = attribute_names(store)
    for split, names in attribute_names(manifests).items():
        known = joined.setdefault(split, {})
        for number, name in names.items():
            if known.setdefault(number, name) != name:
                raise DataError(
                    f"{manifests / ATTRIBUTES}: attribute {number} of {split} is {name!r}, and "
                    f"{known[number]!r} in {store}. Pack the questions into a store of their own"
                )
    return joined


def questions_table(
    questions: Sequence[PackedQuestion], index: pa.Table, old: pa.Table | None
) -> pa.Table:
    """Make the table of the questions of a store.

    Args:
        questions: new ones.
        index: of the store, their ECGs among its segments.
        old: questions that are there already.
    """
    columns = (index[name].to_pylist() for name in ("split", "root", "path"))
    row_of = {key: row for row, key in enumerate(zip(*columns, strict=True))}
    n_items: dict[str, int] = {}
    for split in [] if old is None else old["split"].to_pylist():
        n_items[split] = n_items.get(split, 0) + 1
    rows = []
    for question in questions:
        split, root, path = question.key
        n_items[split] = n_items.get(split, 0) + 1
        ecgs = [row_of[split, ROOT, record] for record in question.records]
        position = {"split": split, "item": n_items[split] - 1, "root": root, "path": path}
        about = {"first": ecgs[0], "second": ecgs[1] if len(ecgs) > 1 else -1}
        rows.append({**position, **about, **question.columns})
    lists = {name: pa.list_(pa.int32()) for name in QUESTION_LISTS}
    table = pa.Table.from_pylist(rows, pa.schema(QUESTIONS | lists))
    return table if old is None else pa.concat_tables([old.select(table.column_names), table])
