"""Tables, by fairseq_signals' functions of ``utils.pandas``."""

import functools
import operator
from collections.abc import Hashable, Sequence
from typing import Any

import numpy as np
import pandas as pd
from pandas.api.types import is_bool_dtype


def to_list(obj: Any) -> list[Any]:
    """Return a list as it is, an array, a set or a dict as a list, and else a list of the one."""
    if isinstance(obj, list):
        return obj
    return list(obj) if isinstance(obj, np.ndarray | set | dict) else [obj]


def check_cols(
    data: pd.DataFrame,
    cols: Hashable | Sequence[Hashable],
    raise_err_on_unexpected: bool = False,
    raise_err_on_existing: bool = False,
    raise_err_on_missing: bool = False,
) -> tuple[set[Hashable], set[Hashable], set[Hashable]]:
    """Compare the columns of a table with others.

    Args:
        data: the table.
        cols: one column, or a list of them.
        raise_err_on_unexpected: columns that are not among them are an error.
        raise_err_on_existing: columns that are among them are an error.
        raise_err_on_missing: columns that the table lacks are an error.

    Returns:
        The columns that are unexpected, existing and missing.

    Raises:
        ValueError: names them.
    """
    named, found = set(to_list(cols)), set(data.columns)
    groups = found - named, found & named, named - found
    refused = raise_err_on_unexpected, raise_err_on_existing, raise_err_on_missing
    for kind, columns, is_refused in zip(
        ("Unexpected", "Existing", "Missing"), groups, refused, strict=True
    ):
        if is_refused and columns:
            raise ValueError(f"{kind} columns: {', '.join(map(str, columns))}")
    return groups


def drop_na_cols(data: pd.DataFrame) -> pd.DataFrame:
    """Return a table without the columns that hold nothing."""
    return data.dropna(axis=1, how="all")


def explode_with_order(series: pd.Series, order_col: str = "order") -> pd.DataFrame:
    """Give each element of lists a row.

    Args:
        series: of lists.
        order_col: the column of the position of each element in its list.

    Raises:
        ValueError: its index is not unique.
    """
    if not series.index.is_unique:
        raise ValueError("The input series must have a unique index.")
    exploded = series.explode().to_frame()
    exploded[order_col] = exploded.groupby(exploded.index).cumcount()
    return exploded


def numpy_series_to_dataframe(series: pd.Series) -> pd.DataFrame:
    """Give each element of arrays of one length a column, ``<name>_<position>``.

    Args:
        series: of arrays; one that is missing becomes a row of NaN.
    """
    lengths = series.dropna().map(len)
    missing = np.full(0 if lengths.empty else lengths.max(), np.nan)
    rows = [values if isinstance(values, np.ndarray) else missing for values in series]
    expanded = pd.DataFrame(rows, index=series.index)
    expanded.columns = [f"{series.name}_{position}" for position in expanded.columns]
    return expanded


def and_conditions(conditions: Sequence[pd.Series]) -> pd.Series:
    """Return where all of several series are true.

    Raises:
        ValueError: one is not boolean.
    """
    return functools.reduce(operator.and_, _checked(conditions))


def or_conditions(conditions: Sequence[pd.Series]) -> pd.Series:
    """Return where any of several series is true.

    Raises:
        ValueError: one is not boolean.
    """
    return functools.reduce(operator.or_, _checked(conditions))


def _checked(conditions: Sequence[pd.Series]) -> Sequence[pd.Series]:
    for condition in conditions:
        if not (isinstance(condition, pd.Series) and is_bool_dtype(condition)):
            raise ValueError(f"conditions must be boolean series, found {condition!r}")
    return conditions
