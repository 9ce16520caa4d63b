"""Progress bars, by tqdm."""

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tqdm import tqdm


def progress_bar(
    items: Iterable | int | None,
    name: str | None,
    unit: str,
    *,
    show: bool | None = None,
    **options: Any,
) -> "tqdm":
    """Make a bar.

    Args:
        items: to iterate over; or how many there are, None where that is not known: the caller
            updates the bar then.
        name: of the work, if it has one.
        unit: what is counted.
        show: whether the bar is shown; None: where there is a terminal.
        options: of :class:`tqdm.tqdm`.
    """
    from tqdm import tqdm

    counted = {"total": items} if items is None or isinstance(items, int) else {"iterable": items}
    disable = None if show is None else not show
    return tqdm(**counted, desc=name, unit=unit, disable=disable, **options)
