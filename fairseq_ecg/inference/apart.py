"""Computing many things together, so that one that fails does not take the others with it."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TypeVar

from fairseq_ecg.errors import DataError, as_data_error
from fairseq_ecg.jobs.progress import progress_bar

Item = TypeVar("Item")
Values = TypeVar("Values")


def computed_apart(
    items: Sequence[Item],
    compute: Callable[[Sequence[Item]], Values],
    name_of: Callable[[Item], str | int],
) -> Iterator[tuple[Sequence[Item], Values | DataError]]:
    """Compute items together; where that fails, each by itself.

    Args:
        items: of a batch.
        compute: of one item or several; it fails with any error.
        name_of: an item, in error messages.

    Yields:
        All items and what was computed of them; or of each item that, or why it cannot be computed.
    """
    if len(items) > 1:
        try:
            values = compute(items)
        except Exception:  # of which item, and why, is found below
            pass
        else:
            yield items, values
            return
    for item in items:
        try:
            with as_data_error(f"{name_of(item)}: cannot be computed"):
                values = compute([item])
        except DataError as error:
            yield [item], error
        else:
            yield [item], values


def evaluated_apart(
    batches: Sequence[Sequence[int]],
    compute: Callable[[Sequence[int]], Values],
    name_of: Callable[[int], str],
    on_error: str,
    errors: dict[str, str],
) -> Iterator[tuple[Sequence[int], Values]]:
    """Compute items of a data set in batches, with a progress bar.

    Args:
        batches: indices of the items of each.
        compute: of one item or several; it fails with any error.
        name_of: an item, in error messages and ``errors``.
        on_error: what to do about an item that cannot be computed: ``raise``, or ``skip``, which
            notes it in ``errors``.
        errors: why items cannot be computed, by their names; is added to.

    Yields:
        Indices of items, and what was computed of them.

    Raises:
        DataError: an item cannot be computed, and that is not to be skipped.
    """
    for batch in progress_bar(batches, "evaluate", "batch"):
        for indices, found in computed_apart(batch, compute, name_of):
            if not isinstance(found, DataError):
                yield indices, found
            elif on_error == "raise":
                raise found
            else:
                errors[name_of(indices[0])] = str(found)


def none_usable(errors: Mapping[str, str], what: str = "recordings") -> DataError:
    """Return the error of a data set of which nothing can be used.

    Args:
        errors: why, by the names of what is in it.
        what: that is.
    """
    first = next(iter(errors.values()))
    return DataError(f"none of {len(errors)} {what} can be used; the first: {first}")
