"""Labels of a whole table of reports, in parts, so that memory is bounded and a run can go on."""

import csv
import hashlib
import json
import pickle
import shutil
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache
from itertools import chain, islice
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import pandas as pd

from fairseq_ecg.data.cells import cell
from fairseq_ecg.data.report_lines import joined_lines
from fairseq_ecg.data.width import check_width
from fairseq_ecg.errors import DataError, as_data_error
from fairseq_ecg.jobs.files import open_replacing, write_file
from fairseq_ecg.jobs.ledger import Ledger, ledger
from fairseq_ecg.jobs.pool import in_parallel
from fairseq_ecg.jobs.pool import workers as processes
from fairseq_ecg.jobs.progress import progress_bar
from fairseq_ecg.labeler.label_table import IDX, LabelSet, check_threshold
from fairseq_ecg.labeler.labeler import Labeler, Statement
from fairseq_ecg.labeler.results import Finding
from fairseq_ecg.limits import check_limit

if TYPE_CHECKING:
    from tqdm import tqdm

LABELS = "labels.csv"
FINDINGS = "findings.jsonl"
STATEMENTS = "statements.csv"
COVERAGE = "coverage.json"

ROWS = 20_000
"""Reports in a part."""

_PARTS = ".parts"
_FREQUENT = 10


@dataclass(frozen=True)
class Coverage:
    """How much of some reports was understood.

    Attributes:
        reports: number of reports.
        empty_reports: without text.
        reports_with_unmatched_words: where some words belong to no pattern.
        statements: number of statements, what stands between semicolons.
        unmatched_statements: in which no pattern was found.
        frequent_unmatched: the most frequent of these in a language that is read, with how often
            they occur.
        refused_reports: in a language that is not read; nothing is found in them.
        languages: number of reports by the code of their language, English left out.
        labels: for each label ``positive``, in how many reports it holds, and ``uncertain``, in how
            many it is mentioned with a probability below the threshold.
    """

    reports: int
    empty_reports: int
    reports_with_unmatched_words: int
    statements: int
    unmatched_statements: int
    frequent_unmatched: dict[str, int]
    refused_reports: int
    languages: dict[str, int]
    labels: dict[str, dict[str, int]]


@dataclass(frozen=True)
class _Job:
    """What the parts of a run have in common.

    Attributes:
        pickled: the labeler; every process makes it once.
        labels: the columns.
        threshold: a label holds from this probability on.
        parts: those that are finished.
    """

    pickled: bytes
    labels: LabelSet
    threshold: float
    parts: Ledger


def label_reports(
    path: Path,
    out: Path,
    labeler: Labeler,
    labels: LabelSet,
    *,
    text_columns: Sequence[str],
    id_column: str | None = None,
    threshold: float,
    workers: int = 1,
    rows: int = ROWS,
    progress: bool = False,
) -> Coverage:
    """Label a table of reports.

    A run that was interrupted goes on where it was, if nothing has changed since.

    Args:
        path: CSV or Parquet file.
        out: folder for ``labels.csv``, ``findings.jsonl``, ``statements.csv`` and
            ``coverage.json``.
        labeler: with its vocabulary and semantics.
        labels: the columns of ``labels.csv``.
        text_columns: of the reports; of several, what is there is joined by ``; ``.
        id_column: becomes ``idx``; None: the number of the row, from 0.
        threshold: a label holds from this probability on.
        workers: processes.
        rows: reports in a part.
        progress: show a progress bar.

    Returns:
        What was understood.

    Raises:
        DataError: There is no such file or column, two rows have the same id, or the threshold is
            no probability.
    """
    check_threshold(threshold)
    job = _Job(pickle.dumps(labeler), labels, threshold, Ledger(out / _PARTS))
    tables = _tables(path, text_columns, id_column, rows)
    with (
        ledger(out / _PARTS, _fingerprint(path, job, labeler, text_columns, id_column, rows)),
        progress_bar(None, path.name, "report", show=progress) as bar,
    ):
        return _joined(out, job, labeler, _label_parts(job, tables, workers, bar))


def _label_parts(job: _Job, tables: Iterable[pd.DataFrame], workers: int, bar: "tqdm") -> int:
    """Label the parts that are not finished; return how many parts there are."""
    number = 0

    def unfinished() -> Iterator[tuple[_Job, int, pd.DataFrame]]:
        nonlocal number
        for number, table in enumerate(tables, start=1):
            if job.parts.note(str(number)) is None:
                yield job, number, table
            bar.update(len(table))

    arguments = unfinished()
    first = list(islice(arguments, 2))
    # A single part is not worth another process.
    with processes(max(workers, 1) if len(first) > 1 else 1):
        for _ in in_parallel(_label_part, chain(first, arguments)):
            pass
    return number


def _tables(
    path: Path, text_columns: Sequence[str], id_column: str | None, rows: int
) -> Iterator[pd.DataFrame]:
    """Yield the reports in parts: ``idx`` and ``text``."""
    columns = [*text_columns, *([] if id_column is None else [id_column])]
    start, seen = 0, set()
    for table in _read(path, columns, rows):
        missing = [name for name in columns if name not in table]
        if missing:
            raise DataError(
                f"{path}: no column {missing[0]!r} (it has {', '.join(map(str, table.columns))})"
            )
        texts = [
            values[0] if len(values) == 1 else joined_lines(values)
            for values in zip(*(map(_text, table[name]) for name in text_columns), strict=True)
        ]
        ids = range(start, start + len(table)) if id_column is None else table[id_column]
        ids = list(map(_text, ids))
        if id_column is not None:
            _require_new(ids, seen, path, id_column)
        yield pd.DataFrame({IDX: ids, "text": pd.Series(texts, dtype=object)})
        start += len(table)


def _text(value: object) -> str:
    """Return the writing of a cell; of what is missing nothing."""
    if isinstance(value, str):
        return value
    if isinstance(value, bytes):
        return value.decode(errors="replace")
    if pd.isna(value):
        return ""
    # Numbers of which one is missing are read as fractions.
    whole = isinstance(value, float) and value.is_integer()
    return str(int(value) if whole else value)


def _read(path: Path, columns: Sequence[str], rows: int) -> Iterator[pd.DataFrame]:
    if path.suffix.lower() in (".parquet", ".pq"):
        with as_data_error(f"{path}: is no Parquet file, or damaged"):
            yield from _read_parquet(path, columns, rows)
        return
    try:
        with as_data_error(f"{path}: is no CSV file in UTF-8", but=(pd.errors.EmptyDataError,)):
            yield from _read_csv(path, rows)
    except pd.errors.EmptyDataError:
        raise DataError(f"{path}: is empty; the first line names the columns") from None


def _read_parquet(path: Path, columns: Sequence[str], rows: int) -> Iterator[pd.DataFrame]:
    from pyarrow.parquet import ParquetFile

    file = ParquetFile(path)
    names = file.schema_arrow.names
    check_limit(str(path), "columns", len(names))
    for name in columns:
        if name in names and (kind := file.schema_arrow.field(name).type).num_fields:
            raise DataError(f"{path}: column {name!r} holds {kind}, not text")
    if not file.metadata.num_rows or not set(columns) <= set(names):
        yield pd.DataFrame(columns=names)
        return
    for batch in file.iter_batches(rows, columns=list(columns)):
        yield batch.to_pandas()


def _read_csv(path: Path, rows: int) -> Iterator[pd.DataFrame]:
    check_width(path)
    with pd.read_csv(
        path, dtype=str, keep_default_na=False, chunksize=rows, encoding="utf-8-sig"
    ) as reader:
        for table in reader:
            # Of rows that are longer than the header pandas takes the front for their names.
            if len(table) and not isinstance(table.index, pd.RangeIndex):
                raise DataError(
                    f"{path}: rows have more fields than the header has columns; texts with "
                    "commas must be in quotes"
                )
            yield table


def _require_new(ids: Iterable[str], seen: set[str], path: Path, column: str) -> None:
    for value in ids:
        if not value or value in seen:
            fault = "occurs twice" if value else "is empty in a row"
            raise DataError(f"{path}: {column} {value!r} {fault}; each report needs its own")
        seen.add(value)


def _fingerprint(
    path: Path,
    job: _Job,
    labeler: Labeler,
    text_columns: Sequence[str],
    id_column: str | None,
    rows: int,
) -> str:
    """Return a checksum of all that labels depend on: the table by its size and time."""
    if not path.is_file():
        raise DataError(f"{path}: no such file")
    status = path.stat()
    facts = (
        (str(path.resolve()), status.st_size, status.st_mtime_ns, rows),
        (list(text_columns), id_column, job.threshold, dict(job.labels.sources)),
        (repr(labeler.vocabulary), repr(labeler.semantics), repr(labeler.languages)),
    )
    return hashlib.sha256(repr(facts).encode()).hexdigest()


class _Written(NamedTuple):
    """What a text adds to the files of a part, whichever report it is of."""

    row: str
    line: str
    statements: list[Statement]
    empty: bool
    unmatched: bool
    language: str | None
    refused: bool
    positive: list[str]
    uncertain: list[str]


@lru_cache(maxsize=1)
def _unpickled(labeler: bytes) -> Labeler:
    """Make the labeler of a process: its rules are compiled, and statements remembered, once."""
    return pickle.loads(labeler)


def _label_part(job: _Job, number: int, table: pd.DataFrame) -> None:
    """Write the files of a part; the one that is asked for when a run goes on comes last."""
    labeler = _unpickled(job.pickled)
    found: dict[str, _Written] = {}
    statements: Counter[Statement] = Counter()
    counts, positive, uncertain = Counter(reports=len(table)), Counter(), Counter()
    languages: Counter[str] = Counter()
    with (
        job.parts.writing(str(number), ".csv") as labels_path,
        job.parts.writing(str(number), ".jsonl") as findings_path,
        open(labels_path, "w", encoding="utf-8") as labels_file,
        open(findings_path, "w", encoding="utf-8") as findings_file,
    ):
        for idx, text in zip(table[IDX], table["text"], strict=True):
            written = found.get(text)
            if written is None:
                written = found[text] = _written(job, labeler, text)
            labels_file.write(f"{_quoted(idx)},{written.row}\n")
            findings_file.write(f'{{"{IDX}": {_encode(_number_or_text(idx))}, {written.line}\n')
            counts["empty_reports"] += written.empty
            counts["reports_with_unmatched_words"] += written.unmatched
            counts["refused_reports"] += written.refused
            statements.update(written.statements)
            languages.update([written.language] if written.language else ())
            positive.update(written.positive)
            uncertain.update(written.uncertain)
    understood = [
        [item.text, item.code, count, *labeler.covered(item)] for item, count in statements.items()
    ]
    note = {"counts": counts, "positive": positive, "uncertain": uncertain, "languages": languages}
    job.parts.finish(str(number), note | {"statements": understood})


def _written(job: _Job, labeler: Labeler, text: str) -> _Written:
    finding = labeler.find(text)
    flat, names = finding.labels_flat, job.labels.names
    hot = job.labels.hot(flat, job.threshold)
    mentioned = job.labels.mentioned(flat)
    return _Written(
        row=",".join(["01"[holds] for holds in hot]),
        line=_as_json(labeler, text, finding),
        statements=labeler.statements(text),
        empty=not finding.reading.text,
        unmatched=bool(finding.reading.stripped),
        language=finding.language,
        refused=not finding.is_read,
        positive=[names[column] for column in mentioned if hot[column]],
        uncertain=[names[column] for column in mentioned if not hot[column]],
    )


_encode = json.JSONEncoder(ensure_ascii=False).encode


def _number_or_text(idx: str) -> int | str:
    return int(idx) if idx.isascii() and idx.isdecimal() and str(int(idx)) == idx else idx


def _as_json(labeler: Labeler, text: str, finding: Finding) -> str:
    """Write all of a finding but its id and the brace before it."""
    entities = labeler.vocabulary.entities
    patterns = labeler.vocabulary.patterns
    probability = {
        i: block.entities[0].probability for i, block in finding.blocks if block.entities
    }
    rows = [
        _encoded_mention(
            mention.entity,
            0.0 if mention.negated else probability.get(i, 0.0),
            mention.negated,
            mention.descriptors,
            patterns[finding.reading.patterns[mention.pattern]].text,
            tuple(entities[mention.entity].codes.items()),
        )
        for i, mention in enumerate(finding.mentions)
    ]
    labels = [_encoded_label(*label) for label in finding.labels_flat.items()]
    language = ""
    if finding.language is not None:
        language = (
            f'"language": {_encode(finding.language)}, "is_read": {_encode(finding.is_read)}, '
        )
    return (
        f'"text": {_encode(text)}, {language}"findings": [{", ".join(rows)}], '
        f'"labels": {{{", ".join(labels)}}}, "unmatched": {_encode(finding.reading.stripped)}}}'
    )


# Mentions and labels recur from report to report: to encode each anew takes longer than all else.
@lru_cache(maxsize=20_000, typed=True)
def _encoded_mention(
    entity: str,
    probability: float,
    negated: bool,
    descriptors: tuple[str, ...],
    pattern: str,
    codes: tuple[tuple[str, object], ...],
) -> str:
    row: dict[str, object] = {
        "entity": entity,
        "probability": probability,
        "negated": negated,
        "descriptors": descriptors,
        "pattern": pattern,
    }
    return _encode(row | {"codes": dict(codes)} if codes else row)


@lru_cache(maxsize=20_000, typed=True)
def _encoded_label(name: str, probability: float) -> str:
    return f"{_encode(name)}: {_encode(probability)}"


def _joined(out: Path, job: _Job, labeler: Labeler, n_parts: int) -> Coverage:
    """Put the parts together."""
    parts, labels = job.parts, job.labels.names
    counts, positive, uncertain, languages = Counter(), Counter(), Counter(), Counter()
    statements: dict[tuple[str, str], list] = {}
    names = [str(number) for number in range(1, n_parts + 1)]
    for part in map(parts.note, names):
        counts.update(part["counts"])
        positive.update(part["positive"])
        uncertain.update(part["uncertain"])
        languages.update(part["languages"])
        for text, language, count, *covered in part["statements"]:
            row = statements.setdefault((text, language), [0, *covered])
            row[0] += count
    by_count = sorted(statements.items(), key=lambda item: (-item[1][0], item[0]))
    read = {"", *(language.code for language in labeler.languages if language.is_read)}
    unmatched = [(*key, row[0]) for key, row in by_count if not row[1]]
    of_read: Counter[str] = Counter()
    for text, language, count in unmatched:
        if language in read:
            of_read[text] += count
    coverage = Coverage(
        reports=counts["reports"],
        empty_reports=counts["empty_reports"],
        reports_with_unmatched_words=counts["reports_with_unmatched_words"],
        statements=sum(row[0] for row in statements.values()),
        unmatched_statements=sum(count for *_, count in unmatched),
        frequent_unmatched=dict(of_read.most_common(_FREQUENT)),
        refused_reports=counts["refused_reports"],
        languages=dict(sorted(languages.items())),
        labels={
            name: {"positive": positive[name], "uncertain": uncertain[name]} for name in labels
        },
    )
    with open_replacing(out / STATEMENTS, newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["statement", "count", "patterns", "unmatched", "language"])
        for (text, language), row in by_count:
            writer.writerow([cell(text), *row, language])
    write_file(out / COVERAGE, json.dumps(asdict(coverage), indent=1, ensure_ascii=False) + "\n")
    header = ",".join(_quoted(name) for name in (IDX, *labels)) + "\n"
    _concatenate(out / FINDINGS, "", [parts.file(name, ".jsonl") for name in names])
    _concatenate(out / LABELS, header, [parts.file(name, ".csv") for name in names])
    return coverage


def _quoted(name: str) -> str:
    name = cell(name)
    return f'"{name.replace(chr(34), chr(34) * 2)}"' if set(name) & set(',"\r\n') else name


def _concatenate(path: Path, header: str, parts: Iterable[Path]) -> None:
    with open_replacing(path, "wb") as file:
        file.write(header.encode())
        for part in parts:
            with open(part, "rb") as source:
                shutil.copyfileobj(source, file)
