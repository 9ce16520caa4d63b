"""What is imported, and how long it takes, before something is done."""

import json
import resource
import subprocess
import sys

import numpy as np
import pytest
import torch

from tests.conftest import environment
from tests.tiny_checkpoints import CLASSIFIER, made

NOT_BEFORE_NEEDED = (
    "h5py",
    "lxml",
    "matplotlib",
    "networkx",
    "pandas",
    "pyarrow",
    "pydicom",
    "scipy.interpolate",
    "scipy.io",
    "scipy.signal",
    "scipy.stats",
    "sklearn",
    "torch._dynamo",
    "transformers",
    "wfdb",
)
MOST_TIMES_TORCH = 3.5
"""Processor time of a prediction over that of importing torch: 2.1 to 2.8 were measured."""

PREDICTION = """
import json, sys
from fairseq_ecg.cli import main
assert main(["predict", *sys.argv[1:]]) == 0
print(json.dumps(sorted(sys.modules)))
"""


@pytest.fixture(scope="module")
def prediction(tmp_path_factory) -> list[str]:
    """A program that predicts one recording, at the rate of a tiny network."""
    folder = tmp_path_factory.mktemp("startup")
    torch.save(made(CLASSIFIER), folder / "tiny.pt")
    np.save(folder / "a.npy", np.random.default_rng(0).normal(0, 0.5, (12, 1000)))
    paths = [str(folder / "tiny.pt"), str(folder / "a.npy")]
    return [
        *(sys.executable, "-c", PREDICTION, *paths),
        *("--sample-rate=100", f"--out={folder / 'p.csv'}"),
    ]


def output_of(program: list[str]) -> str:
    return subprocess.run(
        program, capture_output=True, text=True, check=True, env=environment()
    ).stdout


def test_a_prediction_imports_what_it_needs(prediction):
    modules = json.loads(output_of(prediction).splitlines()[-1])
    assert "fairseq_ecg.inference.model" in modules
    assert [name for name in NOT_BEFORE_NEEDED if name in modules] == []


def test_the_package_imports_nothing():
    program = [
        sys.executable,
        "-c",
        "import fairseq_ecg, json, sys; print(json.dumps([*sys.modules]))",
    ]
    modules = json.loads(output_of(program))
    assert [name for name in (*NOT_BEFORE_NEEDED, "torch", "numpy") if name in modules] == []


def test_an_error_is_reported_without_importing_torch():
    program = """
import sys
from fairseq_ecg.cli import main
assert main(["prepare", "all", "/no/such.yaml"]) == 2
assert "torch" not in sys.modules
"""
    output_of([sys.executable, "-c", program])


def seconds_of(program: list[str]) -> float:
    """Processor time of a program: the least of three runs."""

    def used() -> float:
        usage = resource.getrusage(resource.RUSAGE_CHILDREN)
        return usage.ru_utime + usage.ru_stime

    times = []
    for _ in range(3):
        before = used()
        output_of(program)
        times.append(used() - before)
    return min(times)


def test_a_prediction_takes_little_longer_than_importing_torch(prediction):
    of_torch = seconds_of([sys.executable, "-c", "import torch"])
    assert seconds_of(prediction) < MOST_TIMES_TORCH * of_torch
