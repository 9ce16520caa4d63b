"""The ids of records, which never change, and the manifest of all sources.

A record is identified by its source and the name of its file, wherever archives lie. Two
files belong together: ``manifest.csv``, in fairseq_signals' format, has the records that were
prepared, and ``manifest_ids.csv`` beside it every id that was ever given.
"""

from pathlib import Path

import numpy as np
import pandas as pd

from fairseq_ecg.jobs.files import replacing
from fairseq_ecg.jobs.locks import locked

COLUMNS = ["idx", "source", "source_path", "save_file", "sample_rate", "sample_size"]
"""Of the manifest."""

KEY = ["source", "save_file"]

_TEXTS = {"source": str, "source_path": str, "save_file": str}


def ids_file(manifest: Path) -> Path:
    """Return the file of the ids that belongs to a manifest."""
    return manifest.with_name(f"{manifest.stem}_ids.csv")


def allot_ids(manifest: Path, records: pd.DataFrame) -> np.ndarray:
    """Give every record its id: that which it has, or the next free one.

    Args:
        manifest: file of the manifest of all sources. One that fairseq_signals wrote is gone on
            with; of a record that is in it twice the last id counts, as in its ``.mat`` files.
        records: columns ``source`` and ``save_file``, no pair of them twice.

    Returns:
        ``(n_records,)`` int64.
    """
    with locked(manifest):
        given = pd.concat(
            [
                pd.read_csv(path, usecols=["idx", *KEY], dtype=_TEXTS)
                for path in (manifest, ids_file(manifest))
                if path.is_file()
            ]
            or [pd.DataFrame({"idx": np.empty(0, np.int64), "source": [], "save_file": []})]
        )
        next_id = given["idx"].max() + 1 if len(given) else 0
        given = given.sort_values("idx").drop_duplicates(KEY, keep="last")
        merged = records[KEY].merge(given.astype({"source": str, "save_file": str}), "left", KEY)
        idx = merged["idx"].to_numpy(np.float64, copy=True)  # pandas 3 shares memory, read-only
        new = np.isnan(idx)
        idx[new] = next_id + np.arange(new.sum())
        idx = idx.astype(np.int64)
        if new.any():
            added = records.loc[new, KEY].assign(idx=idx[new])
            ids = pd.concat([given, added])[["idx", *KEY]].sort_values("idx")
            with replacing(ids_file(manifest)) as path:
                ids.to_csv(path, index=False)
    return idx


def enter_prepared(manifest: Path, records: pd.DataFrame) -> None:
    """Enter records into the manifest, in place of what it says of them.

    Args:
        manifest: file of the manifest.
        records: columns `COLUMNS`.
    """
    with locked(manifest):
        rows = records[COLUMNS]
        if manifest.is_file():
            existing = pd.read_csv(manifest, dtype=_TEXTS)
            keys = pd.MultiIndex.from_frame(existing[KEY])
            others = existing[~keys.isin(pd.MultiIndex.from_frame(rows[KEY]))]
            rows = pd.concat([others, rows]) if len(others) else rows
        with replacing(manifest) as path:
            rows.sort_values("idx", kind="stable").to_csv(path, index=False)
