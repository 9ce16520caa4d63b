"""What all benchmarks share: timing, memory, the machine and its roofline, tables and CSV files."""

import csv
import ctypes
import datetime
import gc
import importlib.metadata
import logging
import os
import platform
import statistics
import subprocess
import time
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
from tabulate import tabulate

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks" / "results"


class WrongResultError(AssertionError):
    """Something that was to be timed computes something else than it should."""


@dataclass
class Times:
    """Durations of the same work, in seconds."""

    seconds: list[float]

    @property
    def median(self) -> float:
        """Half of the runs took longer."""
        return statistics.median(self.seconds)

    @property
    def p20(self) -> float:
        """A fifth of the runs took less."""
        return self._quantile(0.2)

    @property
    def p80(self) -> float:
        """A fifth of the runs took longer."""
        return self._quantile(0.8)

    def _quantile(self, share: float) -> float:
        return torch.tensor(self.seconds, dtype=torch.float64).quantile(share).item()

    def columns(self) -> dict[str, float | int]:
        """Median and spread in milliseconds, and the number of runs."""
        quantiles = {"p20_ms": self.p20, "median_ms": self.median, "p80_ms": self.p80}
        return {name: 1e3 * value for name, value in quantiles.items()} | {
            "runs": len(self.seconds)
        }


def synchronize(device: torch.device) -> None:
    """Wait until a device has done what it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def seconds_of(work: Callable[[], object], device: torch.device) -> float:
    """Time one run, from an idle device to an idle device."""
    synchronize(device)
    start = time.perf_counter()
    work()
    synchronize(device)
    return time.perf_counter() - start


def interleave(
    works: Mapping[str, Callable[[], object]],
    device: torch.device,
    budget: float,
    runs: tuple[int, int] = (5, 100),
    inner: int = 1,
) -> dict[str, Times]:
    """Time several pieces of work in turn, so that what disturbs the machine disturbs all alike.

    Each is run once before, unmeasured. One that takes long is left out of rounds so as to keep
    to its budget.

    Args:
        works: what to time, by name.
        device: where it runs.
        budget: seconds that each may take.
        runs: fewest and most measured runs of each.
        inner: runs back to back in one measurement, of which the mean counts; for work on a GPU
            that is shorter than its launch.

    Returns:
        The times by name.
    """

    def repeated(work: Callable[[], object]) -> float:
        def several() -> None:
            for _ in range(inner):
                work()

        return seconds_of(several, device) / inner

    for work in works.values():
        work()
    wanted = {}
    for name, work in works.items():
        seconds = repeated(work)
        if seconds < budget / 10:  # one disturbance should not take it for slow
            seconds = min(seconds, repeated(work), repeated(work))
        wanted[name] = min(max(int(budget / (seconds * inner)), runs[0]), runs[1])
    times: dict[str, list[float]] = {name: [] for name in works}
    rounds = max(wanted.values())
    for turn in range(rounds):
        for name, work in works.items():
            # Spread over all rounds, not only the first ones.
            if (turn + 1) * wanted[name] // rounds > len(times[name]):
                times[name].append(repeated(work))
    return {name: Times(seconds) for name, seconds in times.items()}


def peak_extra_memory(work: Callable[[], object], device: torch.device) -> float:
    """Measure how much memory a run takes at its highest, above what was taken before.

    On a GPU these are the bytes of PyTorch's allocator. On the CPU it is the process's resident
    memory, which has temporaries of C++ kernels and of oneDNN in it too, but comes in pages and
    shows nothing below some 100 kB.

    Returns:
        Bytes; NaN where the system does not say.
    """
    work()
    gc.collect()
    if device.type == "cuda":
        synchronize(device)
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        work()
        synchronize(device)
        return float(torch.cuda.max_memory_allocated(device) - before)
    try:
        ctypes.CDLL(None).malloc_trim(0)  # else memory that is free but kept would not be seen
        Path("/proc/self/clear_refs").write_text("5")  # forgets the peak
        before = _kilobytes("VmRSS")
        work()
        return 1024.0 * (_kilobytes("VmHWM") - before)
    except (OSError, AttributeError):
        return float("nan")


def _kilobytes(key: str) -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(key + ":"):
            return int(line.split()[1])
    raise OSError(f"/proc/self/status has no {key}")


def gemm_rate(
    device: torch.device,
    dtype: torch.dtype,
    shapes: Iterable[tuple[int, int, int]] = ((1024, 1024, 1024), (2048, 2048, 2048)),
    budget: float = 1.0,
) -> float:
    """Measure the best rate at which the device multiplies matrices.

    Args:
        device: the device.
        dtype: of the matrices.
        shapes: ``(m, k, n)`` of products to try; the fastest counts.
        budget: seconds for each shape.

    Returns:
        Floating-point operations per second, a multiplication and an addition being two.
    """
    best = 0.0
    for m, k, n in shapes:
        left = torch.randn(m, k, device=device, dtype=dtype)
        right = torch.randn(n, k, device=device, dtype=dtype).mT  # as a linear layer's weight
        times = interleave({"": lambda left=left, right=right: left @ right}, device, budget)
        best = max(best, 2 * m * k * n / min(times[""].seconds))
    return best


def copy_bandwidth(device: torch.device, budget: float = 1.0) -> float:
    """Measure bytes read and written per second by the copy of a tensor far larger than caches."""
    source = torch.randn(2**28 if device.type == "cuda" else 2**25, device=device)
    target = torch.empty_like(source)
    times = interleave({"": lambda: target.copy_(source)}, device, budget)
    return 2 * source.nbytes / min(times[""].seconds)


def machine(device: torch.device) -> dict[str, str | int]:
    """Describe where and what was measured; columns of every CSV file."""
    if device.type == "cuda":
        name = torch.cuda.get_device_name(device)
    else:
        name = f"{_processor()} ({torch.backends.cpu.get_cpu_capability()})"
    return {
        "machine": name,
        "threads": torch.get_num_threads(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "triton": _version("triton"),
        "fairseq_ecg": _version("fairseq-ecg"),
        "commit": _commit(),
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.split(":")[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.machine()


def _version(distribution: str) -> str:
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return ""


def _commit() -> str:
    """Name the checked out commit, with a plus if sources differ from it."""

    def git(*arguments: str) -> str:
        command = ["git", "-C", str(ROOT), *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()

    try:
        changed = git("status", "--porcelain", "--", "csrc", "fairseq_ecg", "benchmarks/*.py")
        return git("rev-parse", "--short=10", "HEAD") + ("+" if changed else "")
    except (OSError, subprocess.CalledProcessError):
        return ""


def slug(device: torch.device) -> str:
    """Name the machine for a file, such as ``amd-epyc-avx2``."""
    words = "".join(c.lower() if c.isalnum() else " " for c in str(machine(device)["machine"]))
    return "-".join(words.split())


def write_csv(rows: Sequence[Mapping[str, object]], path: Path) -> None:
    """Write rows with the same columns, floats to five digits."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "w", newline="") as file:
        writer = csv.DictWriter(file, fieldnames=list(rows[0]), lineterminator="\n")
        writer.writeheader()
        for row in rows:
            writer.writerow({key: _short(value) for key, value in row.items()})
    print(f"wrote {path}")


def _short(value: object) -> object:
    return f"{value:.5g}" if isinstance(value, float) else value


def quiet() -> None:
    """Keep from the terminal what libraries have to say, such as that a graph breaks."""
    logging.getLogger().setLevel(logging.ERROR)
    logging.getLogger("torch._dynamo").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", module=r"torch\.")


def show(rows: Sequence[Mapping[str, object]], columns: Sequence[str]) -> None:
    """Print some columns of rows as a table."""
    cells = [[_short(row[column]) for column in columns] for row in rows]
    print(tabulate(cells, headers=columns), flush=True)


@contextmanager
def environment(variables: Mapping[str, str | None]) -> Iterator[None]:
    """Set environment variables (None: unset) for a while."""
    before = {name: os.environ.get(name) for name in variables}

    def put(values: Mapping[str, str | None]) -> None:
        for name, value in values.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value

    put(variables)
    try:
        yield
    finally:
        put(before)
