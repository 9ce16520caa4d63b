"""Draw the README's figure and print its tables from the committed CSV files.

    python -m benchmarks.figures [MACHINE]

MACHINE is the first part of the files' names in ``results/``, such as ``amd-epyc-avx2``; by default
every machine there. Writes ``results/<machine>_step.png``.
"""

import argparse
import csv
from collections import defaultdict
from pathlib import Path

from matplotlib.figure import Figure
from tabulate import tabulate

from benchmarks import common

SHOWN = {
    "layers: GEMM": ("#4269d0", "transformer: matrix products"),
    "layers: attention": ("#6cc5b0", "transformer: attention"),
    "layers: rest": ("#97bbf5", "transformer: the rest"),
    "positional conv": ("#a463f2", "positional convolution"),
    "contrastive loss": ("#ff725c", "contrastive loss"),
    "quantizer": ("#efb118", "quantizer"),
    "optimizer": ("#9c6b4e", "clip and optimizer"),
    "other": ("#bbbbbb", "everything else"),
}
"""Colours and names of what the figure shows; components that are not here are its others."""
TOGETHER = {"clip": "optimizer"}
KERNELS = ("cuda", "triton", "cpu")


def read(path: Path) -> list[dict[str, str]]:
    """Read a CSV file into rows."""
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


def draw(machine: str) -> None:
    """Draw a bar for each variant of the step, cut into components.

    A component's length is its share of the profiled step times the median of the step unprofiled.
    """
    medians = {
        row["variant"]: float(row["median_ms"])
        for row in read(common.RESULTS / f"{machine}_step.csv")
    }
    parts: dict[str, dict[str, float]] = defaultdict(lambda: dict.fromkeys(SHOWN, 0.0))
    rows = read(common.RESULTS / f"{machine}_components.csv")
    for row in rows:
        name = TOGETHER.get(row["component"], row["component"])
        parts[row["variant"]][name if name in SHOWN else "other"] += float(row["median_ms"])

    figure = Figure(figsize=(9, 1.3 + 0.45 * len(medians)), layout="constrained")
    axes = figure.subplots()
    for position, (variant, median) in enumerate(medians.items()):
        left = 0.0
        shares = parts.get(variant)
        if shares is None:  # a compiled step cannot be taken apart
            axes.barh(position, median, color="white", edgecolor="#888888", hatch="///", height=0.7)
        for name, value in (shares or {}).items():
            width = median * value / sum(shares.values())
            axes.barh(position, width, left=left, color=SHOWN[name][0], height=0.7)
            left += width
        axes.text(median, position, f" {median:,.0f} ms", va="center", fontsize=9)
    axes.set_yticks(
        range(len(medians)), [name.replace("upstream", "upstream,") for name in medians]
    )
    axes.invert_yaxis()
    axes.set_xlim(0, 1.12 * max(medians.values()))
    axes.set_xlabel(f"ms a step of {rows[0]['batch']} segments, {rows[0]['machine']}")
    axes.spines[["top", "right"]].set_visible(False)
    for colour, label in SHOWN.values():
        axes.bar(0, 0, color=colour, label=label)
    figure.legend(loc="outside lower center", ncols=4, frameon=False, fontsize=8)
    target = common.RESULTS / f"{machine}_step.png"
    figure.savefig(target, dpi=150)
    print(f"wrote {target}")


def step_table(machine: str) -> str:
    """Tabulate the variants of the step in Markdown."""
    rows = read(common.RESULTS / f"{machine}_step.csv")
    upstream = next(float(row["median_ms"]) for row in rows if row["variant"] == "upstream fp32")
    cells = [
        [
            row["variant"],
            f"{float(row['median_ms']):,.0f}",
            f"{float(row['p20_ms']):,.0f}-{float(row['p80_ms']):,.0f}",
            f"{upstream / float(row['median_ms']):.2f}x",
            f"{100 * float(row['mfu']):.0f} %",
        ]
        for row in rows
    ]
    headers = ["step", "median ms", "20-80 %", "upstream fp32 / this", "MFU"]
    return tabulate(cells, headers, tablefmt="github", disable_numparse=True)


def operations_table(machine: str) -> str:
    """Tabulate operations, forward and backward together where there is both, in Markdown."""
    groups: dict[tuple[str, str], dict[str, dict[str, str]]] = defaultdict(dict)
    for row in read(common.RESULTS / f"{machine}_ops.csv"):  # forward comes first
        groups[row["operation"], row["shape"]][row["provider"]] = row
    cells = []
    for (operation, shape), providers in groups.items():
        kernel = next((name for name in KERNELS if name in providers), None)
        if kernel is None:
            continue
        ours = providers[kernel]
        upstream = "upstream" if "upstream" in providers else "reference"

        def ratio(name: str, column: str, providers=providers, ours=ours) -> str:
            if name not in providers or float(ours[column]) == 0:
                return ""
            return f"{float(providers[name][column]) / float(ours[column]):,.1f}x"

        cells.append(
            [
                operation,
                shape,
                kernel,
                f"{float(ours['median_ms']):,.3g}",
                *(ratio(name, "median_ms") for name in (upstream, "torch", "compiled")),
                ratio(upstream, "peak_MB"),
                f"{100 * float(ours['roofline']):.0f} %",
            ]
        )
    headers = ["operation", "shape", "kernel", "ms", "upstream", "plain torch", "torch.compile"]
    return tabulate(cells, [*headers, "memory", "roofline"], "github", disable_numparse=True)


def main() -> None:
    """Draw and print what there are files for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    known = sorted({path.name.rsplit("_", 1)[0] for path in common.RESULTS.glob("*_*.csv")})
    parser.add_argument("machines", nargs="*", metavar="MACHINE", default=known)
    for machine in parser.parse_args().machines:
        print(f"\n{machine}\n")
        if (common.RESULTS / f"{machine}_components.csv").exists():
            draw(machine)
            print(step_table(machine))
        if (common.RESULTS / f"{machine}_ops.csv").exists():
            print(f"\nTimes of others over the kernel's:\n\n{operations_table(machine)}")


if __name__ == "__main__":
    main()
