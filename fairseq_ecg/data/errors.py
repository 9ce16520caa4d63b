"""The one error of bad data."""

from collections.abc import Iterator
from contextlib import contextmanager


class DataError(ValueError):
    """Data on disk that cannot be used; the message names the file, the fault and the remedy."""


@contextmanager
def damage_as_data_error(where: str, kind: str, remedy: str = "") -> Iterator[None]:
    """Turn whatever a reader of files fails with into a DataError.

    Readers fail on damage with whatever their parser tripped over.

    Args:
        where: names the file.
        kind: what the file should be, such as ``EDF file``.
        remedy: what to do about it; ends the message.

    Raises:
        DataError: the body failed.
    """
    try:
        yield
    except DataError:
        raise
    except Exception as error:
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        raise DataError(
            f"{where}: is no {kind}, or damaged ({reason})" + (f". {remedy}" if remedy else "")
        ) from error
