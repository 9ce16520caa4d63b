"""Simulated recordings of patients, with the manifests of their identification."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import scipy.io

SAMPLE_RATE = 250
COUNTS = {"train": (100, 3), "valid_gallery": (25, 1), "valid_probe": (25, 1)}
"""Number of patients of a manifest, and of the recordings of each; validation has others."""

TIMES = np.array([-0.16, -0.03, 0.0, 0.03, 0.28])
WIDTHS = np.array([0.02, 0.008, 0.01, 0.012, 0.05])
SIZES = np.array([0.1, 0.15, 1.0, 0.4, 0.3])
"""Of P, Q, R, S and T: seconds after R, standard deviation in seconds, and mV."""


def record(person: int, session: int, n_samples: int) -> np.ndarray:
    """Simulate a recording: beats whose waves have the patient's own size in each lead.

    Args:
        person: number of the patient.
        session: number of the recording, which has its own rate and noise.
        n_samples: at 250 Hz.

    Returns:
        ``(12, n_samples)`` float64 in mV.
    """
    of_all, of_patient = np.random.default_rng(0), np.random.default_rng([0, person])
    amplitudes = of_all.normal(size=(5, 12)) + 0.35 * of_patient.normal(size=(5, 12))
    amplitudes *= SIZES[:, None]
    rng = np.random.default_rng([1, person, session])
    intervals = rng.uniform(0.7, 1.0) * (1 + 0.03 * rng.normal(size=n_samples // 100 + 4))
    peaks = rng.uniform(-0.5, 0.0) + np.cumsum(intervals)
    time = np.arange(n_samples) / SAMPLE_RATE
    waves = np.exp(-0.5 * ((time - peaks[:, None, None] - TIMES[:, None]) / WIDTHS[:, None]) ** 2)
    return amplitudes.T @ waves.sum(axis=0) + 0.03 * rng.normal(size=(12, n_samples))


def write_patients(
    folder: Path, counts: Mapping[str, tuple[int, int]] = COUNTS, n_samples: int = 1000
) -> None:
    """Write ``segmented/*.mat`` and ``<name>.tsv`` with classes.

    Args:
        folder: where to.
        counts: by the name of a manifest. Gallery and probes are of the same patients.
        n_samples: length of a recording at 250 Hz.
    """
    root = folder / "segmented"
    root.mkdir(parents=True)
    for name, (patients, recordings) in counts.items():
        rows = [str(root)]
        for number in range(patients):
            person = number if name == "train" else 1000 + number
            for recording in range(recordings):
                session = recording + 100 * (name == "valid_probe")
                file = f"{name}_{person}_{recording}_0.mat"
                variables = {
                    "feats": record(person, session, n_samples),
                    "curr_sample_rate": SAMPLE_RATE,
                    "patient_id": person,
                    "idx": 1000 * person + session,
                }
                scipy.io.savemat(root / file, variables)
                rows.append(f"{file}\t{n_samples}\t{number}")
        (folder / f"{name}.tsv").write_text("\n".join(rows) + "\n")
