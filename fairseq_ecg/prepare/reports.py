"""Reports of an archive with their recordings, and manifests of them."""

import os
import random
from collections.abc import Mapping
from pathlib import Path

import pandas as pd

from fairseq_ecg.errors import DataError
from fairseq_ecg.prepare.archive import Prepared, prepare_signals
from fairseq_ecg.prepare.manifests import HEADERS, write_lines
from fairseq_ecg.prepare.records import write_source
from fairseq_ecg.prepare.sources.reports import MIMICReports, PTBXLReports, ReportArchive
from fairseq_ecg.prepare.stages import Settings

SOURCES: Mapping[str, type[PTBXLReports] | type[MIMICReports]] = {
    "ptb_xl": PTBXLReports,
    "mimic_iv_ecg": MIMICReports,
}
"""Archives that have reports."""


def prepare_reports(
    source: ReportArchive,
    folder: Path,
    *,
    valid_fraction: float = 0.1,
    seed: int = 42,
    strict: bool = False,
    again: bool = False,
) -> Prepared:
    """Make a file of each recording and its report, and list them by split.

    Written to ``folder`` are ``records.csv``, ``segmented/`` with ``.mat`` files, the tables of
    `prepare_signals`, and ``manifests/`` with ``train.tsv``, ``valid.tsv`` and ``test.tsv``.

    Args:
        source: the archive.
        folder: to write to, made where absent.
        valid_fraction: of the recordings, for validation and as many for testing.
        seed: of the drawing.
        strict: see `prepare_signals`.
        again: see `prepare_signals`.

    Returns:
        What was prepared.

    Raises:
        DataError: the archive is not as it should be, or see `prepare_signals`.
    """
    if not 0 <= valid_fraction <= 0.5:
        raise DataError(
            f"a fraction of {valid_fraction} for validation, and as many for testing: give one "
            "between 0 and 0.5"
        )
    write_source(source, folder)
    prepared = prepare_signals(source, folder, Settings(), strict=strict, again=again)
    write_split_manifests(folder, valid_fraction=valid_fraction, seed=seed)
    return prepared


def write_split_manifests(folder: Path, *, valid_fraction: float, seed: int) -> dict[str, int]:
    """Draw which segments are for training, validation and testing, and write their manifests.

    The names, sorted, are shuffled by Python's generator. With n of them
    ``int(n * valid_fraction)`` are for validation and as many for testing, the last ones; training
    has the others.

    Args:
        folder: with ``segmented.csv``; the manifests are in ``manifests/``.
        valid_fraction: of the segments.
        seed: of the drawing.

    Returns:
        The number of segments by split.
    """
    segments = pd.read_csv(folder / "segmented.csv").sort_values("save_file")
    rows = [f"{name}\t{size}" for name, size in segments[["save_file", "sample_size"]].to_numpy()]
    random.Random(seed).shuffle(rows)
    n_valid = int(len(rows) * valid_fraction)
    n_train = len(rows) - 2 * n_valid
    splits = {
        "train": rows[:n_train],
        "valid": rows[n_train : n_train + n_valid],
        "test": rows[n_train + n_valid :],
    }
    root = HEADERS["plain"](os.path.realpath(folder / "segmented"))
    return {
        split: write_lines(folder / "manifests" / f"{split}.tsv", [root], rows)
        for split, rows in splits.items()
    }


def read_excluded(path: Path) -> frozenset[int]:
    """Read the numbers of recordings to leave out.

    Args:
        path: lines of which the second of the columns, separated by tabs, is such a number.

    Raises:
        DataError: there is no such file, or a line is not so.
    """
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except FileNotFoundError:
        raise DataError(f"{path}: no such file") from None
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: is no text in UTF-8 ({error})") from None
    numbers = set()
    for line, text in enumerate(lines, start=1):
        columns = text.strip().split("\t")
        if not text.strip():
            continue
        if len(columns) < 2 or not columns[1].strip().isdecimal():
            raise DataError(
                f"{path}, line {line}: {text!r} has no number of a recording (ecg_id or study_id) "
                "in its second column. Separate the columns by tabs"
            )
        numbers.add(int(columns[1]))
    return frozenset(numbers)
