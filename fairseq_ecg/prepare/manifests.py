"""Manifests: lists of segment files by split, in the formats of fairseq_signals."""

import os
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from fairseq_ecg.data.names import plain_name
from fairseq_ecg.data.tables import line_of, read_in_parts
from fairseq_ecg.errors import DataError
from fairseq_ecg.jobs.files import open_replacing
from fairseq_ecg.jobs.progress import progress_bar

SEGMENT_FILE = re.compile(r"(?P<stem>.*)_(?P<segment>\d+)\.(?P<extension>[^./]+)")
"""Name of a segment file: that of its recording, its number, its extension."""

HEADERS: dict[str, Callable[[str], str]] = {
    "tab": lambda root: f"\t{root}",
    "plain": lambda root: root.rstrip("/") or "/",
}
"""First line of a manifest, of a root that ends in ``/``: as fairseq_signals' scripts write it
now, and as its older ones did."""


@dataclass(frozen=True)
class Lines:
    """The text of a manifest.

    Attributes:
        path: of the manifest.
        header: first line, as it is; of a CMSC manifest the first two.
        root: folder that the rows are relative to, as it is written.
        rows: the other lines.
    """

    path: Path
    header: tuple[str, ...]
    root: str
    rows: tuple[str, ...]

    @property
    def is_cmsc(self) -> bool:
        """Whether its rows are pairs of segments."""
        return len(self.header) == 2

    def columns(self, n_columns: int) -> Iterator[list[str]]:
        """Split the rows.

        Args:
            n_columns: that each row has.

        Yields:
            The columns of each row.

        Raises:
            DataError: A row has another number of columns.
        """
        for number, row in enumerate(self.rows, start=len(self.header) + 1):
            columns = row.split("\t")
            if len(columns) != n_columns:
                raise DataError(
                    f"{self.path}, line {number}: expected {n_columns} tab-separated columns, "
                    f"found {len(columns)}: {row!r}. Is it a manifest of another kind?"
                )
            yield columns


def read_lines(path: Path) -> Lines:
    """Read the text of a manifest. Its root need not exist on this machine.

    Args:
        path: of a manifest of any kind.

    Returns:
        Its text.

    Raises:
        DataError: There is no such file, or it is no manifest.
    """
    try:
        header, *rows = path.read_text(encoding="utf-8-sig").rstrip("\n").split("\n")
    except FileNotFoundError:
        raise DataError(f"{path}: no such manifest") from None
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: cannot be read as a manifest: {error}") from error
    root = header.strip()
    if not root or "\t" in root:
        raise DataError(f"{path}, line 1: expected the root directory, found {header!r}")
    headers = 2 if rows and "\t" not in rows[0] else 1
    return Lines(path, (header, *rows[: headers - 1]), root, tuple(rows[headers - 1 :]))


def manifests_in(folder: Path) -> list[Path]:
    """Find the manifests of a folder.

    Args:
        folder: of manifests.

    Returns:
        Its files ``*.tsv``, in the order of the alphabet.

    Raises:
        DataError: There is none.
    """
    paths = sorted(folder.glob("*.tsv"))
    if not paths:
        raise DataError(f"{folder}: no manifests (*.tsv)")
    return paths


def write_lines(path: Path, header: Iterable[str], rows: Iterable[str]) -> int:
    """Write a manifest.

    Args:
        path: of the manifest.
        header: its first lines.
        rows: its other lines, which need not fit in memory.

    Returns:
        The number of rows.
    """
    with open_replacing(path) as file:
        file.writelines(f"{line}\n" for line in header)
        return sum(1 for row in rows if file.write(f"{row}\n"))


def cmsc_row(stem: str, n_samples: int | str, first: int | str, second: int | str) -> str:
    """Return the line of a pair of segments.

    Args:
        stem: path of the segments' files without ``_<segment>.mat``.
        n_samples: length of a segment in samples.
        first: number of a segment.
        second: number of its partner.
    """
    return f"{stem}\t{n_samples}\t0\t{first},{second}"


def write_manifests(
    split_files: Sequence[Path],
    save_dir: Path,
    *,
    root: Path | None = None,
    header: str = "tab",
    dataset_subset: Sequence[str] | None = None,
    path_must_contain: str | None = None,
) -> dict[str, int]:
    """Write ``<split>.tsv`` for every split, of the segments of one or several sources.

    Rows are in the order of the files. The root is what all paths have in common, up to the last
    ``/``. The tables need not fit in memory.

    Args:
        split_files: tables of segments, ``segmented_split.csv``: ``path``, ``sample_size``,
            ``split``.
        save_dir: folder of the manifests.
        root: what relative paths are relative to; the folder of their table if None.
        header: first line, a key of ``HEADERS``: ``tab`` is a tab and the root with ``/`` at its
            end, ``plain`` is the root.
        dataset_subset: values of the column ``dataset`` to list; all if None.
        path_must_contain: list only files whose path contains this.

    Returns:
        The number of segments by split, in the order of the alphabet.

    Raises:
        DataError: A table is missing or is not as it should be, or no segment remains.
    """
    columns = ["split"] if dataset_subset is None else ["split", "dataset"]

    def segments() -> Iterator[pd.DataFrame]:
        for part in read_segments(split_files, columns, root):
            if dataset_subset is not None:
                part = part[part["dataset"].isin(dataset_subset)]
            if path_must_contain is not None:
                part = part[part["path"].str.contains(path_must_contain, regex=False)]
            if not part.empty:
                yield part

    common = None
    counts: Counter[str] = Counter()
    for part in segments():
        counts.update(part["split"])
        common = common_root(part["path"], common)
    if common is None:
        raise DataError(f"{', '.join(map(str, split_files))}: no segment remains to be listed")
    with ExitStack() as files:
        file_of = {}
        for split in sorted(counts):
            file_of[split] = files.enter_context(open_replacing(save_dir / f"{split}.tsv"))
            file_of[split].write(f"{HEADERS[header](common)}\n")
        with progress_bar(counts.total(), "manifests", "segment", show=True) as bar:
            for part in segments():
                columns = (part["split"], part["path"], part["sample_size"])
                for split, path, n_samples in zip(*columns, strict=True):
                    file_of[split].write(f"{path[len(common) :]}\t{n_samples}\n")
                bar.update(len(part))
    return {split: counts[split] for split in sorted(counts)}


def read_segments(
    tables: Sequence[Path], columns: Sequence[str], root: Path | None = None
) -> Iterator[pd.DataFrame]:
    """Read tables of segments, which need not fit in memory.

    Args:
        tables: CSV files with ``path`` and ``sample_size``.
        columns: to read besides.
        root: what relative paths are relative to; the folder of their table if None.

    Yields:
        Parts of the tables in their order: ``path`` (absolute), ``sample_size`` (int64), and
        ``columns`` as text. Their index counts the rows of the file.

    Raises:
        DataError: A table is missing, or a value in it cannot be listed in a manifest.
    """
    for table in tables:
        prefix = f"{os.path.abspath(table.parent if root is None else root)}/"
        for part in read_in_parts(table, ["path", "sample_size", *columns]):
            for column in ("path", *columns):
                _refuse(part[column].map(_unlistable), table, part, column)
            if "split" in columns:  # which names a file
                _refuse(part["split"].str.contains("/", regex=False), table, part, "split")
                for split in part["split"].unique():
                    plain_name(str(table), f"{split}.tsv", "the manifest of a split")
            sizes = pd.to_numeric(part["sample_size"], errors="coerce")
            _refuse(~(sizes.ge(1) & (sizes % 1 == 0)), table, part, "sample_size")
            absolute = [path if path[0] == "/" else prefix + path for path in part["path"]]
            yield part.assign(path=absolute, sample_size=sizes.astype("int64"))


def common_root(paths: pd.Series, known: str | None = None) -> str:
    """Find what paths have in common, up to the last ``/``.

    Args:
        paths: absolute paths.
        known: what other paths have in common, of which the result is that of all.

    Returns:
        A folder, with ``/`` at its end.
    """
    # What the first and the last in the alphabet have in common, all have.
    ends = [paths.min(), paths.max()] + ([] if known is None else [known])
    common = os.path.commonprefix(ends)  # noqa: RUF071 (cut back to a folder below)
    return common[: common.rfind("/") + 1]


def _unlistable(text: str) -> bool:
    return not text or "\t" in text or "\n" in text or "\r" in text


def _refuse(wrong: pd.Series, table: Path, part: pd.DataFrame, column: str) -> None:
    if wrong.any():
        row = wrong.idxmax()
        raise DataError(
            f"{table}, line {line_of(row)}: {column} {part[column][row]!r} cannot be listed in a "
            "manifest. Make the table of segments and its splits again"
        )


def write_cmsc_manifests(
    manifest_dir: Path,
    dest: Path,
    *,
    extension: str = "mat",
    consecutive: bool = False,
) -> dict[str, int]:
    """Make ``<dest>/cmsc/<name>.tsv``, lists of pairs of segments, of all manifests of a folder.

    The segments of a recording are sorted by their numbers and paired, the first with the second,
    the third with the fourth; what has no partner is left out.

    Args:
        manifest_dir: folder of plain manifests.
        dest: folder for the folder ``cmsc``.
        extension: of the segment files.
        consecutive: pair only segments whose numbers are consecutive, so that partners are
            neighbours in the recording even where segments are missing.

    Returns:
        The number of pairs by the name of the manifest.

    Raises:
        DataError: There are no manifests, one has not two columns, or a file in it is no segment.
    """
    counts = {}
    for path in progress_bar(manifests_in(manifest_dir), "cmsc", "manifest", show=True):
        lines = read_lines(path)
        rows = _pairs(lines, extension.lstrip("."), consecutive)
        header = [lines.root, extension.lstrip(".")]
        counts[path.stem] = write_lines(dest / "cmsc" / path.name, header, rows)
    return counts


def _pairs(lines: Lines, extension: str, consecutive: bool) -> Iterator[str]:
    numbers: dict[str, list[int]] = {}
    size_of: dict[str, str] = {}
    for name, n_samples in lines.columns(2):
        stem, number = segment_of(name, lines.path, extension)
        numbers.setdefault(stem, []).append(number)
        size_of[stem] = n_samples  # fairseq_signals takes that of the last
    for stem, found in numbers.items():
        first = None
        for number in sorted(found):
            if first is None or (consecutive and number != first + 1):
                first = number
                continue
            yield cmsc_row(stem, size_of[stem], first, number)
            first = None


def segment_of(name: str, manifest: Path, extension: str = "mat") -> tuple[str, int]:
    """Take the name of a segment file apart.

    Args:
        name: path of the file.
        manifest: that lists it, for the message.
        extension: that it must have.

    Returns:
        Path of its recording, without extension, and the segment's number.

    Raises:
        DataError: It is not ``<recording>_<number>.<extension>``.
    """
    match = SEGMENT_FILE.fullmatch(name)
    if match is None or match["extension"] != extension:
        raise DataError(
            f"{manifest}: {name!r} is no segment, whose name ends in _<number>.{extension}"
        )
    return match["stem"], int(match["segment"])
