"""Charts in PNG files that are either whole or absent, by matplotlib."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from fairseq_ecg.jobs.files import open_replacing

if TYPE_CHECKING:
    import numpy as np
    from matplotlib.axes import Axes

    from fairseq_ecg.ecg.verification import Verification


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


def draw_similarity(path: Path, similarity: "np.ndarray") -> None:
    """Write a picture of similarities, from blue (-1) to red (1).

    Args:
        path: PNG file to write.
        similarity: ``(probes, gallery)``.
    """
    with chart(path, 6, 5) as axes:
        image = axes.matshow(similarity, cmap="RdYlBu_r", vmin=-1, vmax=1)
        axes.figure.colorbar(image, ax=axes)


def draw_verification(path: Path, measured: "Verification") -> None:
    """Write a picture of the ROC of a verification, with the equal error rate in its title.

    Args:
        path: PNG file to write.
        measured: error rates of all thresholds.
    """
    with chart(path, 5, 5) as axes:
        axes.plot(measured.false_accepts, 1 - measured.false_rejects)
        axes.plot([0, 1], [1, 0], color="grey", linewidth=0.8, linestyle="dotted")
        axes.set(
            xlabel="False accepts", ylabel="Genuine pairs accepted", xlim=(0, 1), ylim=(0, 1.01)
        )
        axes.set_title(f"Equal error rate {measured.equal_error_rate:.4f}")
