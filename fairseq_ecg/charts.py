"""Charts in PNG files that are either whole or absent, by matplotlib."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from fairseq_ecg.jobs.files import open_replacing

if TYPE_CHECKING:
    from matplotlib.axes import Axes


@contextmanager
def chart(path: Path, width: float, height: float) -> "Iterator[Axes]":
    """Let the caller draw a chart, and write it at the end.

    Args:
        path: PNG file to write.
        width: in inches.
        height: in inches.

    Yields:
        The axes to draw on.
    """
    from matplotlib.figure import Figure  # no window, no state

    figure = Figure((width, height), layout="constrained")
    axes = figure.subplots()
    axes.spines[["top", "right"]].set_visible(False)
    yield axes
    with open_replacing(path, "wb") as file:
        figure.savefig(file, format="png", dpi=150)
