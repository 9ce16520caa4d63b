"""Progress bars, by tqdm."""

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tqdm import tqdm


def progress(
    items: Iterable | int | None, name: str, unit: str, *, show: bool | None = None, **options: Any
) -> "tqdm":
    """Make a bar.

    Args:
        items: to go through, the bar beside; or how many there are, None where that is not known,
            of which the caller tells the bar by ``update``.
        name: of the work.
        unit: what is counted.
        show: whether the bar is shown; None: where there is a terminal.
        options: of :class:`tqdm.tqdm`.
    """
    from tqdm import tqdm

    counted = {"total": items} if items is None or isinstance(items, int) else {"iterable": items}
    disable = None if show is None else not show
    return tqdm(**counted, desc=name, unit=unit, disable=disable, **options)
