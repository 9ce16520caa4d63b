"""What is prepared for training is what a prediction gives its network, to the last bit."""

from pathlib import Path

import numpy as np
import pytest
from scipy.io import loadmat, savemat

from fairseq_ecg.data import ECGDataset
from fairseq_ecg.ecg import blocks
from fairseq_ecg.ecg.leads import LEADS
from fairseq_ecg.ecg.preprocessing import Preprocessing
from fairseq_ecg.inference.recordings import Description, recordings_in
from fairseq_ecg.prepare.archive import prepare_signals
from fairseq_ecg.prepare.sources.generic import Generic
from fairseq_ecg.prepare.stages import Settings
from tests.prepare.sources.test_generic import write_wfdb

RATE, SECONDS = 100, 2.0
SHUFFLED = ("V6", "II", "aVL", "V1", "I", "V3", "aVF", "V2", "III", "V5", "aVR", "V4")
RECORDINGS = {
    "at the network's rate": (100, LEADS, 7.3),
    "slower": (64, LEADS, 7.3),
    "faster": (257, LEADS[::-1], 7.3),
    "much faster": (1000, SHUFFLED, 4.0),
    "two leads": (100, ("II", "V5"), 7.3),
    "chest leads, resampled": (250, LEADS[6:][::-1], 6.0),
    "one segment": (100, SHUFFLED, 2.0),
}
FILES = ("wfdb", "npy", "csv", "mat", "npz", "float32.npy")


def write(kind: str, folder: Path, signal: np.ndarray, rate: int, leads) -> str:
    """Write a recording in mV, ``(n_leads, n)``; return what names it in a command."""
    folder.mkdir()
    path = folder / f"a.{kind}"
    if kind == "wfdb":
        write_wfdb(folder, "a", signal, rate, leads)
        return str(folder / "a.hea")
    if kind.endswith("npy"):
        np.save(path, signal.astype("f4" if kind.startswith("float32") else "f8"))
    elif kind == "npz":
        np.savez(path, feats=signal, curr_sample_rate=rate)
    elif kind == "mat":
        savemat(path, {"val": signal})
    else:
        np.savetxt(path, signal.T, delimiter=",")
    return str(path)


def prepared(folder: Path, raw: Path, settings: Settings, given: dict) -> list[Path]:
    """Files of the segments that ``prepare`` makes, in their order."""
    source = Generic(raw, **given)
    folder.mkdir()
    source.records().to_csv(folder / "records.csv", index=False)
    prepare_signals(source, folder, settings)
    files = (folder / "segmented").glob("*.mat")
    return sorted(files, key=lambda path: int(path.stem.rpartition("_")[2]))


def predicted(path: str, preprocessing: Preprocessing, given: dict) -> np.ndarray:
    """Segments that a prediction gives its network, ``(n, n_leads, n_samples)`` float32."""
    (recording,) = recordings_in([path], Description(**given))
    return np.stack([one.numpy() for one in recording.segmented(preprocessing).segments])


def bits(segments) -> np.ndarray:
    return np.stack(segments).astype(np.float32).view(np.uint32)


@pytest.mark.parametrize(
    ("kind", "resampler", "in_blocks"),
    [
        *((kind, "linear", False) for kind in FILES),
        ("wfdb", "polyphase", False),
        ("wfdb", "linear", True),
        ("npz", "polyphase", True),
    ],
)
@pytest.mark.parametrize("what", RECORDINGS)
def test_training_and_predictions_see_the_same_bits(
    kind, what, resampler, in_blocks, tmp_path, monkeypatch
):
    rate, leads, seconds = RECORDINGS[what]
    rng = np.random.default_rng(len(leads) + rate)
    signal = rng.normal(0.2, 0.5, (len(leads), round(rate * seconds))).round(3)
    given = {} if kind == "wfdb" else {"sample_rate": rate, "leads": leads, "units": "mV"}
    path = write(kind, tmp_path / "raw", signal, rate, leads)
    if in_blocks:
        monkeypatch.setattr(blocks, "BLOCK_SAMPLES", 150)
    settings = Settings(RATE, SECONDS, nan_policy="zero", resampler=resampler)
    files = prepared(tmp_path / "prepared", tmp_path / "raw", settings, given)
    preprocessing = Preprocessing(
        RATE, SECONDS, resampler=resampler, epsilon=0.0, missing_leads="zero", keep_single=True
    )
    found = predicted(path, preprocessing, given)
    assert len(files) == len(found) >= 1
    np.testing.assert_array_equal(bits([loadmat(file)["feats"] for file in files]), bits(found))


@pytest.mark.parametrize("standardise", [True, False])
@pytest.mark.parametrize("leads", [("II", "V1"), ("V6", "I", "aVF"), LEADS])
def test_files_of_segments_are_given_to_training_and_to_the_network_as_they_are(
    leads, standardise, tmp_path
):
    signal = np.random.default_rng(0).normal(0.2, 0.5, (12, 1100)).round(3)
    path = write("wfdb", tmp_path / "raw", signal, 250, SHUFFLED)
    settings = Settings(RATE, SECONDS, standardise=standardise)
    files = prepared(tmp_path / "prepared", tmp_path / "raw", settings, {})
    preprocessing = Preprocessing(RATE, SECONDS, leads=leads, epsilon=0.0, standardise=standardise)
    expected = bits(list(predicted(path, preprocessing, {})))
    manifest = tmp_path / "train.tsv"
    rows = "".join(f"{file.name}\t{round(RATE * SECONDS)}\n" for file in files)
    manifest.write_text(f"\t{files[0].parent}/\n{rows}")
    dataset = ECGDataset(manifest, leads_to_load=leads)
    loaded = [dataset[i]["source"].numpy() for i in range(len(dataset))]
    np.testing.assert_array_equal(bits(loaded), expected)
    if standardise:
        again = predicted(str(files[0].parent), preprocessing, {})
        np.testing.assert_array_equal(bits(again), expected)
