"""Errors whose message is for the user, the boundary at which others become one, and values."""

import reprlib
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager

_MOST_OF_A_REASON = 500
"""Characters of what a parser says: some repeat the damaged file."""


class DataError(ValueError):
    """Data on disk that cannot be used; the message names the file, the fault and the remedy."""


class CheckpointError(RuntimeError):
    """A checkpoint cannot be used; the message names the file and the remedy."""


@contextmanager
def as_data_error(
    fault: str, remedy: str = "", *, but: tuple[type[Exception], ...] = ()
) -> Iterator[None]:
    """Turn whatever fails within into a DataError: one bad recording does not end a run.

    Readers fail on damage with whatever their parser tripped over, for want of memory or of depth
    as well. What a user does to end the program passes.

    Args:
        fault: names the file, and says what cannot be done with it; begins the message.
        remedy: what to do about it; ends the message.
        but: errors that pass, such as OSError where results are written as well.

    Raises:
        DataError: the body failed.
    """
    passing: tuple[type[Exception], ...] = (DataError, *but)
    try:
        yield
    except passing:
        raise
    except Exception as error:
        raise DataError(
            f"{fault} ({_reason(error)})" + (f". {remedy}" if remedy else "")
        ) from error


def damage_as_data_error(where: str, kind: str, remedy: str = "") -> AbstractContextManager[None]:
    """Turn whatever a reader of files fails with into a DataError, see `as_data_error`.

    Args:
        where: names the file.
        kind: what the file should be, such as ``EDF file``.
        remedy: what to do about it; ends the message.

    Raises:
        DataError: the body failed.
    """
    return as_data_error(f"{where}: is no {kind}, or damaged", remedy)


def _reason(error: Exception) -> str:
    text = " ".join(str(error).split())
    if len(text) > _MOST_OF_A_REASON:
        text = f"{text[:_MOST_OF_A_REASON]}..."
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def shortened(value: object, most: int = 200) -> str:
    """Return a value as a message shows it: at a length that can be read, whatever it is.

    Args:
        value: anything.
        most: characters of a text, or of what is no container.
    """
    limits = reprlib.Repr()
    limits.maxstring = limits.maxother = most
    try:
        return limits.repr(value)
    except ValueError:  # a number of too many digits
        return f"a {type(value).__name__}"
