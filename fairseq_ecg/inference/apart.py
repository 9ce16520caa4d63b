"""Computing many things together, so that one that fails does not take the others with it."""

from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

from fairseq_ecg.errors import DataError, as_data_error

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
