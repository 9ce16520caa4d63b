"""Label tables: what a user has, and the files that training reads.

``y.npy``, ``label_def.csv`` and ``pos_weight.txt`` are in the formats of fairseq_signals.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import yaml
from pandas.api.types import is_numeric_dtype

from fairseq_ecg.data.tables import (
    columns_of,
    line_of,
    read_in_parts,
    read_table,
    repetitions,
    truth_of,
    whole_numbers,
    writing,
)
from fairseq_ecg.errors import DataError
from fairseq_ecg.formats.stores import npy_header
from fairseq_ecg.jobs.files import replacing, reserve, write_file
from fairseq_ecg.jobs.progress import progress_bar

RECORD = "record"
"""Column that names the record, relative to the folder of records and without extension."""

KEYS = ("idx", "save_file")
"""Columns that a table of labels may name its recordings by, looked for in this order."""


def labels_of(recording: Path, path: Path, names: Sequence[str]) -> frozenset[str]:
    """Read the labels of one recording.

    Args:
        recording: its file, with or without extension; a record of the table is the end of it.
        path: CSV file with the column ``record`` and one for every label, as for
            ``prepare_labels``.
        names: columns of the labels to read.

    Returns:
        Those of ``names`` that hold: above 0.

    Raises:
        DataError: There is no such file, column or record, or a value is no label.
    """
    stem = recording.with_suffix("") if recording.suffix in (".hea", ".mat") else recording
    parts = stem.absolute().parts
    for part in read_in_parts(path, [RECORD, *names]):
        for row, record in part[RECORD].items():
            of_record = Path(record).parts
            if parts[-len(of_record) :] == of_record:
                values = _values(part.loc[[row], list(names)], path)[0]
                return frozenset(
                    name for name, value in zip(names, values, strict=True) if value > 0
                )
    raise DataError(f"{path}: no line for {recording}")


class LabelCounts:
    """How often labels hold in each split.

    Args:
        names: of the labels.
    """

    def __init__(self, names: Sequence[str]):
        self.names = tuple(names)
        self._sums: dict[str, np.ndarray] = {}
        self._rows: dict[str, int] = {}
        self._whole = True

    def add(self, values: np.ndarray, splits: np.ndarray) -> None:
        """Count recordings.

        Args:
            values: ``(n_recordings, n_labels)`` of 0 and 1, or of numbers between.
            splits: ``(n_recordings,)`` of names; None where a recording is not to be counted.
        """
        codes, found = pd.factorize(splits)
        for code, split in enumerate(found):
            of_split = values[codes == code]
            self._sums[split] = self._sums.get(split, 0.0) + of_split.sum(axis=0)
            self._rows[split] = self._rows.get(split, 0) + len(of_split)
            self._whole = self._whole and bool(((of_split == 0) | (of_split == 1)).all())

    def definition(self, *, as_floats: bool = False) -> pd.DataFrame:
        """Summarise the counts.

        Args:
            as_floats: give counts as float64 also where they are whole.

        Returns:
            Index ``name``. For every split (in the order of the alphabet) ``pos_count_*``, the
            number of recordings where the label holds (for labels between 0 and 1 their sum);
            then for every split ``pos_percent_*``, which is a fraction p; then ``pos_weight_*`` =
            (1 - p) / p, infinite for p = 0; then count and fraction for ``all``.
        """
        splits = sorted(self._sums)
        kind = np.int64 if self._whole and not as_floats else np.float64
        columns = {f"pos_count_{split}": self._sums[split].astype(kind) for split in splits}
        percents = {split: self._sums[split] / self._rows[split] for split in splits}
        columns |= {f"pos_percent_{split}": percents[split] for split in splits}
        with np.errstate(divide="ignore"):
            weights = {split: (1 - percents[split]) / percents[split] for split in splits}
        columns |= {f"pos_weight_{split}": weights[split] for split in splits}
        total = np.sum([self._sums[split] for split in splits], axis=0)
        columns["pos_count_all"] = total.astype(kind)
        columns["pos_percent_all"] = total / sum(self._rows.values())
        return pd.DataFrame(columns, index=pd.Index(self.names, name="name"))

    def write(self, folder: Path, *, as_floats: bool = False) -> None:
        """Write ``label_def.csv`` and, if there is a split ``train``, ``pos_weight.txt``.

        Args:
            folder: to write them to.
            as_floats: see `definition`.

        Raises:
            DataError: No recording was counted.
        """
        if not self._sums:
            raise DataError(
                f"{folder}: no labelled recording is in a split. Labels and splits are of "
                "different data"
            )
        definition = self.definition(as_floats=as_floats)
        with replacing(folder / "label_def.csv") as path:
            definition.to_csv(path, lineterminator="\n")
        weights_file = folder / "pos_weight.txt"
        if "train" not in self._sums:
            weights_file.unlink(missing_ok=True)  # one of an earlier run is of other labels
            return
        # NumPy's rounding, which is not Python's: of 0.0890625 it makes 0.089062.
        weights = ",".join(map(str, definition["pos_weight_train"].round(6)))
        write_file(weights_file, f"[{weights}]")

    def untrainable(self) -> tuple[str, ...]:
        """Return the labels that hold in no recording of the training split."""
        sums = self._sums.get("train", np.ones(len(self.names)))
        return tuple(name for name, total in zip(self.names, sums, strict=True) if not total)


@dataclass(frozen=True)
class LabelSummary:
    """What was labelled.

    Attributes:
        names: of the labels.
        rows: of ``y.npy``.
        labelled: number of recordings of the splits that have all labels.
        unlabelled: ``idx`` of those that lack one, which are not counted.
        unknown: number of lines of the label table whose ``save_file`` is in no split, so that
            their ``idx`` is not known.
        untrainable: labels that hold in no recording of the training split, so that their weight
            is infinite.
    """

    names: tuple[str, ...]
    rows: int
    labelled: int
    unlabelled: tuple[int, ...]
    unknown: int
    untrainable: tuple[str, ...]


def prepare_labels(
    labels: Path,
    meta_splits: Path,
    output: Path,
    *,
    columns: Sequence[str] | None = None,
    segmented_splits: Path | None = None,
    labeled_meta_splits: Path | None = None,
    labeled_segmented_splits: Path | None = None,
) -> LabelSummary:
    """Write what fine-tuning reads of a table of labels, which need not fit in memory.

    Written are ``y.npy`` (float64; row = ``idx``, 0 in rows without labels, NaN where one of a
    recording's labels is missing), ``label_def.csv``, ``pos_weight.txt`` and
    ``prepare_clf_labels_args.yaml``.

    Args:
        labels: CSV file with a column ``idx`` or else ``save_file``, and one column for each label:
            0 and 1, False and True, or numbers between; an empty cell is a missing label.
        meta_splits: recordings and their splits, ``meta_split.csv``.
        output: folder to write to.
        columns: the labels, in the order of the network's outputs; if None, all columns but
            ``idx`` and ``save_file``, in their order.
        segmented_splits: segments and their splits, ``segmented_split.csv``.
        labeled_meta_splits: where to write the rows of ``meta_splits`` that have all labels.
        labeled_segmented_splits: likewise for ``segmented_splits``.

    Returns:
        What was labelled.

    Raises:
        DataError: A table is missing or is not as it should be, none of the recordings is
            labelled or one is twice, or a column holds something that is no label.
    """
    if labeled_segmented_splits is not None and segmented_splits is None:
        raise DataError(
            f"{labeled_segmented_splits}: give segmented_splits, whose rows it is to get"
        )
    key, names = _key_and_names(labels, columns)
    meta = read_table(meta_splits, [*dict.fromkeys(("idx", key)), "split"])
    meta_idx = whole_numbers(meta["idx"], f"{meta_splits}: idx")
    idx = _idx_of_lines(labels, key, meta[key], meta_idx)
    if not np.isin(idx, meta_idx).any():
        raise DataError(
            f"{labels}: no labelled recording is in a split: no {key} is one of {meta_splits}. "
            "Take them from there"
        )
    rows = max(idx.max(initial=-1), meta_idx.max(initial=-1)) + 1
    split_of = np.full(rows, None, dtype=object)
    split_of[meta_idx] = meta["split"].where(meta["split"].notna(), None)

    labelled = np.zeros(rows, dtype=bool)
    counts = LabelCounts(names)
    kinds: set[str] = set()
    with replacing(output / "y.npy") as path:
        header = npy_header((rows, len(names)), np.dtype(np.float64))
        reserve(path, len(header) + 8 * int(rows) * len(names))
        with open(path, "r+b") as file:
            file.write(header)
        with progress_bar(len(idx), "labels", "recording", show=True) as bar:
            for part in read_in_parts(labels, names, typed=True):
                at = idx[part.index]
                values = _values(part, labels)[at >= 0]
                at = at[at >= 0]
                whole = ~np.isnan(values).any(axis=1)
                # Mapped anew each time, so that what is written does not stay in memory.
                np.lib.format.open_memmap(path, "r+")[at] = values
                labelled[at] = whole
                counts.add(values[whole], split_of[at[whole]])
                kinds |= {dtype.kind for dtype in part.dtypes}
                bar.update(len(part))
        # As in fairseq_signals' file: for pandas, integers beside missing values are floats.
        missing = not labelled[meta_idx].all()
        counts.write(output, as_floats="f" in kinds or ("i" in kinds and missing))
    files = {
        "output_dir": output,
        "labels": labels,
        "meta_splits": meta_splits,
        "segmented_splits": segmented_splits,
        "labeled_meta_splits_save_file": labeled_meta_splits,
        "labeled_segmented_splits_save_file": labeled_segmented_splits,
    }
    arguments = {name: path if path is None else str(path) for name, path in files.items()}
    arguments["columns"] = columns if columns is None else list(map(str, columns))
    write_file(output / "prepare_clf_labels_args.yaml", yaml.safe_dump(arguments, sort_keys=False))
    if labeled_meta_splits is not None:
        _write_labelled_rows(meta_splits, labeled_meta_splits, labelled)
    if labeled_segmented_splits is not None:
        _write_labelled_rows(segmented_splits, labeled_segmented_splits, labelled)
    unlabelled = meta_idx[~labelled[meta_idx]]
    return LabelSummary(
        names=names,
        rows=int(rows),
        labelled=len(meta_idx) - len(unlabelled),
        unlabelled=tuple(unlabelled.tolist()),
        unknown=int((idx < 0).sum()),
        untrainable=counts.untrainable(),
    )


def read_positive_labels(path: Path, columns: Sequence[str] | None = None) -> pd.DataFrame:
    """Read which labels hold at all, to divide recordings by.

    Args:
        path: table of labels, as for ``prepare_labels``.
        columns: the labels; all if None.

    Returns:
        bool, True where a label is above 0. The index is ``idx`` or ``save_file``.

    Raises:
        DataError: There is no such table, or it is not as it should be.
    """
    key, names = _key_and_names(path, columns)
    keys = _distinct_keys(path, key)
    parts = [_values(part, path) > 0 for part in read_in_parts(path, names, typed=True)]
    return pd.DataFrame(np.concatenate(parts), index=pd.Index(keys, name=key), columns=list(names))


def _key_and_names(path: Path, columns: Sequence[str] | None) -> tuple[str, tuple[str, ...]]:
    """Return by what a table names recordings, and its labels."""
    found = columns_of(path)
    key = next((key for key in KEYS if key in found), None)
    if key is None:
        raise DataError(
            f"{path}: no column 'idx' or 'save_file' that says which recording a line labels (it "
            f"has {', '.join(found)}). Take it from meta.csv"
        )
    names = tuple(name for name in found if name not in KEYS) if columns is None else tuple(columns)
    if not names:
        raise DataError(f"{path}: no column of a label")
    if len(set(names)) != len(names):
        raise DataError(f"{path}: a label is named twice in {', '.join(names)}")
    return key, names


def _distinct_keys(path: Path, key: str) -> pd.Series:
    """Return which recording each line of a table labels."""
    keys = read_table(path, [key])[key]
    if key == "idx":
        keys = pd.Series(whole_numbers(keys, f"{path}: idx"), index=keys.index)
    for fault in repetitions(keys.to_frame(key), key, path).values():
        raise DataError(fault)
    return keys


def _idx_of_lines(path: Path, key: str, meta_keys: pd.Series, meta_idx: np.ndarray) -> np.ndarray:
    """Return the idx that each line of a table labels, -1 where it is not known."""
    keys = _distinct_keys(path, key)
    if key == "idx":
        return keys.to_numpy()
    rows = pd.Index(meta_keys).get_indexer(keys)
    return np.where(rows < 0, -1, meta_idx[rows])


def _values(part: pd.DataFrame, path: Path) -> np.ndarray:
    """Return labels as float64, ``(n_recordings, n_labels)``; NaN where one is missing."""
    values = np.empty(part.shape)
    for i, name in enumerate(part):
        column = part[name]
        numbers = pd.to_numeric(column, errors="coerce").astype(float)
        if not is_numeric_dtype(column):
            truth = truth_of(column).astype(float)
            numbers = truth.where(truth.notna(), numbers)
        wrong = (column.notna() & ~numbers.between(0, 1)).to_numpy()
        if wrong.any():
            row = int(wrong.argmax())
            raise DataError(
                f"{path}, line {line_of(part.index[row])}: {name!r} is {column.iloc[row]!s}; a "
                "label is 0 or 1, True or False, or a number between. If this is no label, say "
                "which columns are"
            )
        values[:, i] = numbers
    return values


def _write_labelled_rows(source: Path, chosen: Path, labelled: np.ndarray) -> None:
    """Copy the rows of a table of recordings or segments that are labelled."""
    with writing(chosen, columns_of(source)) as append:
        for part in read_in_parts(source):
            idx = whole_numbers(part["idx"], f"{source}: idx")
            known = idx < len(labelled)
            append(part.assign(idx=idx)[known & labelled[np.where(known, idx, 0)]])
