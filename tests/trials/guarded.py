"""Calls whose outcome nobody knows, in a process with a limit of memory and of time.

As a program it reads a call in each line of its input, and writes what came of it.
"""

import contextlib
import importlib
import json
import resource
import signal
import subprocess
import sys
import time
import traceback
import warnings
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from tests.conftest import environment

MEMORY = 2 * 2**30
"""Bytes that a call may allocate."""

READ_ECG = "fairseq_ecg.formats:read_ecg"


@dataclass(frozen=True)
class Call:
    """A call that is to return something or to raise DataError.

    Args:
        path: its first argument.
        options: its other ones.
        function: module and name.
        keep: file to save the signal of an ECG to.
    """

    path: str
    options: dict[str, Any] = field(default_factory=dict)
    function: str = READ_ECG
    keep: str | None = None


@dataclass(frozen=True)
class Outcome:
    """What came of a call.

    Args:
        kind: ``returned``, the name of what was raised, or ``killed by`` a signal.
        message: of the error.
        facts: about an ECG: ``leads``, ``sample_rate``, ``shape``, ``left_out``, ``doubts``.
        seconds: that it took.
    """

    kind: str
    message: str = ""
    facts: dict[str, Any] = field(default_factory=dict)
    seconds: float = 0.0

    @property
    def is_right(self) -> bool:
        """Whether it returned, or refused by name."""
        return self.kind in ("returned", "DataError")


def outcomes(calls: Iterable[Call], seconds: int = 20) -> Iterator[tuple[Call, Outcome]]:
    """Make calls one after another.

    Args:
        calls: to make.
        seconds: that each may take, before the process is killed.

    Yields:
        Each call with its outcome.
    """
    process = None
    for call in calls:
        if process is None:
            process = subprocess.Popen(
                [sys.executable, "-m", "tests.trials.guarded", str(seconds)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                text=True,
                env=environment(),
            )
        process.stdin.write(json.dumps(vars(call)) + "\n")
        process.stdin.flush()
        answer = process.stdout.readline()
        if answer:
            yield call, Outcome(**json.loads(answer))
            continue
        number = -process.wait()
        yield call, Outcome(f"killed by {signal.Signals(number).name if number > 0 else number}")
        process = None
    if process is not None:
        process.stdin.close()
        process.wait()


def read_overlay(path: str) -> None:
    """Change the package's vocabulary by a file."""
    from fairseq_ecg.labeler.vocabulary_files import read_vocabulary

    read_vocabulary("default", overlays=[Path(path)])


def _outcome(call: Call) -> Outcome:
    module, name = call.function.split(":")
    function = getattr(importlib.import_module(module), name)
    start = time.monotonic()
    try:
        returned = function(call.path, **call.options)
        facts = _facts(returned, call.keep) if call.function == READ_ECG else {}
        kind, message = "returned", ""
    except Exception as error:
        kind, message, facts = type(error).__name__, str(error), {}
        if kind != "DataError":
            message += "".join(traceback.format_tb(error.__traceback__)[-2:])
    return Outcome(kind, message, facts, time.monotonic() - start)


def _facts(ecg: Any, keep: str | None) -> dict[str, Any]:
    signal_ = ecg.signal[:, :]
    if keep:
        np.save(keep, signal_)
    assert np.issubdtype(signal_.dtype, np.floating)
    assert signal_.shape == (len(ecg.leads), ecg.n_samples)
    assert len(set(ecg.leads)) == len(ecg.leads) > 0
    assert ecg.n_samples > 0
    assert 10 <= ecg.sample_rate <= 200_000
    return {
        "leads": list(ecg.leads),
        "sample_rate": float(ecg.sample_rate),
        "shape": list(signal_.shape),
        "left_out": ecg.metadata.get("left_out", ""),
        "doubts": list(ecg.metadata.get("doubts", ())),
    }


def _main(seconds: int) -> None:
    warnings.simplefilter("ignore")
    for name in ("edfio", "ecgdatakit", "h5py", "lxml.etree", "pydicom", "scipy.io", "wfdb"):
        with contextlib.suppress(ImportError):  # what is imported later counts as allocated
            importlib.import_module(name)
    importlib.import_module("fairseq_ecg.formats")
    with open("/proc/self/statm") as file:
        own = int(file.read().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (own + MEMORY, own + MEMORY))
    for line in sys.stdin:
        signal.alarm(seconds)  # kills, also what does not come back from C
        with contextlib.redirect_stdout(sys.stderr):
            outcome = _outcome(Call(**json.loads(line)))
        signal.alarm(0)
        print(json.dumps(vars(outcome)), flush=True)


if __name__ == "__main__":
    _main(int(sys.argv[1]))
