"""Count the records per second that become segments, and time the tables of a large archive.

    python -m benchmarks.prepare [--records N] [--archive-records N]

Three parts. The first writes WFDB records of 12 leads and 10 s at 400 Hz into a temporary folder
and makes segments of 5 s at 500 Hz of them: by a plain loop over ``wfdb`` and ``scipy`` that goes
from stage to stage by files as fairseq_signals does (``loop``), and by ``fairseq-ecg prepare
signals`` on 1 and 2 processes; what the run before wrote is removed first. The second prepares a
recording of many hours, as a file of several formats, each in a process of its own. The third runs
all steps of ``fairseq-ecg prepare`` on the tables of an archive without signals, each likewise.
"""

import argparse
import contextlib
import io
import math
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import edfio
import joblib
import numpy as np
import pandas as pd
import scipy.io
import torch
import wfdb
from scipy.interpolate import interp1d

from benchmarks import common
from fairseq_ecg.cli import main as fairseq_ecg
from fairseq_ecg.ecg.leads import LEADS
from fairseq_ecg.formats import ECG
from fairseq_ecg.prepare import archive
from fairseq_ecg.prepare.records import read_source, write_records
from fairseq_ecg.prepare.sources import Source
from fairseq_ecg.prepare.stages import STAGES, Outcome, Settings

RATE, SECONDS = 400, 10
DESIRED, SEGMENT = 500, 2500
PARTS = ("prepare", "prepare_long", "prepare_tables")
PATIENTS_PER_RECORD, LABELS = 0.2, 17  # as in MIMIC-IV-ECG


def write_recordings(folder: Path, number: int) -> None:
    """Write WFDB records of noise."""
    generator = np.random.default_rng(0)
    for i in range(number):
        wfdb.wrsamp(
            f"r{i:05}",
            fs=RATE,
            units=["mV"] * len(LEADS),
            sig_name=list(LEADS),
            d_signal=generator.integers(-2000, 2000, (RATE * SECONDS, len(LEADS))),
            fmt=["16"] * len(LEADS),
            adc_gain=[1000.0] * len(LEADS),
            baseline=[0] * len(LEADS),
            write_dir=str(folder),
        )


def remove_prepared(out: Path) -> None:
    """Have the next run write new files: putting one in the place of another takes longer."""
    for stage in STAGES:
        shutil.rmtree(out / stage, ignore_errors=True)


def loop(raw: Path, out: Path) -> None:
    """Prepare as fairseq_signals does: every stage reads the files of the stage before."""
    remove_prepared(out)
    for stage in STAGES:
        (out / stage).mkdir(parents=True)
    names = sorted(path.stem for path in raw.glob("*.hea"))
    for idx, name in enumerate(names):
        signal, fields = wfdb.rdsamp(str(raw / name))
        size = {"org_sample_rate": fields["fs"], "curr_sample_rate": fields["fs"]}
        size |= {"org_sample_size": fields["sig_len"], "curr_sample_size": fields["sig_len"]}
        org = size | {"feats": signal.T, "idx": idx}
        scipy.io.savemat(out / "org" / f"{name}.mat", org)
    for name in names:
        data = _load(out / "org" / f"{name}.mat")
        feats = data["feats"]
        n_samples = int(feats.shape[1] * (DESIRED / data["curr_sample_rate"].item()))
        positions = np.linspace(0, n_samples - 1, feats.shape[1])
        feats = interp1d(positions, feats)(np.arange(n_samples))
        mean = feats.mean(axis=1, keepdims=True)
        std = (feats - mean).std(axis=1, keepdims=True)
        data |= {"feats": (feats - mean) / std, "mean": mean, "std": std}
        data |= {"curr_sample_rate": DESIRED, "curr_sample_size": n_samples}
        scipy.io.savemat(out / "preprocessed" / f"{name}.mat", data)
    for name in names:
        data = _load(out / "preprocessed" / f"{name}.mat")
        feats = data["feats"]
        for i in range(feats.shape[1] // SEGMENT):
            data |= {"feats": feats[:, i * SEGMENT : (i + 1) * SEGMENT], "segment_i": i}
            data |= {"curr_sample_size": SEGMENT}
            scipy.io.savemat(out / "segmented" / f"{name}_{i}.mat", data)


def _load(path: Path) -> dict[str, Any]:
    return {key: value for key, value in scipy.io.loadmat(path).items() if key[0] != "_"}


def prepare(out: Path, jobs: int) -> None:
    """Prepare everything."""
    remove_prepared(out)
    with joblib.parallel_config("loky", n_jobs=jobs), contextlib.redirect_stderr(io.StringIO()):
        archive.prepare_signals(read_source(out), out, Settings(), again=True)


def check(of_loop: Path, of_prepare: Path) -> None:
    """Refuse to time what makes other segments."""
    names = sorted(path.name for path in of_loop.glob("segmented/*.mat"))
    for name in names:
        expected = _load(of_loop / "segmented" / name)
        found = _load(of_prepare / "segmented" / f"generic_{name}")
        for key in expected:
            if not np.allclose(expected[key], found[key], rtol=0, atol=1e-12):
                raise common.WrongResultError(f"{name}: {key}")
    if len(list(of_prepare.glob("segmented/*.mat"))) != len(names):
        raise common.WrongResultError("other segments")


def processor_seconds(work: Callable[[], object]) -> float:
    """Least processor time of three runs, which other programs disturb less than they do time."""
    seconds = []
    for _ in range(3):
        start = time.process_time()
        work()
        seconds.append(time.process_time() - start)
    return min(seconds)


def records_per_second(folder: Path, number: int, budget: float) -> list[dict[str, Any]]:
    """Time the loop and the program in turn."""
    (folder / "raw").mkdir()
    write_recordings(folder / "raw", number)
    works: dict[str, Callable[[], None]] = {
        "loop": lambda: loop(folder / "raw", folder / "loop"),
    }
    for jobs in (1, 2):
        write_records("generic", folder / "raw", folder / f"prepare {jobs}")
        works[f"prepare {jobs}"] = lambda jobs=jobs: prepare(folder / f"prepare {jobs}", jobs)
    for work in works.values():
        work()
    for jobs in (1, 2):
        check(folder / "loop", folder / f"prepare {jobs}")
    device = torch.device("cpu")
    times = common.interleave(works, device, budget, runs=(3, 20))
    memory = {name: common.peak_extra_memory(works[name], device) for name in works}
    processor = {name: processor_seconds(works[name]) for name in works}
    return [
        {
            "what": name,
            "records": number,
            **times[name].columns(),
            "records_per_s": number / times[name].median,
            "processor_ms": processor[name] / number * 1e3,
            "peak_mb": memory[name] / 1e6,
        }
        | ({"processor_ms": math.nan, "peak_mb": math.nan} if name == "prepare 2" else {})
        for name in works
    ]


def write_long(path: Path, hours: float) -> None:
    """Write a recording of many hours at 500 Hz, the same minute of noise again and again."""
    n_minutes, n_samples = round(hours * 60), 60 * DESIRED
    minute = np.random.default_rng(0).integers(-2000, 2000, (len(LEADS), n_samples), np.int16)
    if path.suffix == ".npy":
        shape = len(LEADS), n_minutes * n_samples
        array = np.lib.format.open_memmap(path, "w+", np.int16, shape)
        for start in range(0, shape[1], n_samples):
            array[:, start : start + n_samples] = minute
    elif path.suffix == ".edf":
        signals = [
            edfio.EdfSignal(row / 1.0, DESIRED, label=lead, physical_dimension="uV")
            for lead, row in zip(LEADS, minute, strict=True)
        ]
        edfio.Edf(signals, data_record_duration=1).write(path)
        content = path.read_bytes()
        head = content[: 256 * (len(LEADS) + 1)]
        with open(path, "wb") as file:
            file.write(head[:236] + b"%-8d" % (60 * n_minutes) + head[244:])
            for _ in range(n_minutes):
                file.write(content[len(head) :])
    else:
        rows = pd.DataFrame(minute.T).to_csv(header=False, index=False)
        with open(path, "w", encoding="ascii") as file:
            file.write(",".join(f"{lead} (uV)" for lead in LEADS) + "\n")
            for _ in range(n_minutes):
                file.write(rows)


COMMAND = """
import sys
from pathlib import Path
from fairseq_ecg.cli import main
main(sys.argv[1:])
print(Path("/proc/self/status").read_text().partition("VmHWM:")[2].split()[0])
"""
"""Runs ``fairseq-ecg`` and prints its peak of resident memory in KiB."""


def long_recordings(folder: Path, hours: float) -> list[dict[str, Any]]:
    """Time a recording of many hours by format, as the command prepares it."""
    given = {
        ".edf": {},
        ".npy": {"leads": list(LEADS), "sample_rate": DESIRED, "units": "uV"},
        ".csv": {"sample_rate": DESIRED},
    }
    rows = []
    for suffix, options in given.items():
        processed = folder / suffix
        (processed / "raw").mkdir(parents=True)
        write_long(processed / "raw" / f"long{suffix}", hours)
        write_records("generic", processed / "raw", processed, options)
        command = ["prepare", "signals", "--processed-root", str(processed)]
        command += ["--discard", "org,preprocessed"]
        start = time.perf_counter()
        run = subprocess.run([sys.executable, "-c", COMMAND, *command], stdout=subprocess.PIPE)
        seconds = time.perf_counter() - start
        peak = int(run.stdout.split()[-1]) * 1024 / 1e6
        n_segments = len(list((processed / "segmented").iterdir()))
        if n_segments != round(hours * 60) * 60 * DESIRED // SEGMENT:
            raise common.WrongResultError(f"{n_segments} segments of {suffix}")
        shutil.rmtree(processed)
        megabytes = len(LEADS) * hours * 3600 * DESIRED * 8 / 1e6
        what = f"{hours:g} h in {suffix}, {megabytes:.0f} MB as float64"
        rows.append({"what": what, "records": 1, "seconds": seconds, "peak_mb": peak})
    return rows


class TablesOnly(Source):
    """An archive of the size of MIMIC-IV-ECG, of which there are tables only."""

    name = "tables"

    def __init__(self, number: int):
        super().__init__(Path("/archive"))
        self.number = number

    def records(self) -> pd.DataFrame:
        """A row for every record."""
        i = pd.Series(np.arange(self.number))
        patient = i % max(int(self.number * PATIENTS_PER_RECORD), 1) + 10_000_000
        path = "files/p" + patient.astype(str) + "/s" + (40_000_000 + i).astype(str)
        return pd.DataFrame(
            {
                "subject_id": patient,
                "study_id": 40_000_000 + i,
                "path": path,
                "machine_report": "Sinus rhythm; Normal ECG",
                "save_file": "tables_" + path.str.replace("/", "_") + ".mat",
                "source": self.name,
                "dataset": self.name,
            }
        )

    def read(self, record: Mapping[str, Any]) -> ECG:
        """Nothing is read: `found` stands for it."""
        raise NotImplementedError


def found(source: Source, settings: Settings, folder: Path, record: Mapping[str, Any]) -> Outcome:
    """What the stages would return."""
    values = np.random.default_rng(record["idx"]).random(2 * len(LEADS))
    names = [f"{name}_{i}" for name in ("mean", "std") for i in range(len(LEADS))]
    features = {
        **{"avail_leads": str(list(LEADS)), "nan_any": False, "nan_leads_any": False},
        **{"nan_leads": "[]", "constant_leads_any": False, "constant_leads": "[]"},
        **dict(zip(names, values.tolist(), strict=True)),
    }
    entry = {
        **{"sample_rate": DESIRED, "sample_size": 10 * DESIRED, "metadata": {"units": "mv"}},
        **{"features": features, "tables": {}, "single_precision": False},
        **{"n_segments": 2, "dropped": ""},
    }
    return Outcome(record["idx"], entry)


def in_a_process(work: Callable[[], object]) -> tuple[float, float]:
    """Run in a process of its own; return seconds and its peak of resident memory in MB."""
    start = time.perf_counter()
    child = os.fork()
    if not child:
        status = 1
        try:
            with contextlib.redirect_stdout(io.StringIO()):
                work()
            status = 0
        finally:
            os._exit(status)
    _, status, usage = os.wait4(child, 0)
    if status:
        raise RuntimeError(f"exit status {status}")
    return time.perf_counter() - start, usage.ru_maxrss * 1024 / 1e6


def tables(folder: Path, number: int) -> list[dict[str, Any]]:
    """Time the steps on an archive of tables."""
    source = TablesOnly(number)

    def records() -> None:
        source.records().to_csv(folder / "records.csv", index=False)

    def signals() -> None:
        archive.prepare_record = found
        archive.prepare_signals(source, folder, Settings())

    def labels() -> None:
        values = np.random.default_rng(0).random((number, LABELS)) < 0.1
        (folder / "labels").mkdir(exist_ok=True)
        table = pd.DataFrame(values, columns=[f"label {i}" for i in range(LABELS)])
        table.insert(0, "idx", np.arange(number))
        table.to_csv(folder / "labels" / "labels.csv", index=False)
        step(
            "labels",
            output_dir=folder / "labels",
            labels=folder / "labels" / "labels.csv",
            meta_splits=folder / "meta_split.csv",
        )

    def step(name: str, *arguments: str, **options: object) -> None:
        given = [f"--{key.replace('_', '-')}={value}" for key, value in options.items()]
        fairseq_ecg(["prepare", name, *arguments, *given])

    manifests, segments = folder / "manifests", folder / "segmented_split.csv"
    grouped = {"strategy": "grouped", "group_col": "subject_id"}
    steps = {
        "records": records,
        "signals": signals,
        "splits": lambda: step("splits", processed_root=folder, **grouped),
        "labels": labels,
        "manifests": lambda: step("manifests", split_file_paths=segments, save_dir=manifests),
        "cmsc": lambda: step("cmsc", str(manifests), dest=manifests),
    }
    rows = []
    for name, work in steps.items():
        seconds, peak = in_a_process(work)
        rows.append({"what": name, "records": number, "seconds": seconds, "peak_mb": peak})
    pairs = sum(path.read_text().count("\n") - 2 for path in manifests.glob("cmsc/*.tsv"))
    if pairs != number:
        raise common.WrongResultError(f"{pairs} pairs of {number} records")
    return rows


def main() -> None:
    """Time and write three tables into ``results/``."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--records", type=int, default=200, help="of the first part")
    parser.add_argument("--hours", type=float, default=24.0, help="of the second part")
    parser.add_argument("--archive-records", type=int, default=800_000, help="of the third part")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS)
    parser.add_argument("--budget", type=float, default=30.0, help="seconds for each measurement")
    arguments = parser.parse_args()
    device = torch.device("cpu")
    common.quiet()
    parts = (
        ("prepare", lambda folder: records_per_second(folder, arguments.records, arguments.budget)),
        ("prepare_long", lambda folder: long_recordings(folder, arguments.hours)),
        ("prepare_tables", lambda folder: tables(folder, arguments.archive_records)),
    )
    for name, part in parts:
        if name not in arguments.parts:
            continue
        with tempfile.TemporaryDirectory() as folder:
            rows = [row | common.machine(device) for row in part(Path(folder))]
        common.show(rows, [key for key in rows[0] if key not in common.machine(device)])
        common.write_csv(rows, common.RESULTS / f"{common.slug(device)}_{name}.csv")


if __name__ == "__main__":
    main()
