"""Simulated recordings of patients, with the manifests of their identification."""

import importlib.util
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import scipy.io

from tests.conftest import ROOT

SAMPLE_RATE = 250
N_SAMPLES = 1000
COUNTS = {"train": (48, 4), "valid_gallery": (24, 1), "valid_probe": (24, 1)}
"""Number of patients of a manifest, and of the recordings of each; validation has others."""


def _simulator():
    path = ROOT / "examples" / "demo" / "simulator.py"
    spec = importlib.util.spec_from_file_location("simulator", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


_OTHER_RHYTHMS = {
    "Sinus bradycardia",
    "Sinus tachycardia",
    "Atrial fibrillation",
    "Premature ventricular contraction",
}


def _in_sinus_rhythm(simulator, patient, rng: np.random.Generator) -> np.ndarray:
    """Record a patient until the rhythm is one of every day."""
    while True:
        ecg, labels = simulator.record(patient, rng)
        if not labels & _OTHER_RHYTHMS:
            return ecg


def write_patients(
    folder: Path, counts: Mapping[str, tuple[int, int]] = COUNTS, n_samples: int = N_SAMPLES
) -> None:
    """Write ``segmented/*.mat`` and ``<name>.tsv`` with classes.

    Args:
        folder: where to.
        counts: by the name of a manifest. Gallery and probes are of the same patients.
        n_samples: length of a recording at 250 Hz.
    """
    simulator = _simulator()
    root = folder / "segmented"
    root.mkdir(parents=True)
    for name, (patients, recordings) in counts.items():
        rows = [str(root)]
        first = 0 if name == "train" else 1000
        for number in range(patients):
            person = first + number
            patient = simulator.draw_patient(np.random.default_rng([0, person]))
            rng = np.random.default_rng([1, person, name.endswith("probe")])
            for recording in range(recordings):
                ecg = _in_sinus_rhythm(simulator, patient, rng)
                file = f"{name}_{person}_{recording}_0.mat"
                scipy.io.savemat(
                    root / file,
                    {
                        "feats": ecg[:, : 2 * n_samples : 2],
                        "curr_sample_rate": SAMPLE_RATE,
                        "patient_id": person,
                        "idx": 10 * person + recording,
                    },
                )
                rows.append(f"{file}\t{n_samples}\t{number}")
        (folder / f"{name}.tsv").write_text("\n".join(rows) + "\n")
