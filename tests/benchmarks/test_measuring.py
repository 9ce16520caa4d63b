"""The benchmarks measure what they say, and refuse what is wrong."""

import time

import pytest
import torch

from benchmarks import common, figures
from benchmarks.cases import CASES
from benchmarks.ops import Provider, measure, providers
from benchmarks.step import COMPONENTS, VARIANTS, Step

CPU = torch.device("cpu")


def test_quantiles():
    times = common.Times([0.003, 0.001, 0.002, 0.005, 0.004])
    assert times.columns() == pytest.approx(
        {"p20_ms": 1.8, "median_ms": 3.0, "p80_ms": 4.2, "runs": 5}
    )


def test_slow_work_runs_less_often_than_fast_work():
    works = {"slow": lambda: time.sleep(0.02), "fast": lambda: time.sleep(0.001)}
    times = common.interleave(works, CPU, budget=0.04, runs=(2, 10))
    assert len(times["slow"].seconds) == 2
    assert 2 < len(times["fast"].seconds) <= 10
    assert times["slow"].median > 0.02 > times["fast"].median


def test_peak_memory_is_what_is_taken_for_a_while():
    def work():
        torch.ones(2, 5_000_000).sum()  # 40 MB

    peak = common.peak_extra_memory(work, CPU)
    assert peak == pytest.approx(40e6, rel=0.1)


@pytest.mark.parametrize("operation", CASES)
def test_operations_are_checked_and_timed(operation):
    case = next(CASES[operation](CPU, [2]))
    rows = measure(case, ["reference", "torch", "cpu"], 0.001, bandwidth=1e10, rate=1e11)
    modes = {"forward"} if operation == "augment" else {"forward", "forward+backward"}
    assert {row["mode"] for row in rows} == modes
    assert "reference" in {row["provider"] for row in rows}
    assert all(row["median_ms"] > 0 and 0 < row["roofline"] < 10 for row in rows)


@pytest.mark.parametrize("operation", CASES)
def test_wrong_results_are_not_timed(operation):
    case = next(CASES[operation](CPU, [2]))
    run = case.run
    case.run = lambda *inputs: (run(*inputs)[0] * (1 + 1e-3), *run(*inputs)[1:])
    with pytest.raises(common.WrongResultError, match=f"{operation}.*reference: result"):
        Provider(case, "reference").check()


def test_a_provider_is_only_what_the_operation_has():
    case = next(CASES["infonce"](CPU, [2]))
    names = [provider.name for provider in providers(case, ["torch", "cuda", "compiled"])]
    assert names == ["torch", "compiled"]


@pytest.mark.slow
def test_step_is_taken_apart():
    step = Step(CPU, batch=2)
    step.check(["fp32"])
    seconds, _ = step.components(VARIANTS["fp32"])
    # The loader draws masks, and kernels negatives.
    assert all((value > 0) == (name != "masks, negatives") for name, value in seconds.items()), (
        seconds
    )
    # By hand, for one segment: 85 M weights of layers at 156 frames, 4.7 M of the positions.
    assert step.operations() / 2 == pytest.approx(3 * 2 * 156 * 90e6, rel=0.1)


def test_what_is_drawn_has_the_names_of_what_is_measured():
    assert set(figures.SHOWN) - {"other"} <= set(COMPONENTS)
    assert set(figures.TOGETHER) <= set(COMPONENTS)
