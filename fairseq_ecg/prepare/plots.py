"""Pictures of what was prepared."""

import ast
from pathlib import Path

import numpy as np
import pandas as pd

from fairseq_ecg.ecg.leads import LEADS
from fairseq_ecg.errors import DataError
from fairseq_ecg.jobs.files import open_replacing

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
    drawn = [_durations(meta, out), _rates(meta, out), _leads(meta, out)]
    labels_path = labels_path or folder / "labels" / f"labels{suffix}.csv"
    if labels_path.is_file():
        drawn.append(_labels(labels_path, out))
    return drawn


def _durations(meta: pd.DataFrame, out: Path) -> Path:
    seconds = meta["sample_size"] / meta["sample_rate"]
    longest = float(seconds.max())
    edges = np.linspace(0, longest, 41)
    if longest > 20 * seconds.median():  # a few of hours among many of seconds
        edges = np.geomspace(max(float(seconds.min()), 0.1), longest, 41)
    edges[-1] *= 1 + 1e-9
    figure, axes = _figure(6, 3.5)
    groups = {name: seconds[rows] for name, rows in meta.groupby("dataset").groups.items()}
    axes.hist(list(groups.values()), bins=edges, stacked=True, label=list(groups))
    if edges[1] - edges[0] < 0.5 * (edges[-1] - edges[-2]):
        axes.set_xscale("log")
    axes.set(xlabel="duration in s", ylabel="recordings", title="Durations")
    if len(groups) > 1:
        axes.legend(frameon=False)
    return _save(figure, out / "durations.png")


def _rates(meta: pd.DataFrame, out: Path) -> Path:
    counts = meta.groupby(["sample_rate", "dataset"]).size().unstack(fill_value=0)
    figure, axes = _figure(6, 3.5)
    bottom = np.zeros(len(counts))
    names = [f"{rate:g}" for rate in counts.index]
    for dataset in counts:
        axes.bar(names, counts[dataset], 0.6, bottom, label=dataset)
        bottom = bottom + counts[dataset].to_numpy()
    axes.set(xlabel="sampling rate in Hz", ylabel="recordings", title="Sampling rates")
    if counts.shape[1] > 1:
        axes.legend(frameon=False)
    return _save(figure, out / "rates.png")


def _leads(meta: pd.DataFrame, out: Path) -> Path:
    leads = [lead for lead in LEADS if lead in ast.literal_eval(meta["lead_order"].iloc[0])]
    counts = {}
    for kind in ("nan_leads", "constant_leads"):
        found = meta[kind].value_counts()
        counts[kind] = [
            sum(count for text, count in found.items() if lead in ast.literal_eval(text))
            for lead in leads
        ]
    figure, axes = _figure(6, 3.5)
    axes.bar(leads, counts["nan_leads"], 0.6, label="missing")
    axes.bar(leads, counts["constant_leads"], 0.6, counts["nan_leads"], label="flat")
    axes.set(ylabel="recordings", title="Missing and flat leads")
    axes.set_ylim(0, max(1, *np.add(*counts.values())) * 1.1)
    axes.yaxis.get_major_locator().set_params(integer=True)
    axes.legend(frameon=False)
    return _save(figure, out / "leads.png")


def _labels(path: Path, out: Path) -> Path:
    labels = pd.read_csv(path)
    labels = labels.drop(columns=[name for name in ("idx", "save_file") if name in labels])
    counts = (labels > 0).sum().sort_values()
    shown = counts.iloc[-MOST_LABELS:]
    figure, axes = _figure(6, 1.2 + 0.22 * len(shown))
    bars = axes.barh([str(name) for name in shown.index], shown)
    axes.bar_label(bars, [f"{count:,} ({count / len(labels):.1%})" for count in shown], padding=3)
    more = f", {len(shown)} of {len(counts)}" if len(shown) < len(counts) else ""
    axes.set(xlabel="recordings", title=f"Labels of {len(labels):,} recordings{more}")
    axes.set_xlim(0, max(1, shown.max()) * 1.3)
    return _save(figure, out / "labels.png")


def _figure(width: float, height: float):
    from matplotlib.figure import Figure  # no window, no state

    figure = Figure((width, height), layout="constrained")
    axes = figure.subplots()
    axes.spines[["top", "right"]].set_visible(False)
    return figure, axes


def _save(figure, path: Path) -> Path:
    with open_replacing(path, "wb") as file:
        figure.savefig(file, format="png", dpi=150)
    return path
