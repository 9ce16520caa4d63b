"""Measure how many recordings are doubted that should not be, and how much nonsense is.

    python -m benchmarks.quality [FOLDER ...]

Recordings are those of the demo, and of folders of files with twelve leads. Each is looked at as it
is, in the variants and as each kind of nonsense of ``quality_cases.py``. The time is that of the
processor for a recording as it is.
"""

import argparse
import sys
import time
import warnings
from pathlib import Path

import numpy as np
import torch

from benchmarks import common
from benchmarks.quality_cases import NONSENSE, VARIANTS
from fairseq_ecg.ecg.leads import LEADS
from fairseq_ecg.ecg.quality import quality
from fairseq_ecg.formats import ECG, arrange
from fairseq_ecg.inference.recordings import Description, recordings_in

sys.path.insert(0, str(common.ROOT / "examples" / "demo"))


def demo(count: int) -> list[ECG]:
    """Return the first recordings of the demo."""
    import simulator

    return [
        ECG(one.name, one.ecg, LEADS, float(simulator.SAMPLE_RATE))
        for one in simulator.recordings(count, seed=1)
    ]


def share_doubted(make, ecgs: list[ECG]) -> float:
    """Return the share of recordings that are doubted once something is made of them."""
    found = [quality(make(ecg, np.random.default_rng(n))) for n, ecg in enumerate(ecgs)]
    return float(np.mean([one.is_doubted for one in found]))


def milliseconds(ecgs: list[ECG]) -> float:
    """Return the median time of the processor that a recording takes."""
    times = []
    for ecg in ecgs:
        start = time.process_time()
        quality(ecg)
        times.append(1e3 * (time.process_time() - start))
    return float(np.median(times))


def main() -> None:
    """Print both numbers, and write a row for each kind and source."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folders", nargs="*", help="of recordings with twelve leads")
    parser.add_argument("--demo", type=int, default=480, metavar="N", help="recordings of the demo")
    parser.add_argument(
        "--changed", type=int, default=60, metavar="N", help="of these, how many are changed"
    )
    parser.add_argument("--out", type=Path, help="CSV file (default: in benchmarks/results)")
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    sources = {"demo": demo(arguments.demo)}
    for folder in arguments.folders:
        found = recordings_in(folder, Description())
        sources[Path(folder).parent.name] = [arrange(one.read(), LEADS) for one in found]
    machine = common.machine(torch.device("cpu"))
    rows, whole = [], {"recording": [], "variant": [], "nonsense": []}
    for source, ecgs in sources.items():
        took = milliseconds(ecgs)
        some = ecgs[: arguments.changed]
        cases = [
            ("recording", {"as it is": VARIANTS["as it is"]}, ecgs),
            ("variant", {k: v for k, v in VARIANTS.items() if k != "as it is"}, some),
            ("nonsense", NONSENSE, some),
        ]
        for group, makes, used in cases:
            for name, make in makes.items():
                doubted = share_doubted(make, used)
                whole[group].append(doubted)
                rows.append(
                    {
                        "source": source,
                        "group": group,
                        "case": name,
                        "recordings": len(used),
                        "doubted": doubted,
                        "ms": took,
                    }
                    | machine
                )
    common.show(rows, ["source", "group", "case", "recordings", "doubted", "ms"])
    for group, shares in whole.items():
        print(f"{group}: {np.mean(shares):.1%} doubted")
    path = arguments.out or common.RESULTS / f"{common.slug(torch.device('cpu'))}_quality.csv"
    common.write_csv(rows, path)


if __name__ == "__main__":
    main()
