"""Tables of recordings with their splits and labels."""

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from fairseq_ecg.data.store.layout import is_url
from fairseq_ecg.data.tables import columns_of, line_of, read_table, truth_of
from fairseq_ecg.errors import DataError
from fairseq_ecg.inference.recordings import PATH

SPLIT = "split"


def read_labelled_recordings(
    path: Path, splits: Sequence[str | None], labels: Sequence[str] | None = None
) -> tuple[dict[str | None, tuple[list[str], np.ndarray]], list[str]]:
    """Read which recordings are in which split, and their labels.

    Args:
        path: table with the columns ``path``, relative to its folder or absolute, ``split``, and
            one for each label: 0 and 1 or False and True, empty where unknown.
        splits: wanted; None: all recordings, for which no column ``split`` is needed.
        labels: columns of the labels; None: all others.

    Returns:
        By split the paths and the labels ``(R, C)`` float64, NaN where unknown; and the names of
        the labels.

    Raises:
        DataError: a column or split is missing, a path is a URL, or a label is not 0 or 1.
    """
    if labels is None:
        labels = [name for name in columns_of(path) if name not in (PATH, SPLIT)]
    if not labels:
        raise DataError(f"{path}: has no column of labels besides {PATH} and {SPLIT}")
    split_column = [] if None in splits else [SPLIT]
    table = read_table(path, [PATH, *split_column, *labels])
    if table[PATH].isna().any():
        raise DataError(f"{path}, line {line_of(int(table[PATH].isna().argmax()))}: no path")
    for row, name in enumerate(table[PATH]):
        if is_url(str(name)):
            raise DataError(
                f"{path}, line {line_of(row)}: {name} is a URL, which is not fetched for a table "
                "that names it. Download the file, and name that"
            )
    values = pd.DataFrame({name: truth_of(table[name]) for name in labels})
    unclear = values.isna() & table[list(labels)].notna()
    if unclear.to_numpy().any():
        row, column = np.argwhere(unclear.to_numpy())[0]
        found = table[labels[column]].iloc[row]
        raise DataError(
            f"{path}, line {line_of(int(row))}: {labels[column]!r} is {found!r}; a label is 0 or "
            "1, or empty. Name the columns of labels where there are others"
        )
    truth = values.astype(float).to_numpy(np.float64)
    by_split = {}
    for split in splits:
        rows = np.arange(len(table))
        if split is not None:
            rows = np.flatnonzero(table[SPLIT].astype(str) == split)
        if not len(rows):
            found = ", ".join(sorted(map(str, table[SPLIT].dropna().unique())))
            raise DataError(f"{path}: no recording is of split {split!r} (there are {found})")
        paths = [os.path.join(path.parent, table[PATH].iloc[row]) for row in rows]
        by_split[split] = paths, truth[rows]
    return by_split, list(labels)
