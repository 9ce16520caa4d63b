"""Count the reports per second that are labelled, in ECG-FM's formulation and in this package's.

    python -m benchmarks.labeler [--vocabulary DIR] [--reports 800000] [--workers N]

Reports are made by sampling statements in the style of machines, so that nearly all of them differ.
``plain`` is ECG-FM's formulation (``benchmarks.plain_labeler``), vectorised operations of pandas;
``labels`` is the labeler up to the labels, ``tables`` with all tables of entities and descriptors
too, each begun without anything remembered. All three must find the same. ``stream`` is
``fairseq-ecg label`` from a CSV file to its four files, with the peak of the memory of this process
and of its workers. ``seconds`` is wall time; ``core_seconds``, what all processes took of the
processor, is what to compare where a machine does other things too.

``plain`` knows the rules of ECG-FM's vocabulary: with another one it is left out. ECG-FM's is read
as by its own labeler (mode ``compatible``), the package's as users have it.
"""

import argparse
import resource
import tempfile
import time
from pathlib import Path

import joblib
import numpy as np
import pandas as pd
import torch

from benchmarks import common, plain_labeler
from fairseq_ecg.labeler import Labeler
from fairseq_ecg.labeler.ecg_fm import ENTITIES
from fairseq_ecg.labeler.label_table import read_label_set
from fairseq_ecg.labeler.reports import label_reports
from fairseq_ecg.labeler.vocabulary_files import DEFAULT_FOLDER

RHYTHMS = (
    "Sinus rhythm",
    "Normal sinus rhythm",
    "Sinus bradycardia",
    "Sinus tachycardia",
    "Sinus arrhythmia",
    "Sinus rhythm with 1st degree A-V block",
    "Sinus bradycardia with 1st degree A-V block",
    "Sinus rhythm with PAC(s)",
    "Sinus rhythm with PVC(s)",
    "Sinus tachycardia with frequent PVCs",
    "Sinus rhythm with borderline 1st degree A-V block",
    "Atrial fibrillation",
    "Atrial fibrillation with rapid ventricular response",
    "Atrial fibrillation with slow ventricular response",
    "Atrial fibrillation with PVC(s) or aberrant ventricular conduction",
    "Atrial flutter",
    "Atrial flutter with 2:1 A-V block",
    "Ectopic atrial rhythm",
    "Junctional rhythm",
    "Supraventricular tachycardia",
    "Ventricular tachycardia",
    "Accelerated idioventricular rhythm",
    "Ventricular-paced rhythm",
    "A-V sequential pacemaker",
    "Atrial-paced rhythm",
    "Dual chamber pacemaker",
    "Regular rhythm, no P-waves found",
    "Undetermined rhythm",
)
FINDINGS = (
    "Possible left atrial abnormality",
    "Left atrial enlargement",
    "Left axis deviation",
    "Leftward axis",
    "Right axis deviation",
    "Rightward axis",
    "Indeterminate axis",
    "RBBB",
    "LBBB",
    "Incomplete RBBB",
    "Incomplete LBBB",
    "RBBB with left anterior fascicular block",
    "Left anterior fascicular block",
    "IV conduction defect",
    "Nonspecific intraventricular conduction delay",
    "Low QRS voltages in limb leads",
    "Low QRS voltages in precordial leads",
    "Low voltage, limb and precordial leads",
    "Left ventricular hypertrophy",
    "Left ventricular hypertrophy by voltage only",
    "LVH with secondary repolarization abnormality",
    "Possible right ventricular hypertrophy",
    "Poor R wave progression - probable normal variant",
    "Poor R wave progression",
    "Cannot rule out anterior infarct - age undetermined",
    "Cannot rule out inferior infarct - age undetermined",
    "Possible anterior infarct - age undetermined",
    "Possible septal infarct - age undetermined",
    "Anteroseptal infarct - age undetermined",
    "Inferior infarct - age undetermined",
    "Inferior infarct, old",
    "Lateral infarct - age undetermined",
    "Anterolateral infarct, acute",
    "Extensive anterior infarct, possibly acute",
    "Inferior ST elevation - cannot rule out acute injury",
    "Inferior/lateral ST-T changes are nonspecific",
    "Lateral ST-T changes may be due to myocardial ischemia",
    "Inferior/lateral T wave changes may be due to myocardial ischemia",
    "Anterolateral ST-T changes may be due to ventricular hypertrophy",
    "Nonspecific T wave changes",
    "Nonspecific ST-T wave changes",
    "Extensive ST-T changes may be due to myocardial ischemia",
    "Prolonged QT interval",
    "Borderline prolonged QT interval",
    "Short PR interval",
    "Early repolarization",
    "Pericarditis",
    "Consider acute ST elevation MI",
    "Artifact in lead(s) V1, V2 and baseline wander in lead(s) V6",
    "Baseline wander in lead(s) I, III, aVL",
    "Lead(s) unsuitable for analysis: V4",
    "Possible sequence error: V2,V3 omitted",
    "Lead reversal is suspected, only V1-V6 analyzed",
    "Since previous tracing, no significant change",
)
SUMMARIES = (
    "Normal ECG",
    "Abnormal ECG",
    "Borderline ECG",
    "Summary: Normal ECG",
    "Summary: Abnormal ECG",
    "Summary: Borderline",
    "Otherwise normal ECG",
)
TYPED = 50
"""One statement in so many has a letter too few, as those typed by people have."""

COLUMNS = (
    "work",
    "vocabulary",
    "reports",
    "unique",
    "seconds",
    "core_seconds",
    "reports_per_core_s",
    "peak_MB",
)


def sample_reports(number: int, seed: int = 0) -> list[str]:
    """Make reports of three to eight statements.

    Args:
        number: of reports.
        seed: of the sampling.
    """
    generator = np.random.default_rng(seed)
    reports = []
    for _ in range(number):
        findings = generator.choice(len(FINDINGS), generator.integers(1, 7), replace=False)
        statements = [RHYTHMS[generator.integers(len(RHYTHMS))]]
        statements += [FINDINGS[i] for i in findings]
        statements.append(SUMMARIES[generator.integers(len(SUMMARIES))])
        if generator.integers(TYPED // len(statements)) == 0:
            i = generator.integers(len(statements))
            left_out = generator.integers(len(statements[i]))
            statements[i] = statements[i][:left_out] + statements[i][left_out + 1 :]
        reports.append("; ".join(statements))
    return reports


def _is_ecg_fm(vocabulary: Path) -> bool:
    return (vocabulary / ENTITIES).is_file()


def _labeler(vocabulary: Path) -> Labeler:
    mode = "compatible" if _is_ecg_fm(vocabulary) else "default"
    return Labeler.from_vocabulary(vocabulary, mode=mode)


def compare(vocabulary: Path, number: int) -> list[dict[str, object]]:
    """Time the plain formulation and the labeler on the same reports.

    Raises:
        WrongResultError: they find different labels.
    """
    texts = pd.Series(sample_reports(number))
    read = _labeler(vocabulary)
    expected = None
    rows = []
    if _is_ecg_fm(vocabulary):
        watch = _Watch()
        *_, expected = plain_labeler.label(texts, read.vocabulary)
        rows.append(_row("plain", vocabulary, texts, watch))
    for work in ("labels", "tables"):
        labeler = Labeler(read.vocabulary, read.semantics)
        watch = _Watch()
        results = labeler.label(texts)
        labels = results.labels_flat
        if work == "tables":
            _ = results.entities, results.descriptors, results.pattern_results, results.labels
        rows.append(_row(work, vocabulary, texts, watch))
        if (
            expected is not None
            and labels.reset_index().values.tolist() != expected.values.tolist()
        ):
            raise common.WrongResultError("the labeler and the plain formulation differ")
    return rows


def stream(vocabulary: Path, number: int, workers: int) -> dict[str, object]:
    """Time ``fairseq-ecg label`` on a CSV file of reports."""
    labeler = _labeler(vocabulary)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "reports.csv")
        texts = pd.Series(sample_reports(number), name="report")
        texts.to_csv(path, index_label="study")
        labels = read_label_set(None, labeler.vocabulary)
        watch = _Watch()
        label_reports(
            path,
            Path(folder, "out"),
            labeler,
            labels,
            text_columns=["report"],
            id_column="study",
            threshold=0.0,
            workers=workers,
        )
        row = _row(f"stream, {workers} processes", vocabulary, texts, watch)
    users = (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    return row | {"peak_MB": max(resource.getrusage(user).ru_maxrss for user in users) / 1000}


class _Watch:
    """Measures time from when it is made."""

    def __init__(self):
        self._start = time.perf_counter(), self._cores()

    def read(self) -> tuple[float, float]:
        """Return seconds of wall time, and of the processor in this process and in ended ones."""
        return time.perf_counter() - self._start[0], self._cores() - self._start[1]

    def _cores(self) -> float:
        users = (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
        usages = [resource.getrusage(user) for user in users]
        return sum(usage.ru_utime + usage.ru_stime for usage in usages)


def _row(work: str, vocabulary: Path, texts: pd.Series, watch: _Watch) -> dict[str, object]:
    seconds, core_seconds = watch.read()
    return {
        "work": work,
        "vocabulary": vocabulary.name,
        "reports": len(texts),
        "unique": texts.nunique(),
        "seconds": seconds,
        "core_seconds": core_seconds,
        "reports_per_core_s": len(texts) / core_seconds,
        "peak_MB": float("nan"),
    }


def main() -> None:
    """Time everything, print and write the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--vocabulary", type=Path, default=DEFAULT_FOLDER, help="folder of a vocabulary"
    )
    parser.add_argument("--compared", type=int, default=2000, help="reports that are compared")
    parser.add_argument("--reports", type=int, default=800_000, help="reports of the stream")
    parser.add_argument("--workers", type=int, default=joblib.cpu_count(), help="processes")
    parser.add_argument("--out", type=Path, default=common.ROOT / "benchmarks" / "results")
    arguments = parser.parse_args()
    cpu = torch.device("cpu")
    rows = compare(arguments.vocabulary, arguments.compared)
    rows.append(stream(arguments.vocabulary, arguments.reports, arguments.workers))
    common.show(rows, COLUMNS)
    machine = common.machine(cpu)
    path = arguments.out / f"{common.slug(cpu)}_labeler.csv"
    common.write_csv([row | machine for row in rows], path)


if __name__ == "__main__":
    main()
