"""Division of a table of recordings, by fairseq_signals' functions of ``utils.splits``.

Draws are those of fairseq_signals. ``fairseq-ecg prepare splits``
(:class:`fairseq_ecg.prepare.splits.Division`) draws by a seed, and refuses patients in two splits.
"""

import logging
import re
from collections.abc import Hashable, Iterable, Sequence
from decimal import Decimal
from typing import Any

import numpy as np
import pandas as pd

from fairseq_ecg.compat.published.frames import check_cols

logger = logging.getLogger(__name__)

Fractions = str | float | Sequence[float]

STRATEGY_TO_METHOD = {
    "random": "_random_split",
    "grouped": "_grouped_split",
    "temporal": "_temporal_split",
    "grouped_temporal": "_grouped_temporal_split",
}
STRATEGY_IS_GROUPED = {name: "grouped" in name for name in STRATEGY_TO_METHOD}
STRATEGY_IS_TEMPORAL = {name: "temporal" in name for name in STRATEGY_TO_METHOD}


def process_fractions(fractions: Fractions) -> list[float]:
    """Make fractions sum to 1.

    Args:
        fractions: one or several, or text of them with commas between. What is missing to 1 is one
            more; where they sum to more, they are divided by the sum.

    Raises:
        TypeError: one is no number.
        ValueError: one is negative, or all are 0.
    """
    is_whole = False
    if isinstance(fractions, str):
        parts = re.sub(r"[^0-9.,]", "", fractions).split(",")
        is_whole = sum(map(Decimal, parts)) == 1
        fractions = [float(part) for part in parts]
    given = list(fractions) if isinstance(fractions, Iterable) else [fractions]
    if any(not isinstance(fraction, float | int) for fraction in given):
        raise TypeError("fractions must be int or float.")
    if any(fraction < 0 for fraction in given):
        raise ValueError("fractions must be non-negative.")
    if not is_whole and sum(given) < 1:
        given.append(1 - sum(given))
    return _normalized(given)


def fractions_to_split(fractions: Fractions, n_samples: int) -> np.ndarray:
    """Return the position at which each split but the first begins.

    Args:
        fractions: see :func:`process_fractions`.
        n_samples: number of samples.

    Raises:
        ValueError: the number is negative.
    """
    if n_samples < 0:
        raise ValueError("'n_samples' cannot be negative.")
    ends = np.cumsum(process_fractions(fractions))[:-1]
    return np.round(ends * n_samples).astype(int)


def split_idx(
    fractions: Fractions, n_samples: int, randomize: bool = True, seed: int | None = None
) -> tuple[np.ndarray, ...]:
    """Divide positions, in random order or one after the other.

    Args:
        fractions: see :func:`process_fractions`.
        n_samples: number of positions.
        randomize: whether they are shuffled.
        seed: of the shuffle.

    Returns:
        The positions of each split.
    """
    positions = np.arange(n_samples)
    if randomize:
        np.random.default_rng(seed).shuffle(positions)
    return tuple(np.split(positions, fractions_to_split(fractions, n_samples)))


def split_dataframe_col(
    data: pd.DataFrame,
    fractions: Fractions,
    labels: Sequence[str] | None = None,
    split_col: Hashable = "split",
) -> pd.DataFrame:
    """Divide the rows of a table at random.

    Args:
        data: the table.
        fractions: see :func:`process_fractions`.
        labels: names of the splits; None: numbers.
        split_col: the column that the split becomes.

    Raises:
        AssertionError: the column is there already.
        ValueError: the names are not as many as the splits.
    """
    assert split_col not in data.columns, split_col
    parts = split_idx(fractions, len(data))
    if labels is not None and len(labels) != len(parts):
        raise ValueError("Length of `labels` must match the number of splits.")
    numbers = split_arrays_to_split_series(parts)
    # Numbers without names are floats, as fairseq_signals' are.
    splits = numbers.astype(float) if labels is None else numbers.map(dict(enumerate(labels)))
    return data.assign(**{split_col: splits.to_numpy()})


def split_arrays_to_split_series(
    split_arrays: Sequence[np.ndarray], labels: Sequence[str] | None = None
) -> pd.Series:
    """Return the split of each position.

    Args:
        split_arrays: the positions of each split.
        labels: names of the splits; None: numbers.

    Raises:
        ValueError: the names are not as many as the splits.
    """
    splits = np.empty(sum(map(len, split_arrays)), dtype=int)
    for number, positions in enumerate(split_arrays):
        splits[positions] = number
    series = pd.Series(splits)
    if labels is None:
        return series
    if len(labels) != series.max() + 1:
        raise ValueError("Incorrect number of labels.")
    return series.map(dict(enumerate(labels)))


def grouped_splits(
    groups: np.ndarray,
    fractions: Fractions,
    labels: Sequence[str] | None = None,
    **group_split_kwargs: Any,
) -> np.ndarray:
    """Draw the split of each group, one split after the other.

    Args:
        groups: ``(N,)``, the group of each sample.
        fractions: of groups, see :func:`process_fractions`.
        labels: names of the splits; None: numbers.
        group_split_kwargs: of scikit-learn's ``GroupShuffleSplit``, such as ``random_state``.

    Returns:
        ``(N,)``, the split of each sample.

    Raises:
        ValueError: the names are not as many as the splits, or the array is not of one dimension.
    """
    from sklearn.model_selection import GroupShuffleSplit

    left = process_fractions(fractions)
    if np.ndim(groups) != 1:
        raise ValueError("Group ID array must be 1-dimensional.")
    if labels is not None and len(labels) != len(left):
        raise ValueError("Incorrect number of labels.")
    remaining = pd.Series(groups)
    parts = []
    while len(left) > 1:
        splitter = GroupShuffleSplit(train_size=left[0], **group_split_kwargs)
        drawn, others = next(splitter.split(remaining, groups=remaining))
        parts.append(remaining.index[drawn].to_numpy())
        remaining, left = remaining.iloc[others], _normalized(left[1:])
    parts.append(remaining.index.to_numpy())
    return split_arrays_to_split_series(parts, labels).to_numpy()


def temporal_splits(
    data: pd.DataFrame,
    fractions: Fractions,
    date_col: Hashable,
    labels: Sequence[str] | None = None,
    split_col: Hashable = "split",
) -> tuple[pd.DataFrame, list[Any]]:
    """Divide the rows of a table in the order of their dates.

    Args:
        data: the table.
        fractions: see :func:`process_fractions`.
        date_col: the column of dates.
        labels: names of the splits; None: numbers.
        split_col: the column that the split becomes.

    Returns:
        The table in the order of dates, and the last date of each split but the last.

    Raises:
        ValueError: a column is missing, or there already.
    """
    check_cols(data, date_col, raise_err_on_missing=True)
    check_cols(data, split_col, raise_err_on_existing=True)
    data = data.sort_values(date_col)
    parts = split_idx(fractions, len(data), randomize=False)
    splits = split_arrays_to_split_series(parts)
    if labels is not None:
        splits = splits.map(dict(enumerate(labels)))
    data[split_col] = splits.to_numpy()
    return data, [data[date_col].iloc[part[-1]] for part in parts[:-1]]


def grouped_temporal_splits(
    data: pd.DataFrame,
    fractions: Fractions,
    group_col: Hashable,
    date_col: Hashable,
    labels: Sequence[str] | None = None,
    split_col: Hashable = "split",
    filter_strategy: bool | str = False,
) -> tuple[pd.DataFrame, list[Any]]:
    """Divide the rows of a table by date, and say in which split most rows of a group are.

    Args:
        data: the table.
        fractions: see :func:`process_fractions`.
        group_col: the column of groups; what most of its rows are in is ``<group>_<split>``.
        date_col: the column of dates.
        labels: names of the splits; None: numbers.
        split_col: the column that the split becomes.
        filter_strategy: True: rows in another split than their group's are left out; a name: those
            of which exactly one of the two is that split; False: none.

    Returns:
        See :func:`temporal_splits`.

    Raises:
        ValueError: a column is missing, or there already, or the name is not one of a split.
    """
    check_cols(data, [group_col, date_col], raise_err_on_missing=True)
    named = () if labels is None else list(labels)
    if not isinstance(filter_strategy, bool) and filter_strategy not in named:
        raise ValueError(f"filter_strategy {filter_strategy!r} must be an item in `labels`.")
    data, transitions = temporal_splits(data, fractions, date_col, labels, split_col)
    group_split = f"{group_col}_{split_col}"
    sizes = data.groupby([group_col, split_col]).size().rename("size").reset_index()
    largest = sizes.loc[sizes.groupby(group_col)["size"].idxmax()].set_index(group_col)[split_col]
    data = data.join(largest.rename(group_split), on=group_col, how="left")
    if filter_strategy is False:
        return data, transitions
    if filter_strategy is True:
        return data[data[split_col] == data[group_split]].drop(columns=group_split), transitions
    is_split = data[[split_col, group_split]] == filter_strategy
    return data[is_split.all(axis=1) | ~is_split.any(axis=1)].copy(), transitions


class DatasetSplitter:
    """Divides a table by a strategy.

    Args:
        strategy: a key of :data:`STRATEGY_TO_METHOD`.
        fractions: see :func:`process_fractions`.
        split_labels: names of the splits.
        group_col: the column of groups, for strategies that keep them together.
        date_col: the column of dates, for strategies in the order of time.
        split_col: the column that the split becomes.
        split_fn_kwargs: of the function of the strategy.

    Raises:
        ValueError: the strategy is unknown, lacks a column or has no use for it, or the names are
            not as many as the fractions.
    """

    def __init__(
        self,
        strategy: str,
        fractions: Fractions,
        split_labels: Sequence[str],
        group_col: str | None = None,
        date_col: str | None = None,
        split_col: str = "split",
        **split_fn_kwargs: Any,
    ):
        if strategy not in STRATEGY_TO_METHOD:
            raise ValueError(f"Unrecognized strategy {strategy}.")
        self.strategy = strategy
        self.fractions = process_fractions(fractions)
        self.split_labels = split_labels
        self.group_col, self.date_col, self.split_col = group_col, date_col, split_col
        self.split_fn_kwargs = split_fn_kwargs
        self._check_column("group_col", self.is_grouped)
        self._check_column("date_col", self.is_temporal)
        if len(self.fractions) != len(split_labels):
            raise ValueError(
                f"Length of fractions ({self.fractions}) does not match that of split "
                f"names ({split_labels})"
            )

    @property
    def is_grouped(self) -> bool:
        """Whether the strategy keeps groups together."""
        return STRATEGY_IS_GROUPED[self.strategy]

    @property
    def is_temporal(self) -> bool:
        """Whether the strategy goes by date."""
        return STRATEGY_IS_TEMPORAL[self.strategy]

    def __call__(self, data: pd.DataFrame) -> pd.DataFrame:
        """Divide a table; rows without a group are left out where groups are kept together.

        Raises:
            ValueError: a column is missing, or there already.
        """
        check_cols(data, self.split_col, raise_err_on_existing=True)
        if self.is_grouped:
            check_cols(data, self.group_col, raise_err_on_missing=True)
            has_group = data[self.group_col].notna()
            if not has_group.all():
                data = data[has_group].copy()
                logger.warning("Dropped %d rows having NaN groups.", (~has_group).sum())
        if self.is_grouped and self.is_temporal:
            group_split = f"{self.group_col}_{self.split_col}"
            check_cols(data, group_split, raise_err_on_existing=True)
        return getattr(self, STRATEGY_TO_METHOD[self.strategy])(data, **self.split_fn_kwargs)

    def _check_column(self, name: str, is_needed: bool) -> None:
        given = getattr(self, name) is not None
        if is_needed and not given:
            raise ValueError(f"`{name}` is required for strategy '{self.strategy}'.")
        if given and not is_needed:
            raise ValueError(f"Cannot specify `{name}` for strategy '{self.strategy}'.")

    def _random_split(self, data: pd.DataFrame, **options: Any) -> pd.DataFrame:
        names = {"labels": self.split_labels, "split_col": self.split_col}
        return split_dataframe_col(data, self.fractions, **names, **options)

    def _grouped_split(self, data: pd.DataFrame, **options: Any) -> pd.DataFrame:
        groups = data[self.group_col].to_numpy()
        data[self.split_col] = grouped_splits(groups, self.fractions, self.split_labels, **options)
        return data

    def _temporal_split(self, data: pd.DataFrame, **options: Any) -> pd.DataFrame:
        how = self.fractions, self.date_col, self.split_labels, self.split_col
        return _logged(*temporal_splits(data, *how, **options))

    def _grouped_temporal_split(self, data: pd.DataFrame, **options: Any) -> pd.DataFrame:
        columns = self.group_col, self.date_col, self.split_labels, self.split_col
        return _logged(*grouped_temporal_splits(data, self.fractions, *columns, **options))


def _logged(data: pd.DataFrame, transitions: list[Any]) -> pd.DataFrame:
    logger.info("Date transitions used: %s.", transitions)
    return data


def _normalized(fractions: Sequence[float]) -> list[float]:
    total = sum(fractions)
    if total == 0:
        raise ValueError("sum of sequence is zero.")
    return [fraction / total for fraction in fractions]
