"""Files of a run over ECG-QA: a part after the other, noted in a journal, and their manifests."""

import os
import re
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from fairseq_ecg.data.label_file import LABEL_DEFINITION
from fairseq_ecg.errors import DataError
from fairseq_ecg.jobs.files import remove_unfinished, replacing
from fairseq_ecg.jobs.journal import Journal, checksum
from fairseq_ecg.jobs.locks import locked
from fairseq_ecg.jobs.pool import in_parallel
from fairseq_ecg.jobs.progress import progress_bar
from fairseq_ecg.prepare.ecg_qa.project import SPLITS
from fairseq_ecg.prepare.ecg_qa.recordings import NAME
from fairseq_ecg.prepare.manifests import write_lines

KINDS = ("questions", "grounding")
"""What is made of ECG-QA, each in a folder of its own."""

Row = list[Any]
"""Name of a file, and the numbers that follow it in the manifest."""


@dataclass(frozen=True)
class Written:
    """What was made of ECG-QA.

    Attributes:
        counts: files by split.
        left_out: questions, or samples, about ECGs that cannot be used.
        quarantine: see `recordings.Measured`.
    """

    counts: dict[str, int]
    left_out: int
    quarantine: pd.DataFrame


@dataclass(frozen=True)
class Part:
    """Some files of a split.

    Attributes:
        split: that they belong to.
        arguments: of the function that writes them and returns their rows, after the folder.
    """

    split: str
    arguments: tuple

    def checksum(self) -> str:
        """Return a checksum of what the files are made of."""
        content = zlib.crc32(repr(self.arguments).encode())
        return checksum({"split": self.split, "content": content})


@contextmanager
def run_in(folder: Path, kind: str) -> Iterator[Path]:
    """Work in a folder, in which nobody else may.

    Args:
        folder: to write to, made where absent.
        kind: one of `KINDS`.

    Yields:
        The folder's real path, which manifests name.

    Raises:
        DataError: another run writes there, or the folder holds the other kind.
    """
    folder = Path(os.path.realpath(folder))
    for other in KINDS:
        if other != kind and _journal(folder, other).exists():
            raise DataError(
                f"{folder}: holds the files of 'prepare {other}', whose manifests have the same "
                "names. Give another --processed-root"
            )
    with locked(folder / NAME, wait=False):
        remove_unfinished(folder, *(folder / split for split in SPLITS))
        yield folder


def _journal(folder: Path, kind: str) -> Path:
    return folder / f".{kind}.journal"


def write_parts(
    folder: Path,
    kind: str,
    parts: Sequence[Part],
    write: Callable[..., list[Row]],
    settings: dict[str, Any],
    *,
    again: bool,
) -> dict[str, list[Row]]:
    """Write the files of all parts that an earlier run did not, and the manifests.

    Args:
        folder: of the manifests and of the folders of the splits.
        kind: one of `KINDS`.
        parts: in the order of the manifests.
        write: called in worker processes, with the folder of the split and a part's arguments;
            returns the rows of the manifest.
        settings: what all files depend on, as JSON can hold it.
        again: write all of them.

    Returns:
        The rows of the manifest by split.
    """
    with Journal(_journal(folder, kind), settings, again) as journal:
        checksums = [part.checksum() for part in parts]
        done = _done(folder, journal, parts, checksums)
        calls = [
            (write, number, folder / part.split, part.arguments)
            for number, part in enumerate(parts)
            if number not in done
        ]
        with progress_bar(
            len(parts), f"{NAME}: {kind}", "part", show=True, initial=len(done)
        ) as bar:
            for number, rows in in_parallel(_write, calls):
                journal.add(number, checksums[number], {"rows": rows})
                bar.update()
        remove_unfinished(*(folder / split for split in SPLITS))  # of workers of an earlier run
        journal.tidy()
        rows_of: dict[str, list[Row]] = {split: [] for split in SPLITS}
        positions = journal.positions()
        entries = journal.entries(positions[number][1] for number in range(len(parts)))
        for part, entry in zip(parts, entries, strict=True):
            rows_of[part.split] += entry["rows"]
    for split, rows in rows_of.items():
        _remove_stale_files(folder / split, {row[0] for row in rows})
        lines = ("\t".join(map(str, row)) for row in rows)
        write_lines(folder / f"{split}.tsv", [str(folder / split)], lines)
    return rows_of


def _write(
    write: Callable[..., list[Row]], number: int, folder: Path, arguments: tuple
) -> tuple[int, list[Row]]:
    return number, write(folder, *arguments)


def _done(
    folder: Path, journal: Journal, parts: Sequence[Part], checksums: Sequence[str]
) -> frozenset[int]:
    """Numbers of the parts whose files are all there."""
    positions = journal.positions()
    known = [
        number
        for number in range(len(parts))
        if positions.get(number, ("",))[0] == checksums[number]
    ]
    names = {
        split: frozenset(os.listdir(path) if (path := folder / split).is_dir() else ())
        for split in SPLITS
    }
    entries = journal.entries(positions[number][1] for number in known)
    return frozenset(
        number
        for number, entry in zip(known, entries, strict=True)
        if names[parts[number].split].issuperset(row[0] for row in entry["rows"])
    )


def _remove_stale_files(folder: Path, names: set[str]) -> None:
    """Remove the files of an earlier run that are not listed any more."""
    if folder.is_dir():
        for name in os.listdir(folder):
            if re.fullmatch(r"[0-9_]+(_entire)?\.mat", name) and name not in names:
                (folder / name).unlink()


def write_names(folder: Path, classes: Sequence[str]) -> None:
    """Write the names of the classes as ``label_def.csv``, for whatever reads them by that name."""
    with replacing(folder / LABEL_DEFINITION) as path:
        pd.DataFrame({"name": classes}).to_csv(path, index=False)
