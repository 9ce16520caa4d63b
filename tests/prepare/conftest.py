"""Small archives and sources that several tests prepare."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
import pytest

from fairseq_ecg.ecg.leads import LEADS
from fairseq_ecg.errors import DataError
from fairseq_ecg.formats import ECG
from fairseq_ecg.prepare.sources import Source


class Given(Source):
    """Recordings that a test gives, by name."""

    name = "given"

    def __init__(self, recordings: Mapping[str, ECG | Exception], dataset_of: Mapping[str, str]):
        super().__init__(Path("/archive"))
        self.recordings = recordings
        self.dataset_of = dataset_of

    def records(self) -> pd.DataFrame:
        names = list(self.recordings)
        return pd.DataFrame(
            {
                "path": names,
                "save_file": [f"{name.replace('/', '_')}.mat" for name in names],
                "source": self.name,
                "dataset": [self.dataset_of.get(name, self.name) for name in names],
            }
        )

    def read(self, record):
        found = self.recordings[record["path"]]
        if isinstance(found, Exception):
            raise found
        return found


@dataclass
class Archive:
    """Recordings of a test, and the folder that they are prepared in."""

    folder: Path

    def source(self, recordings, dataset_of=()) -> Given:
        """Return the source, its ``records.csv`` written."""
        source = Given(recordings, dict(dataset_of))
        self.folder.mkdir(exist_ok=True)
        source.records().to_csv(self.folder / "records.csv", index=False)
        return source


@pytest.fixture
def archive(tmp_path) -> Archive:
    return Archive(tmp_path / "prepared")


@pytest.fixture(scope="session")
def make_ecg():
    """Make noise in mV: ``make_ecg(seed, seconds, rate)``; ``leads`` names others than the 12."""

    def make(seed=0, seconds=2.5, rate=100, leads=LEADS, **metadata) -> ECG:
        rng = np.random.default_rng(seed)
        signal = rng.normal(size=(len(leads), round(seconds * rate)))
        return ECG(f"recording {seed}", signal, tuple(leads), rate, metadata)

    return make


@pytest.fixture
def damaged() -> Exception:
    return DataError("b.dat: is damaged")


EXAM_COLUMNS = (
    "exam_id,age,is_male,nn_predicted_age,1dAVb,RBBB,LBBB,SB,ST,AF,patient_id,death,timey,"
    "normal_ecg,trace_file"
)


@pytest.fixture(scope="session")
def write_code_15():
    """Write an archive in the layout of CODE-15 %: ``write_code_15(folder, tracings, exams)``.

    ``tracings`` are ``(12, n)`` by exam, ``exams`` the rows of ``exams.csv`` (made up if None).
    """

    def write(folder: Path, tracings: Mapping[int, np.ndarray], exams=None, n_files=2) -> Path:
        folder.mkdir(parents=True, exist_ok=True)
        ids = list(tracings)
        if exams is None:
            rows = [
                f"{exam},{40 + i},{i % 2 == 0},39.5,{i % 3 == 0},False,False,False,False,"
                f"{i % 2 == 1},{i // 2},,,False,exams_part{i % n_files}.hdf5"
                for i, exam in enumerate(ids)
            ]
            (folder / "exams.csv").write_text("\n".join([EXAM_COLUMNS, *rows]) + "\n")
        else:
            exams.to_csv(folder / "exams.csv", index=False)
        for part in range(n_files):
            of_part = ids[part::n_files]
            padded = np.zeros((len(of_part) + 1, 4096, 12), np.float32)
            for row, exam in enumerate(of_part):
                n_samples = tracings[exam].shape[1]
                start = (4096 - n_samples) // 2
                padded[row, start : start + n_samples] = tracings[exam].T
            with h5py.File(folder / f"exams_part{part}.hdf5", "w") as file:
                file["exam_id"] = np.array([*of_part, 0])
                file["tracings"] = padded
        return folder

    return write
