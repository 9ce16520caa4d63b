"""Division of recordings into training, validation and test, no patient in two of them."""

import logging
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from pathlib import Path

import numpy as np
import pandas as pd
from pandas.api.types import is_numeric_dtype

from fairseq_ecg.data.tables import (
    columns_of,
    read_in_parts,
    read_table,
    require_columns,
    truth_of,
    whole_numbers,
    writing,
)
from fairseq_ecg.errors import DataError

logger = logging.getLogger(__name__)

SPLITS = ("train", "valid", "test")
FRACTIONS = (0.8, 0.1, 0.1)

TOLERANCE = Decimal("1e-9")
"""What thirds written as floats may lack to 1 without being taken for one split more."""

STRATEGIES = ("random", "grouped", "temporal", "grouped_temporal", "stratified", "column")

PATIENT_COLUMNS = ("patient_id", "subject_id")
"""Columns that name the patient in the sources that are known, looked for in this order."""

SEGMENT_COLUMNS = ("path", "sample_size")
"""Columns of a segment, beside those of its recording."""


@dataclass(frozen=True)
class SplitSummary:
    """What was divided.

    Attributes:
        recordings: number by split.
        segments: number by split; None where no segments were asked for.
        dropped: number of recordings that are in no split, by reason.
        dates: first and last of each split that has recordings, where they were divided by date.
    """

    recordings: dict[str, int]
    segments: dict[str, int] | None
    dropped: dict[str, int]
    dates: dict[str, tuple[str, str]]


def parse_fractions(text: str) -> tuple[float, ...]:
    """Read fractions as people write them.

    Args:
        text: decimals separated by commas; brackets, blanks and percent signs do not matter.

    Returns:
        The fractions, see ``complete_fractions``.

    Raises:
        DataError: There is no number, or one is negative or no number.
    """
    parts = [part for part in re.sub(r"[^0-9.,-]", "", text).split(",") if part]
    try:
        return complete_fractions([Decimal(part) for part in parts])
    except InvalidOperation:
        raise DataError(f"fractions {text!r}: give decimals such as 0.8,0.1,0.1") from None


def complete_fractions(fractions: Sequence[float | Decimal]) -> tuple[float, ...]:
    """Make fractions sum to 1.

    Args:
        fractions: if their sum, taken as decimals, is below 1, the rest is one more fraction; if
            it is above, they are divided by it.

    Returns:
        The fractions.

    Raises:
        DataError: There is none, one is negative, or all are 0.
    """
    exact = [Decimal(str(fraction)) for fraction in fractions]
    total = sum(exact)
    if total <= 0 or min(exact) < 0:
        raise DataError(
            f"fractions {[float(fraction) for fraction in exact]}: "
            "give positive numbers such as 0.8,0.1,0.1"
        )
    if total < 1 - TOLERANCE:
        exact.append(1 - total)
    elif total > 1:
        exact = [fraction / total for fraction in exact]
    return tuple(float(fraction) for fraction in exact)


@dataclass(frozen=True, eq=False, kw_only=True)
class Division:
    """How recordings are to be divided.

    Args:
        strategy: one of ``STRATEGIES``; the README says what each does.
        fractions: of recordings, or of groups where they are kept together; see
            ``complete_fractions``. ``column`` needs none.
        labels: names of the splits, one for each fraction.
        seed: of all drawing.
        group_column: what ``grouped`` and ``grouped_temporal`` keep together; they need it.
            ``stratified`` keeps together the patient if it is None. Recordings without a value are
            dropped.
        date_column: what ``temporal`` and ``grouped_temporal`` sort by; they need it. Numbers, or
            text such as ``2015-09-01 10:00``, which is sorted as text. Recordings without a value
            are dropped.
        patient_column: names the patient; if None, the first of ``PATIENT_COLUMNS`` that there is.
        filter_strategy: of ``grouped_temporal``: True keeps the recordings whose own split is that
            of their group; False keeps all; a label drops those where exactly one of the two is
            that split.
        filter_columns: recordings where one of these columns is true are dropped.
        dataset_subset: values of the column ``dataset`` to keep; all if None.
        keep_columns: further columns to hand on.
        stratify_by: what ``stratified`` balances: labels by ``idx`` or ``save_file`` (the name of
            the index), above 0 where they hold. Recordings that are not in it have no label.
        split_column: what says the split, for ``column``.
        split_values: values of ``split_column`` that make up each split: ``1-8``, ``9|10``, or any
            text; if None, the labels themselves. Recordings with other values are dropped.
        patients_may_overlap: a patient in two splits is a warning and no error.

    Raises:
        DataError: What is given does not fit the strategy.
    """

    strategy: str
    fractions: Sequence[float] = FRACTIONS
    labels: Sequence[str] = SPLITS
    seed: int = 1
    group_column: str | None = None
    date_column: str | None = None
    patient_column: str | None = None
    filter_strategy: bool | str = "train"
    filter_columns: Sequence[str] = ()
    dataset_subset: Sequence[str] | None = None
    keep_columns: Sequence[str] = ()
    stratify_by: pd.DataFrame | None = None
    split_column: str | None = None
    split_values: Sequence[str] | None = None
    patients_may_overlap: bool = False

    def __post_init__(self):
        if self.strategy not in STRATEGIES:
            raise DataError(f"strategy {self.strategy!r}: choose one of {', '.join(STRATEGIES)}")
        self._require("group_column", needed=("grouped", "grouped_temporal"), also=("stratified",))
        self._require("date_column", needed=("temporal", "grouped_temporal"))
        self._require("stratify_by", needed=("stratified",))
        self._require("split_column", needed=("column",))
        self._require("split_values", needed=(), also=("column",))
        if len(set(self.labels)) != len(self.labels) or not all(self.labels):
            raise DataError(f"split labels {list(self.labels)}: give every split a name of its own")
        if self.strategy == "column":
            if self.split_values is not None and len(self.split_values) != len(self.labels):
                raise DataError(
                    f"{len(self.split_values)} values of {self.split_column} for "
                    f"{len(self.labels)} splits ({', '.join(self.labels)}): give one for each"
                )
            return
        object.__setattr__(self, "fractions", complete_fractions(self.fractions))
        if len(self.fractions) != len(self.labels):
            raise DataError(
                f"{len(self.fractions)} fractions {list(self.fractions)} for {len(self.labels)} "
                f"splits ({', '.join(self.labels)}): give one for each (what is missing to 1 is "
                "a fraction more)"
            )
        filters = (True, False, *self.labels)
        if self.strategy == "grouped_temporal" and self.filter_strategy not in filters:
            raise DataError(
                f"filter strategy {self.filter_strategy!r}: give true, false, or one of the "
                f"splits {', '.join(self.labels)}"
            )

    def _require(self, option: str, needed: Sequence[str], also: Sequence[str] = ()) -> None:
        """Refuse an option that the strategy needs and lacks, or has no use for."""
        given = getattr(self, option) is not None
        if self.strategy in needed and not given:
            raise DataError(f"strategy {self.strategy!r} needs {option}")
        if given and self.strategy not in (*needed, *also):
            raise DataError(f"strategy {self.strategy!r} has no use for {option}: leave it out")

    def columns(self, found: Sequence[str]) -> list[str]:
        """Say what is read of the table of recordings.

        Args:
            found: all columns that it has.

        Returns:
            The names of the columns, each once.
        """
        named = [self._patient_column(found), self.group_column, self.date_column]
        named += [self.split_column, "dataset" if self.dataset_subset is not None else None]
        wanted = ["idx", "save_file", *named, *self.filter_columns, *self._kept_columns]
        return [column for column in dict.fromkeys(wanted) if column is not None]

    @property
    def _group_split(self) -> str:
        return f"{self.group_column}_split"

    @property
    def _kept_columns(self) -> list[str]:
        """``keep_columns`` but for those that are made here."""
        made = ["split", self._group_split] if self.strategy == "grouped_temporal" else ["split"]
        return [column for column in self.keep_columns if column not in made]

    def _patient_column(self, found: Sequence[str]) -> str | None:
        known = (column for column in PATIENT_COLUMNS if column in found)
        return self.patient_column or next(known, None)

    def divide(self, meta: pd.DataFrame) -> tuple[pd.DataFrame, dict[str, int]]:
        """Divide recordings.

        Args:
            meta: one row for each recording: ``idx`` and ``save_file``, both without duplicates,
                and the columns that are named; values of any type, or their text.

        Returns:
            The recordings that are in a split, in the order of ``meta``, or of their dates where
            these decide. Columns ``idx`` (int64), ``save_file``, ``split``; then
            ``group_column``, ``<group>_split`` (of ``grouped_temporal``, unless ``filter_strategy``
            is True) and ``date_column`` where they have a part; then ``keep_columns``.

            The number of recordings that are in none, by reason.

        Raises:
            DataError: A column is missing or has impossible values, recordings are too few, or a
                patient is in two splits.
        """
        require_columns("the table of recordings", self.columns(meta.columns), meta.columns)
        table = meta.assign(idx=whole_numbers(meta["idx"], "idx"))
        for column in ("idx", "save_file"):
            twice = table[column].duplicated()
            if twice.any():
                raise DataError(f"{column} {table[column][twice].iloc[0]} occurs twice")
        dropped: Counter[str] = Counter()
        table = self._filter(table, dropped)
        grouped_by = self._grouped_by(table.columns)
        for column in (grouped_by, self.date_column):
            if column is not None:
                present = table[column].notna().to_numpy()
                _drop(dropped, f"no {column}", present)
                table = table[present]
        if table.empty:
            raise DataError(f"no recording remains to be divided ({_reasons(dropped)})")
        table = self._assign(table, grouped_by, dropped)
        columns = ["idx", "save_file", "split", self.group_column]
        if self.strategy == "grouped_temporal" and self.filter_strategy is not True:
            columns.append(self._group_split)
        columns += [self.date_column, *self._kept_columns]
        columns = [column for column in dict.fromkeys(columns) if column is not None]
        self._check_overlap(table, {self.group_column, self._patient_column(table.columns)})
        for label in self.labels:
            if not table["split"].eq(label).any():
                logger.warning("no recording is in the split %s", label)
        return table[columns].reset_index(drop=True), dict(dropped)

    def _filter(self, table: pd.DataFrame, dropped: Counter[str]) -> pd.DataFrame:
        if self.dataset_subset is not None:
            unknown = sorted(set(self.dataset_subset) - set(table["dataset"]))
            if unknown:
                found = ", ".join(sorted(map(str, table["dataset"].dropna().unique())))
                raise DataError(f"no recording is of dataset {unknown[0]!r}: there are {found}")
            kept = table["dataset"].isin(self.dataset_subset).to_numpy()
            _drop(dropped, "of other datasets", kept)
            table = table[kept]
        for column in self.filter_columns:
            kept = ~_is_true(table[column])
            _drop(dropped, f"{column} is true", kept)
            table = table[kept]
        return table

    def _grouped_by(self, found: Sequence[str]) -> str | None:
        if self.strategy == "stratified" and self.group_column is None:
            return self._patient_column(found)
        return self.group_column

    def _assign(
        self, table: pd.DataFrame, grouped_by: str | None, dropped: Counter[str]
    ) -> pd.DataFrame:
        """Give ``table`` the column ``split``, and drop what is in none."""
        if self.strategy == "column":
            splits = _by_value(table[self.split_column], self.labels, self.split_values)
            kept = np.array([split is not None for split in splits])
            _drop(dropped, f"{self.split_column} is of no split", kept)
            return table[kept].assign(split=splits[kept])
        if self.strategy == "random":
            order = np.random.default_rng(self.seed).permutation(len(table))
            return table.assign(split=_in_blocks(order, self.fractions, self.labels))
        if self.strategy in ("grouped", "stratified"):
            codes, n_groups = np.arange(len(table)), len(table)
            if grouped_by is not None:
                codes, groups = pd.factorize(table[grouped_by], sort=True)
                n_groups = len(groups)
            how = self.fractions, self.labels, self.seed
            if self.strategy == "grouped":
                return table.assign(split=_draw_groups(n_groups, *how)[codes])
            holds = _any_of_group(_labels_of(table, self.stratify_by), codes, n_groups)
            return table.assign(split=_draw_stratified(holds, *how)[codes])
        table = self._by_date(table)
        if self.strategy == "grouped_temporal":
            table = self._by_group(table, dropped)
        return table

    def _by_date(self, table: pd.DataFrame) -> pd.DataFrame:
        dates = table[self.date_column]
        numbers = pd.to_numeric(dates, errors="coerce")
        if numbers.notna().all():
            dates = numbers
        # Of texts quicksort, as in fairseq_signals, which decides between equal ones. Of numbers it
        # is another algorithm on another processor.
        is_text = not is_numeric_dtype(dates)
        kind = "quicksort" if is_text else "stable"
        table = table.iloc[np.argsort(dates.to_numpy(object if is_text else None), kind=kind)]
        ends = table[self.date_column].iloc[[0, -1]]
        if is_text and not ends.astype(str).str.match(r"\d{4}(-|$)").all():
            logger.warning(
                "%s is sorted as text, which is in order of time only for dates such as "
                "2015-09-01 10:00",
                self.date_column,
            )
        splits = _in_blocks(np.arange(len(table)), self.fractions, self.labels)
        return table.assign(split=splits)

    def _by_group(self, table: pd.DataFrame, dropped: Counter[str]) -> pd.DataFrame:
        """Compare the split of each recording with that of most recordings of its group."""
        codes, groups = pd.factorize(table[self.group_column])
        # In the order of the alphabet, which decides where two splits have as many recordings.
        labels = np.array(sorted(self.labels), dtype=object)
        own = np.searchsorted(labels, table["split"])
        counts = np.bincount(codes * len(labels) + own, minlength=len(groups) * len(labels))
        of_group = counts.reshape(len(groups), len(labels)).argmax(axis=1)[codes]
        table = table.assign(**{self._group_split: labels[of_group]})
        if self.filter_strategy is False:
            return table
        if self.filter_strategy is True:
            kept = own == of_group
        else:
            wanted = sorted(self.labels).index(self.filter_strategy)
            kept = (own == wanted) == (of_group == wanted)
        _drop(dropped, f"split is not that of its {self.group_column}", kept)
        return table[kept]

    def _check_overlap(self, table: pd.DataFrame, columns: set[str | None]) -> None:
        """Refuse, or warn of, patients and groups that are in two splits."""
        columns = columns - {None}
        if not columns:
            logger.warning(
                "no column names the patient: nothing keeps the recordings of one patient in one "
                "split. Name it by patient_column, or divide by groups"
            )
        for column in sorted(columns):
            pairs = table[[column, "split"]].dropna().drop_duplicates()
            twice = pairs[column].duplicated()
            if not twice.any():
                continue
            one = pairs[column][twice].iloc[0]
            where = sorted(pairs["split"][pairs[column] == one])
            message = (
                f"{pairs[column][twice].nunique()} values of {column} are in more than one split, "
                f"such as {one} in {' and '.join(where)}"
            )
            if not self.patients_may_overlap:
                raise DataError(
                    f"{message}. Divide by {column} (strategies grouped and stratified; "
                    "grouped_temporal with the filter strategy true), or say that patients may "
                    "overlap"
                )
            logger.warning("%s", message)


def write_splits(
    processed_root: Path,
    division: Division,
    *,
    meta_file: str = "meta.csv",
    segmented_file: str | None = "segmented.csv",
    suffix: str = "_split",
) -> SplitSummary:
    """Divide the recordings of a source, and with them their segments.

    ``meta<suffix>.csv`` gets the columns of ``Division.divide``; ``segmented<suffix>.csv`` the
    same, then ``path`` and ``sample_size`` of each segment, in the order of ``segmented_file``.
    Segments of recordings that are in no split are left out. A recording's own ``path`` and
    ``sample_size``, where they are kept, are ``recording_path`` and ``recording_sample_size`` of
    its segments.

    Args:
        processed_root: folder of the tables.
        division: how to divide.
        meta_file: recordings.
        segmented_file: segments; None where there are none.
        suffix: of the names of the files that are written.

    Returns:
        What was divided.

    Raises:
        DataError: A table is missing or is not as it should be, or a patient is in two splits.
    """
    source = processed_root / meta_file
    columns = division.columns(columns_of(source))
    table = read_table(source, columns)
    try:
        table, dropped = division.divide(table)
    except DataError as error:
        raise DataError(f"{source}: {error}") from None
    with writing(processed_root / f"meta{suffix}.csv", table.columns) as append:
        append(table)
    counts = table["split"].value_counts()
    recordings = {label: int(counts.get(label, 0)) for label in division.labels}
    dates = {}
    if division.date_column is not None:
        ends = table.groupby("split")[division.date_column].agg(["first", "last"])
        dates = {label: tuple(ends.loc[label]) for label in division.labels if recordings[label]}
    if segmented_file is None:
        return SplitSummary(recordings, None, dropped, dates)
    segments: Counter[str] = Counter()
    row_of = pd.Index(table["save_file"])
    table = table.rename(columns={column: f"recording_{column}" for column in SEGMENT_COLUMNS})
    columns = [*table.columns, *SEGMENT_COLUMNS]
    with writing(processed_root / f"segmented{suffix}.csv", columns) as append:
        for part in read_in_parts(processed_root / segmented_file, ["save_file", *SEGMENT_COLUMNS]):
            rows = row_of.get_indexer(part["save_file"])
            part = part[rows >= 0].reset_index(drop=True)
            joined = table.iloc[rows[rows >= 0]].reset_index(drop=True)
            append(joined.assign(**{column: part[column] for column in SEGMENT_COLUMNS}))
            segments.update(joined["split"])
    segments_by_split = {label: segments[label] for label in recordings}
    return SplitSummary(recordings, segments_by_split, dropped, dates)


def _drop(dropped: Counter[str], reason: str, kept: np.ndarray) -> None:
    """Count and log what is dropped."""
    count = int((~kept).sum())
    if count:
        dropped[reason] += count
        logger.info("%d recordings dropped: %s", count, reason)


def _reasons(dropped: Counter[str]) -> str:
    return ", ".join(f"{count}: {reason}" for reason, count in dropped.items()) or "it is empty"


def _is_true(values: pd.Series) -> np.ndarray:
    """Return where a column says yes; a missing value does not."""
    truth = truth_of(values)
    unclear = truth.isna() & values.notna()
    if unclear.any():
        raise DataError(
            f"{values.name} holds {values[unclear].iloc[0]!r}: recordings are filtered by columns "
            "of True and False"
        )
    return truth.eq(True).to_numpy()


def _in_blocks(order: np.ndarray, fractions: Sequence[float], labels: Sequence[str]) -> np.ndarray:
    """Give the recordings ``order`` lists, in that order, to the first split, the second ..."""
    bounds = np.round(np.cumsum(fractions) * len(order)).astype(int)
    splits = np.empty(len(order), dtype=object)
    splits[order] = np.repeat(np.array(labels, dtype=object), np.diff(bounds, prepend=0))
    return splits


def _draw_groups(
    n_groups: int, fractions: Sequence[float], labels: Sequence[str], seed: int
) -> np.ndarray:
    """Draw the split of each group, one split after the other from the groups that are left.

    These are the draws of scikit-learn's ``GroupShuffleSplit``: a fraction is rounded down. Where
    that would leave a split without any, it has one, and what is drawn before it so many fewer.
    """
    from sklearn.model_selection import ShuffleSplit

    state = np.random.RandomState(seed)
    splits = np.empty(n_groups, dtype=object)
    left = np.arange(n_groups)
    positive = [i for i, fraction in enumerate(fractions) if fraction]
    if n_groups < len(positive):
        raise DataError(
            f"{n_groups} groups are too few for the fractions {list(fractions)}: divide more "
            "recordings, or into fewer splits (--fractions, --split-labels)"
        )
    for n_before, i in enumerate(positive[:-1]):
        share = fractions[i] / sum(fractions[j] for j in positive[n_before:])
        n_drawn = min(int(share * len(left)), len(left) - len(positive[n_before + 1 :]))
        shuffle = ShuffleSplit(1, train_size=max(n_drawn, 1), random_state=state)
        ((drawn, others),) = shuffle.split(left)
        splits[left[drawn]] = labels[i]
        left = np.sort(left[others])
    splits[left] = labels[positive[-1]]
    return splits


def _labels_of(table: pd.DataFrame, stratify_by: pd.DataFrame) -> np.ndarray:
    """Return which labels hold, ``(n_recordings, n_labels)`` bool."""
    key = stratify_by.index.name
    if key not in ("idx", "save_file"):
        raise DataError(f"labels by {key!r}: give them by idx or save_file")
    rows = stratify_by.index.get_indexer(table[key])
    if (rows < 0).all():
        raise DataError(f"none of the labels is of these recordings: their {key} are others")
    return (stratify_by.to_numpy() > 0)[rows] & (rows >= 0)[:, None]


def _any_of_group(holds: np.ndarray, codes: np.ndarray, n_groups: int) -> np.ndarray:
    """Return which labels hold in any recording of each group, ``(n_groups, n_labels)`` bool."""
    order = np.argsort(codes, kind="stable")
    first = np.searchsorted(codes[order], np.arange(n_groups))
    return np.logical_or.reduceat(holds[order], first, axis=0)


def _draw_stratified(
    holds: np.ndarray, fractions: Sequence[float], labels: Sequence[str], seed: int
) -> np.ndarray:
    """Draw the split of each row so that each label is as frequent in every split.

    Iterative stratification (Sechidis, Tsoumakas and Vlahavas, ECML PKDD 2011): rows of the rarest
    label are dealt first.
    """
    from iterstrat.ml_stratifiers import IterativeStratification

    state = np.random.RandomState(seed)
    order = state.permutation(len(holds))  # else only ties would depend on the seed
    splits = np.empty(len(holds), dtype=object)
    drawn = IterativeStratification(holds[order], np.array(fractions), state)
    splits[order] = np.array(labels, dtype=object)[drawn]
    return splits


def _by_value(values: pd.Series, labels: Sequence[str], wanted: Sequence[str] | None) -> np.ndarray:
    """Return the split whose values hold each of ``values``, or None."""
    distinct = values.dropna().unique()
    split_of: dict[object, str] = {}
    for label, text in zip(labels, wanted or labels, strict=True):
        matching = [value for value in distinct if _matches(value, text)]
        if not matching:
            raise DataError(
                f"no {values.name} is {text}, wanted for the split {label} "
                f"(it holds {', '.join(map(str, distinct[:10]))}): name values that there are, or "
                "leave the split out (--split-labels)"
            )
        for value in matching:
            if value in split_of:
                raise DataError(
                    f"{values.name} {value} is wanted in both {split_of[value]} and {label}"
                )
            split_of[value] = label
    return np.array([split_of.get(value) for value in values], dtype=object)


def _matches(value: object, wanted: str) -> bool:
    """Say whether a value is what is wanted: ``1-8``, ``9|10``, or a text."""

    def is_part(part: str) -> bool:
        bounds = re.fullmatch(r"(\d+)-(\d+)", part)
        try:
            low, high = map(float, bounds.groups() if bounds else (part, part))
            return low <= float(value) <= high
        except ValueError:
            return str(value) == part

    return any(map(is_part, wanted.split("|")))
