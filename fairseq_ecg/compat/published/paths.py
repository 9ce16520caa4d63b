"""Paths in tables, by fairseq_signals' functions of ``utils.file`` and ``utils.store``."""

import os
import warnings

import pandas as pd


def normalize_ext(ext: str | None, include_period: bool = True) -> str | None:
    """Write an extension with a period, or without; None stays None."""
    if ext is None:
        return None
    name = ext.removeprefix(".")
    return f".{name}" if include_period else name


def has_ext(
    file: str | None,
    ext: str | None,
    normalize: bool = True,
    case: bool = False,
    raise_err: bool = True,
) -> bool:
    """Return whether a path ends with an extension; without either it does.

    Args:
        file: the path.
        ext: the extension.
        normalize: whether the extension begins with a period even if it is given without.
        case: whether upper and lower case differ.
        raise_err: a path that does not is an error, unless ``case`` counts.

    Raises:
        ValueError: it does not.
    """
    if file is None or ext is None:
        return True
    wanted = normalize_ext(ext) if normalize else ext
    if case:
        return file.endswith(wanted)
    has = file.lower().endswith(wanted.lower())
    if raise_err and not has:
        raise ValueError(f"File {file} must have extension '{wanted}'.")
    return has


def extract_ext(path: pd.Series | str) -> pd.Series | str:
    """Return the extension of a path, or of each of a series."""
    return _of_each(path, lambda one: os.path.splitext(one)[1])


def remove_ext(path: pd.Series | str) -> pd.Series | str:
    """Return a path, or each of a series, without its extension."""
    return _of_each(path, lambda one: os.path.splitext(one)[0])


def replace_ext(path: pd.Series | str, replacement_ext: str) -> pd.Series | str:
    """Return a path, or each of a series, with another extension."""
    return remove_ext(path) + normalize_ext(replacement_ext)


def extract_filename(paths: pd.Series) -> pd.Series:
    """Return what follows the last slash of each path."""
    return paths.str.split("/").str[-1]


def remove_common_segments(paths: pd.Series) -> pd.Series:
    """Return paths without the folders that all of them are in; missing ones stay missing."""
    common = os.path.commonprefix(list(paths.dropna()))  # noqa: RUF071 (cut back to a folder below)
    return paths.str.slice(start=common.rfind("/") + 1)


def remove_common_prefix(paths: pd.Series) -> pd.Series:
    """Return paths without the characters that all of them begin with."""
    return paths.str.slice(start=len(os.path.commonprefix(list(paths))))  # noqa: RUF071


def filenames_from_paths(
    paths: pd.Series,
    replacement_ext: str | None = None,
    exclude_common_segments: bool = True,
    exclude_common_prefix: bool = False,
    warn_not_unique: bool = True,
) -> pd.Series:
    """Make file names of paths: slashes and blanks become underscores.

    Args:
        paths: a series of them.
        replacement_ext: extension of the names; None: that of the paths.
        exclude_common_segments: leave out the folders that all paths are in.
        exclude_common_prefix: leave out the characters that all paths begin with.
        warn_not_unique: warn where two names are the same.

    Raises:
        ValueError: both are to be left out.
    """
    if exclude_common_segments and exclude_common_prefix:
        raise ValueError("Cannot specify `exclude_common_segments` and `exclude_common_prefix`.")
    if replacement_ext is not None:
        paths = replace_ext(paths, replacement_ext)
    if exclude_common_segments:
        paths = remove_common_segments(paths)
    if exclude_common_prefix:
        paths = remove_common_prefix(paths)
    names = paths.str.replace("/", "_").str.replace(" ", "_")
    if warn_not_unique and not names.is_unique:
        warnings.warn("Resulting filenames are not unique.", stacklevel=2)
    return names


def _of_each(path: pd.Series | str, function) -> pd.Series | str:
    return function(path) if isinstance(path, str) else path.apply(function)
