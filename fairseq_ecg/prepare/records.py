"""The table of an archive's records, ``records.csv``: what there is before a signal is read."""

import re
from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from pathlib import Path, PurePath
from typing import Any, TextIO

import pandas as pd
import yaml

from fairseq_ecg.data.documents import load_yaml
from fairseq_ecg.data.names import plain_name
from fairseq_ecg.data.width import check_width
from fairseq_ecg.errors import DataError, as_data_error
from fairseq_ecg.jobs.files import open_replacing, replacing, write_file
from fairseq_ecg.prepare.sources import Source, open_source
from fairseq_ecg.prepare.sources.source import FOUND, RESERVED

REQUIRED = ("path", "source", "dataset")

SOURCE = "source.yaml"

TEXTS = ("path", "source", "dataset", "save_file")


def write_records(
    name: str, raw_root: Path, folder: Path, options: Mapping[str, Any] | None = None
) -> pd.DataFrame:
    """List the records of an archive.

    Args:
        name: of the source, see `sources.SOURCES`.
        raw_root: folder of the archive.
        folder: to write ``records.csv`` to, with tables of the source's own, and ``source.yaml``,
            by which later steps find the archive; made where absent.
        options: further arguments of the source's class.

    Returns:
        The table.

    Raises:
        DataError: the archive is not as it should be, or two records would have one file.
    """
    source = open_source(name, raw_root.absolute(), options)
    records = write_source(source, folder)
    content = {"source": name, "raw_root": str(raw_root.absolute()), **_plain(options or {})}
    write_file(folder / SOURCE, yaml.safe_dump(content, sort_keys=False))
    return records


def write_source(source: Source, folder: Path) -> pd.DataFrame:
    """List the records of an archive that is open already.

    Args:
        source: the archive.
        folder: to write ``records.csv`` to, with tables of the source's own; made where absent.

    Returns:
        The table.

    Raises:
        DataError: see `write_records`.
    """
    records = source.records()
    _check(records, f"{source.raw_root}: its records")
    if "save_file" not in records:
        names = [save_file(source, path) for path in records["path"].astype(str)]
        records.insert(list(records).index("path") + 1, "save_file", names)
    _check_files(records, str(source.raw_root))
    write_tables((folder / f"{name}.csv", rows) for name, rows in source.tables())
    with replacing(folder / "records.csv") as path:
        records.to_csv(path, index=False)
    return records


def write_tables(pieces: Iterable[tuple[Path, pd.DataFrame]]) -> None:
    """Write what an archive holds besides records, a piece of a table at a time, to its file."""
    with ExitStack() as stack:
        files: dict[Path, TextIO] = {}
        for path, rows in pieces:
            first = path not in files
            if first:
                files[path] = stack.enter_context(open_replacing(path))
            rows.to_csv(files[path], index=False, header=first)


def _plain(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return options in types that YAML has; paths of what is there from anywhere."""

    def plain(value: Any) -> Any:
        if isinstance(value, Path):
            return str(value.absolute() if value.exists() else value)
        return list(value) if isinstance(value, tuple) else value

    return {key: plain(value) for key, value in options.items() if value is not None}


def read_source(folder: Path, raw_root: Path | None = None) -> Source:
    """Open the archive of which a folder has the records.

    Args:
        folder: that holds ``source.yaml``.
        raw_root: where the archive lies, if not where it was.

    Returns:
        The source.

    Raises:
        DataError: there is no such file, or no such archive.
    """
    path = folder / SOURCE
    if not path.is_file():
        raise DataError(f"{path}: no such file. Run the step 'records' first")
    with as_data_error(f"{path}: is damaged", "Run the step 'records' again"):
        content = load_yaml(path.read_text(encoding="utf-8"), str(path))
        name, old_root = content.pop("source"), Path(content.pop("raw_root"))
    return open_source(name, (raw_root or old_root).absolute(), content)


def read_records(path: Path) -> pd.DataFrame:
    """Read ``records.csv``.

    Args:
        path: of the file.

    Returns:
        The table. Numbers are numbers, but where they have leading zeros, as ids do: text.

    Raises:
        DataError: there is no such file, columns are missing or superfluous, or two records would
            have one file.
    """
    if not path.is_file():
        raise DataError(f"{path}: no such file. Run the step 'records' first")
    with as_data_error(f"{path}: cannot be read as a table"):
        check_width(path)
        records = pd.read_csv(path, dtype=dict.fromkeys(TEXTS, str), low_memory=False)
        numbers = list(records.select_dtypes("number"))
        texts = pd.read_csv(path, usecols=numbers, dtype=str) if numbers else pd.DataFrame()
    for column in texts:
        if texts[column].str.match(r"[+-]?0\d").any():
            records[column] = texts[column]
    _check(records, str(path))
    if "save_file" not in records:
        raise DataError(f"{path}: no column 'save_file'. Run the step 'records' again")
    _check_files(records, str(path))
    return records


def save_file(source: Source, path: str) -> str:
    """Return the name of a record's ``.mat`` file: source and path in one word.

    The name depends on nothing else, so that it stays when records are added.

    Args:
        source: the archive.
        path: of the record.
    """
    relative = PurePath(path)
    root = source.raw_root.absolute()
    if relative.is_relative_to(root):
        relative = relative.relative_to(root)
    stem = relative.with_suffix("").as_posix()
    return f"{source.name}_{re.sub('[/ ]', '_', stem.lstrip('/'))}.mat"


def _check(records: pd.DataFrame, where: str) -> None:
    for column in REQUIRED:
        if column not in records:
            raise DataError(f"{where}: no column {column!r} (there are {', '.join(records)})")
    for column in records:
        if column in RESERVED or FOUND.match(column):
            raise DataError(f"{where}: column {column!r} is made by the step 'signals': rename it")
    if not len(records):
        raise DataError(f"{where}: there are none")
    missing = records[list(REQUIRED)].isna()
    if missing.any(axis=None):
        row = int(missing.any(axis=1).to_numpy().argmax())
        column = missing.iloc[row].idxmax()
        raise DataError(f"{where}, record {row + 1}: no value in column {column!r}")


def _check_files(records: pd.DataFrame, where: str) -> None:
    if records["save_file"].isna().any():
        raise DataError(f"{where}: a record without 'save_file'")
    for name in records["save_file"]:
        plain_name(where, name, "a 'save_file'")
    repeated = records.duplicated("save_file", keep=False)
    if repeated.any():
        first, second = records.loc[repeated].sort_values("save_file")["path"].iloc[:2]
        name = records.loc[repeated].sort_values("save_file")["save_file"].iloc[0]
        raise DataError(
            f"{where}: {first} and {second} would both become {name}. Give them other names in "
            "the column 'save_file', or leave one out"
        )
