"""Time every operation in every implementation that this machine has.

    python -m benchmarks.ops [--device cuda] [--operations NAME ...] [--batches 8 128]

Providers are the backends of ``fairseq_ecg.ops.backends`` (``reference`` is fairseq_signals'
formulation, ``torch`` the fastest way in plain torch), ``compiled``, the plain way by
``torch.compile``, and ``upstream``, fairseq_signals' own way where the reference is another one.
One that differs from the definition in float64 is not timed, and the command
fails.
"""

import argparse
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from benchmarks import common
from benchmarks.cases import CASES, Both, Case, Outputs
from fairseq_ecg.ops import backends

COLUMNS = (
    "operation",
    "shape",
    "mode",
    "provider",
    "p20_ms",
    "median_ms",
    "p80_ms",
    "runs",
    "peak_MB",
    "roofline",
)


class Provider:
    """A case in one implementation.

    Args:
        case: the operation.
        name: a backend, ``compiled`` or ``upstream``.
    """

    def __init__(self, case: Case, name: str):
        self.case = case
        self.name = name
        self.backend = name if name in backends.BACKENDS else "reference"
        self._run, self._both = case.run, case.both
        if name == "compiled":
            run, both = case.plain or (case.run, None)
            self._run = _compile(run)
            self._both = _compile(both) if both else self._compiled_both

    def _compiled_both(self, *inputs: Tensor) -> tuple[Outputs, Sequence[Tensor]]:
        return self.case.both(*inputs, run=self._run)

    def forward(self) -> None:
        """Run forward, where nothing is kept for backward."""
        with common.environment({backends.VARIABLE: self.backend}), torch.no_grad():
            if self.name == "upstream":
                self.case.upstream()
            else:
                self._run(*self.case.inputs)

    def both(self, *inputs: Tensor) -> tuple[Outputs, Sequence[Tensor]]:
        """Run forward and backward; return outputs and gradients."""
        with common.environment({backends.VARIABLE: self.backend}):
            return self._both(*(inputs or self.case.inputs))

    def check(self) -> None:
        """Compare outputs and gradients with the definition.

        Raises:
            WrongResultError: they are farther off than the case's tolerance.
        """
        with common.environment({backends.VARIABLE: self.backend}):
            outputs, gradients = self.case.parts(self.both)
        expected_outputs, expected_gradients = self.case.definition()
        found = [*outputs, *gradients]
        for index, expected in enumerate([*expected_outputs, *expected_gradients]):
            actual = found[index].detach().to(expected.device, torch.float64)
            scale = expected.abs().max().clamp(min=1e-30)
            error = ((actual - expected).abs().max() / scale).item()
            if not error <= self.case.tolerance:
                raise common.WrongResultError(
                    f"{self.case.operation} {self.case.shape} {self.name}: result {index} is off "
                    f"by {error:.1e} of the largest number"
                )


def _compile(function: Callable) -> Callable:
    """Compile for any number of frames, as in training, and with eager torch's random numbers."""
    return torch.compile(function, dynamic=True, options={"fallback_random": True})


def providers(case: Case, wanted: Sequence[str]) -> list[Provider]:
    """Find the implementations of a case that this machine can run."""
    device = case.inputs[0].device.type
    found = []
    for name in backends.OPERATIONS[case.operation]:
        is_elsewhere = name in ("cpu", "cuda") and name != device
        is_slow = name == "triton" and device == "cpu"  # its interpreter says nothing of speed
        if name in wanted and not is_elsewhere and not is_slow and backends.missing(name) is None:
            found.append(Provider(case, name))
    if "compiled" in wanted:
        found.append(Provider(case, "compiled"))
    if "upstream" in wanted and case.upstream is not None:
        found.append(Provider(case, "upstream"))
    return found


def measure(
    case: Case, wanted: Sequence[str], budget: float, bandwidth: float, rate: float
) -> list[dict[str, object]]:
    """Check and time all providers of a case.

    Args:
        case: what to time.
        wanted: names of providers.
        budget: seconds for each provider and mode.
        bandwidth: bytes per second of the machine's roofline.
        rate: floating-point operations per second likewise.

    Returns:
        A row for each mode and provider.
    """
    device = case.inputs[0].device
    found = providers(case, wanted)
    for provider in found:
        if provider.name != "upstream":
            provider.check()
    rows = []
    modes = ("forward", "forward+backward") if case.grad_outputs else ("forward",)
    for index, mode in enumerate(modes):
        works: dict[str, Callable | Both] = {
            provider.name: provider.forward if index == 0 else provider.both for provider in found
        }
        # Launches of a GPU are queued: many in a row show its time, not the host's.
        inner = 20 if device.type == "cuda" else 1
        times = common.interleave(works, device, budget, runs=(3, 100), inner=inner)
        bound = max(case.bytes[index] / bandwidth, case.operations[index] / rate)
        for name, work in works.items():
            rows.append(
                {"operation": case.operation, "shape": case.shape, "mode": mode, "provider": name}
                | times[name].columns()
                | {
                    "peak_MB": common.peak_extra_memory(work, device) / 1e6,
                    "MB": case.bytes[index] / 1e6,
                    "gflop": case.operations[index] / 1e9,
                    "roofline": bound / times[name].median,
                }
            )
    return rows


def main() -> None:
    """Check, time and write ``results/<machine>_ops.csv``."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", type=torch.device, default="cpu")
    parser.add_argument("--operations", nargs="+", choices=CASES, default=list(CASES))
    parser.add_argument("--batches", nargs="+", type=int, default=[], help="segments in a batch")
    every = [*backends.BACKENDS, "compiled", "upstream"]
    parser.add_argument("--providers", nargs="+", choices=every, default=every)
    parser.add_argument("--budget", type=float, default=2.0, help="seconds for each measurement")
    arguments = parser.parse_args()
    device = arguments.device
    common.quiet()

    bandwidth = common.copy_bandwidth(device)
    rate = common.gemm_rate(device, torch.float32)
    print(f"roofline: copies {bandwidth / 1e9:.4g} GB/s, products {rate / 1e12:.4g} TFLOP/s")
    roofline = {"copy_GB_per_s": bandwidth / 1e9, "gemm_tflops": rate / 1e12}
    described = roofline | common.machine(device)
    target = common.RESULTS / f"{common.slug(device)}_ops.csv"
    rows: list[dict[str, object]] = []
    for operation in arguments.operations:
        for case in CASES[operation](device, arguments.batches):
            new = measure(case, arguments.providers, arguments.budget, bandwidth, rate)
            common.show(new, COLUMNS)
            rows += [row | described for row in new]
            common.write_csv(rows, target)  # what is measured is kept whatever comes after


if __name__ == "__main__":
    main()
