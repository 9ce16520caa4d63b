"""Pictures of what was prepared."""

import ast
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from fairseq_ecg.charts import chart
from fairseq_ecg.ecg.leads import LEADS
from fairseq_ecg.errors import DataError

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MOST_LABELS = 40
"""Labels that are drawn, the most frequent ones."""


def draw(folder: Path, out: Path, suffix: str = "", labels_path: Path | None = None) -> list[Path]:
    """Draw durations, sampling rates, missing and flat leads, and labels of an archive.

    Args:
        folder: that holds ``meta.csv``.
        out: folder of the pictures; made where absent.
        suffix: of the names of the tables.
        labels_path: labels, if there are any; ``labels/labels.csv`` in ``folder`` if None.

    Returns:
        The pictures: ``durations.png``, ``rates.png``, ``leads.png``, ``labels.png``.

    Raises:
        DataError: there is no ``meta.csv``.
    """
    columns = ("dataset", "sample_rate", "sample_size", "lead_order", "nan_leads", "constant_leads")
    path = folder / f"meta{suffix}.csv"
    if not path.is_file():
        raise DataError(f"{path}: no such file. Run the step 'signals' first")
    meta = pd.read_csv(path, usecols=list(columns))
    drawn = []
    for name, draw_chart in (("durations", _durations), ("rates", _rates), ("leads", _leads)):
        drawn.append(out / f"{name}.png")
        with chart(drawn[-1], 6, 3.5) as axes:
            draw_chart(axes, meta)
    labels_path = labels_path or folder / "labels" / f"labels{suffix}.csv"
    if labels_path.is_file():
        drawn.append(out / "labels.png")
        _draw_labels(labels_path, drawn[-1])
    return drawn


def _durations(axes: "Axes", meta: pd.DataFrame) -> None:
    seconds = meta["sample_size"] / meta["sample_rate"]
    longest = float(seconds.max())
    edges = np.linspace(0, longest, 41)
    if longest > 20 * seconds.median():  # a few of hours among many of seconds
        edges = np.geomspace(max(float(seconds.min()), 0.1), longest, 41)
    edges[-1] *= 1 + 1e-9
    groups = {name: seconds[rows] for name, rows in meta.groupby("dataset").groups.items()}
    axes.hist(list(groups.values()), bins=edges, stacked=True, label=list(groups))
    if edges[1] - edges[0] < 0.5 * (edges[-1] - edges[-2]):
        axes.set_xscale("log")
    axes.set(xlabel="duration in s", ylabel="recordings", title="Durations")
    if len(groups) > 1:
        axes.legend(frameon=False)


def _rates(axes: "Axes", meta: pd.DataFrame) -> None:
    counts = meta.groupby(["sample_rate", "dataset"]).size().unstack(fill_value=0)
    bottom = np.zeros(len(counts))
    names = [f"{rate:g}" for rate in counts.index]
    for dataset in counts:
        axes.bar(names, counts[dataset], 0.6, bottom, label=dataset)
        bottom = bottom + counts[dataset].to_numpy()
    axes.set(xlabel="sampling rate in Hz", ylabel="recordings", title="Sampling rates")
    if counts.shape[1] > 1:
        axes.legend(frameon=False)


def _leads(axes: "Axes", meta: pd.DataFrame) -> None:
    leads = [lead for lead in LEADS if lead in ast.literal_eval(meta["lead_order"].iloc[0])]
    counts = {}
    for kind in ("nan_leads", "constant_leads"):
        found = meta[kind].value_counts()
        counts[kind] = [
            sum(count for text, count in found.items() if lead in ast.literal_eval(text))
            for lead in leads
        ]
    axes.bar(leads, counts["nan_leads"], 0.6, label="missing")
    axes.bar(leads, counts["constant_leads"], 0.6, counts["nan_leads"], label="flat")
    axes.set(ylabel="recordings", title="Missing and flat leads")
    axes.set_ylim(0, max(1, *np.add(*counts.values())) * 1.1)
    axes.yaxis.get_major_locator().set_params(integer=True)
    axes.legend(frameon=False)


def _draw_labels(labels_path: Path, path: Path) -> None:
    labels = pd.read_csv(labels_path).drop(columns=["idx", "save_file"], errors="ignore")
    counts = (labels > 0).sum().sort_values()
    shown = counts.iloc[-MOST_LABELS:]
    more = f", {len(shown)} of {len(counts)}" if len(shown) < len(counts) else ""
    with chart(path, 6, 1.2 + 0.22 * len(shown)) as axes:
        bars = axes.barh([str(name) for name in shown.index], shown)
        shares = [f"{count:,} ({count / len(labels):.1%})" for count in shown]
        axes.bar_label(bars, shares, padding=3)
        axes.set(xlabel="recordings", title=f"Labels of {len(labels):,} recordings{more}")
        axes.set_xlim(0, max(1, shown.max()) * 1.3)
