"""Manifests: the tab-separated lists of the files of a split.

A plain manifest has the root directory in its first line (after a tab or not), then one segment in
each line: path relative to the root, length in samples, and in a manifest for identification the
class of the patient. A manifest of questions has in each line the path, the length of the ECG that
the question is about, or of both, and the tokens of the question. A CMSC manifest has the root
directory in its first line, the extension of the files in its second, then one recording in each
line: path
without segment number and extension, length of a segment in samples, a column without use, and the
numbers of its segments separated by commas.
"""

import logging
import os
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from fairseq_ecg.data.names import path_below, plain_name
from fairseq_ecg.errors import DataError, as_data_error

logger = logging.getLogger(__name__)

_PLAIN_ROW = "path and n_samples"
_CLASS_ROW = "path, n_samples and class"
_QUESTION_ROW = "path, n_samples of one ECG or of two, and n_tokens"
_CMSC_ROW = "path without segment number, n_samples, 0, and segment numbers such as 0,1"


class Entry(NamedTuple):
    """One line of a manifest.

    Attributes:
        path: file relative to the manifest's root; in a CMSC manifest without
            ``_<segment>.<extension>``.
        n_samples: length of a segment in samples.
        line: line number in the manifest, from 1.
        segments: numbers of the segments, an even number of them; of a CMSC manifest.
        class_index: of the patient, from 0; None where the manifest has no such column.
    """

    path: str
    n_samples: int
    line: int
    segments: tuple[int, ...] = ()
    class_index: int | None = None


@dataclass(frozen=True, eq=False)
class Manifest:
    """Sequence of `Entry`, stored as columns: a million lines fit in the memory of every worker.

    Args:
        path: the manifest itself.
        root: directory that the paths are relative to.
        paths: ``(N,)`` as of `Entry`, UTF-8 bytes.
        sizes: ``(N,)`` int64, lengths of a segment in samples.
        lines: ``(N,)`` int64, line numbers from 1.
        segments: of a CMSC manifest: ``(N,)`` segment numbers as comma-separated bytes.
        extension: of a CMSC manifest: that of the files, without dot.
        classes: of a manifest for identification: ``(N,)`` int64 class of each patient.
        lengths: of a manifest of questions: ``(N, 2)`` int64, length of the first ECG and of the
            second in samples, 0 where there is none; ``sizes`` are those of the shorter.
        n_tokens: of a manifest of questions: ``(N,)`` int64, tokens of each.
    """

    path: str
    root: str
    paths: np.ndarray
    sizes: np.ndarray
    lines: np.ndarray
    segments: np.ndarray | None = None
    extension: str = ""
    classes: np.ndarray | None = None
    lengths: np.ndarray | None = None
    n_tokens: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.paths)

    def __iter__(self) -> Iterator[Entry]:
        return map(self.__getitem__, range(len(self)))

    def __getitem__(self, index: int) -> Entry:
        segments = () if self.segments is None else map(int, self.segments[index].split(b","))
        path, n_samples = self.paths[index].decode(), int(self.sizes[index])
        class_index = None if self.classes is None else int(self.classes[index])
        return Entry(path, n_samples, int(self.lines[index]), tuple(segments), class_index)

    def names(self, index: int) -> list[str]:
        """Return the files of an entry, relative to the root."""
        entry = self[index]
        if self.segments is None:
            return [entry.path]
        return [f"{entry.path}_{segment}.{self.extension}" for segment in entry.segments]

    def files(self, index: int) -> list[str]:
        """Return the paths of the files of an entry."""
        return [os.path.join(self.root, name) for name in self.names(index)]

    def name(self, index: int) -> str:
        """Name an entry in one path."""
        entry = self[index]
        if self.segments is None:
            return os.path.join(self.root, entry.path)
        numbers = ",".join(map(str, entry.segments))
        return os.path.join(self.root, f"{entry.path}_{{{numbers}}}.{self.extension}")


def read_manifest(path: str | os.PathLike, min_samples: int | None = None) -> Manifest:
    """Read a plain manifest, or one for identification, which has a third column: the class.

    Args:
        path: of the manifest.
        min_samples: shorter segments are dropped.

    Returns:
        The segments that remain.

    Raises:
        DataError: the manifest cannot be read, or nothing remains.
    """
    path = os.fspath(path)
    root, lines = _read_lines(path)
    has_classes = len(lines) > 1 and re.fullmatch(r"[^\t]*\t[^\t]*\t[^\t]+", lines[1]) is not None
    meaning = _CLASS_ROW if has_classes else _PLAIN_ROW
    rows = _rows(path, lines, first_line=2, n_columns=2 + has_classes, meaning=meaning)
    paths, sizes, numbers, last = _columns(path, rows, min_samples, _class_index)
    classes = last.astype(np.int64) if has_classes else None
    return Manifest(path, root, paths, sizes, numbers, classes=classes)


def read_question_manifest(path: str | os.PathLike, min_samples: int | None = None) -> Manifest:
    """Read a manifest of questions about one ECG or two.

    Args:
        path: of the manifest.
        min_samples: questions of which an ECG is shorter are dropped.

    Returns:
        The questions that remain.

    Raises:
        DataError: the manifest cannot be read, or nothing remains.
    """
    path = os.fspath(path)
    root, lines = _read_lines(path)
    kept: list[tuple[bytes, int, int, int, int]] = []
    n_short = 0
    for number, (name, *counts) in _rows(
        path, lines, first_line=2, n_columns=(3, 4), meaning=_QUESTION_ROW
    ):
        path_below(f"{path}, line {number}", name, "a file", "the root directory of line 1")
        lengths = [_count(path, number, text, "n_samples") for text in counts[:-1]]
        n_tokens = _count(path, number, counts[-1], "n_tokens")
        if min_samples is not None and min(lengths) < min_samples:
            n_short += 1
        else:
            second = lengths[1] if len(lengths) > 1 else 0
            kept.append((name.encode(), number, lengths[0], second, n_tokens))
    log_size(path, len(kept), [(n_short, f"with an ECG shorter than {min_samples} samples")])
    names = np.array([row[0] for row in kept])
    lines_of, first, second, n_tokens = np.array([row[1:] for row in kept], np.int64).T
    return Manifest(
        path,
        root,
        names,
        np.where(second > 0, np.minimum(first, second), first),
        lines_of,
        lengths=np.stack([first, second], axis=1),
        n_tokens=n_tokens,
    )


def read_cmsc_manifest(path: str | os.PathLike, min_samples: int | None = None) -> Manifest:
    """Read a CMSC manifest.

    An odd last segment of a recording is dropped, for segments come in pairs, and so is a
    recording of one segment.

    Args:
        path: of the manifest.
        min_samples: recordings with shorter segments are dropped.

    Returns:
        The recordings that remain.

    Raises:
        DataError: the manifest cannot be read, or nothing remains.
    """
    path = os.fspath(path)
    root, lines = _read_lines(path)
    extension = lines[1].strip().lstrip(".") if len(lines) > 1 else ""
    if not extension or "\t" in extension:
        raise DataError(
            f"{path}, line 2: expected the extension of the files (mat), found {extension!r}. "
            "A CMSC manifest is needed here: point task.data at the folder 'cmsc' that was made "
            "from the plain manifests"
        )
    plain_name(f"{path}, line 2", f"x.{extension}", "a file")
    rows = _rows(path, lines, first_line=3, n_columns=4, meaning=_CMSC_ROW)
    columns = _columns(path, rows, min_samples, _paired_segments)
    return Manifest(path, root, *columns, extension)


def _columns(
    path: str,
    rows: Iterable[tuple[int, list[str]]],
    min_samples: int | None,
    parse: Callable[[str, int, str], bytes],
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Return paths, sizes, line numbers and the parsed last column of the lines that are kept."""
    kept: list[tuple[bytes, int, int, bytes]] = []
    n_short = n_single = 0
    for number, (name, size, *others) in rows:
        path_below(f"{path}, line {number}", name, "a file", "the root directory of line 1")
        n_samples = _count(path, number, size, "n_samples")
        last = parse(path, number, others[-1]) if others else b"0"
        if min_samples is not None and n_samples < min_samples:
            n_short += 1
        elif not last:
            n_single += 1
        else:
            kept.append((name.encode(), n_samples, number, last))
    dropped = [(n_short, f"shorter than {min_samples} samples"), (n_single, "of a single segment")]
    log_size(path, len(kept), dropped)
    names, sizes, numbers, ends = zip(*kept, strict=True)
    return np.array(names), np.array(sizes, np.int64), np.array(numbers, np.int64), np.array(ends)


def _read_lines(path: str) -> tuple[str, list[str]]:
    """Root directory and all lines of a manifest, without blank lines at its end."""
    try:
        with (
            as_data_error(f"{path}: cannot be read as a manifest", but=(FileNotFoundError,)),
            open(path, encoding="utf-8-sig") as file,
        ):
            lines = file.read().rstrip("\n").split("\n")
    except FileNotFoundError:
        raise DataError(
            f"{path}: no such manifest. Check task.data (the folder of the manifests) and the "
            "names of the subsets"
        ) from None
    root = lines[0].strip()
    if not root:
        raise DataError(f"{path}: the manifest is empty or lacks its root. Build it again")
    if not os.path.isdir(root):
        raise DataError(
            f"{path}, line 1: the root directory {root!r} does not exist. "
            "Correct the line if the data were moved, or build the manifest again"
        )
    return root, lines


def _rows(
    path: str, lines: list[str], *, first_line: int, n_columns: int | tuple[int, ...], meaning: str
) -> Iterator[tuple[int, list[str]]]:
    """Line number and columns of each line from ``first_line`` on."""
    numbers = (n_columns,) if isinstance(n_columns, int) else n_columns
    if len(lines) < first_line:
        raise DataError(f"{path}: the manifest lists no recordings. Build it again")
    for number, line in enumerate(lines[first_line - 1 :], start=first_line):
        columns = line.split("\t")
        if len(columns) not in numbers:
            expected = " or ".join(map(str, numbers))
            raise DataError(
                f"{path}, line {number}: expected {expected} tab-separated columns ({meaning}), "
                f"found {len(columns)}: {line!r}. Plain and CMSC manifests differ: check that "
                "task.data points at the right folder"
            )
        yield number, columns


def _count(path: str, number: int, text: str, name: str) -> int:
    try:
        count = int(text)
    except ValueError:
        count = 0
    if count < 1:
        raise DataError(
            f"{path}, line {number}: {name} must be a positive integer, found {text!r}. "
            "Build the manifest again"
        )
    return count


def _paired_segments(path: str, number: int, text: str) -> bytes:
    """Segment numbers of a CMSC line without an odd last one, as comma-separated bytes."""
    try:
        segments = [int(segment) for segment in text.split(",")]
    except ValueError:
        raise DataError(
            f"{path}, line {number}: expected segment numbers such as 0,1, found {text!r}. "
            "Build the manifest again"
        ) from None
    n_paired = len(segments) - len(segments) % 2
    return ",".join(map(str, segments[:n_paired])).encode()


def _class_index(path: str, number: int, text: str) -> bytes:
    """Class of a patient, as bytes."""
    if not re.fullmatch("[0-9]{1,18}", text):
        raise DataError(
            f"{path}, line {number}: expected the class of the patient, a number from 0, found "
            f"{text!r}. Build the manifest again"
        )
    return text.encode()


def log_size(path: str, n_kept: int, dropped: list[tuple[int, str]]) -> None:
    """Log how many recordings a split has.

    Args:
        path: names the split.
        n_kept: recordings that remain.
        dropped: how many were dropped, and the reason.

    Raises:
        DataError: nothing remains.
    """
    reasons = ", ".join(f"{count} {reason} dropped" for count, reason in dropped if count)
    if not n_kept:
        raise DataError(
            f"{path}: no recording remains ({reasons}). "
            "Lower min_sample_size or build the manifest from other data"
        )
    logger.info("%s: %d recordings%s", path, n_kept, f"; {reasons}" if reasons else "")
