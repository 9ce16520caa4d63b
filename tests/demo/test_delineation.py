"""Labels of samples of the demonstration."""

import csv

import label_samples
import numpy as np
import pytest
import scipy.io
import simulate
import simulator


@pytest.fixture
def recordings(monkeypatch, tmp_path):
    """A folder of four records, and a table that divides them."""
    options = ["--out", str(tmp_path / "recordings"), "--recordings", "4", "--seed", "3"]
    monkeypatch.setattr("sys.argv", ["simulate.py", *options])
    assert simulate.main() == 0
    with open(tmp_path / "meta_split.csv", "w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["idx", "save_file", "split"])
        for number, split in enumerate(("train", "train", "valid", "test")):
            table.writerow([number, f"simulated_sim{number:05d}.mat", split])
    return tmp_path


def run(monkeypatch, program, *options):
    monkeypatch.setattr("sys.argv", [program.__name__, *map(str, options)])
    return program.main()


def test_samples_have_the_classes_of_the_simulated_waves(monkeypatch, recordings):
    inputs = ["--recordings", recordings / "recordings", "--splits", recordings / "meta_split.csv"]
    assert run(monkeypatch, label_samples, *inputs, "--out", recordings / "waves") == 0
    for number, recording in enumerate(simulator.recordings(4, seed=3)):
        mat = scipy.io.loadmat(recordings / "waves" / f"sim{number:05d}.mat")
        assert mat["feats"].shape == (12, 2500)
        assert mat["curr_sample_rate"] == 250
        expected = np.full(2500, 3)
        for kind in (2, 1, 0):
            for wave in recording.waves:
                if wave.kind == ("p", "qrs", "t")[kind]:
                    expected[round(wave.onset / 2) : round(wave.offset / 2) + 1] = kind
        np.testing.assert_array_equal(mat["segment_label"].ravel(), expected)
    manifests = {
        split: (recordings / "waves" / f"{split}.tsv").read_text().splitlines()
        for split in ("train", "valid", "test")
    }
    root = str(recordings / "waves")
    assert manifests["train"] == [root, "sim00000.mat\t2500", "sim00001.mat\t2500"]
    assert manifests["test"] == [root, "sim00003.mat\t2500"]
    assert run(monkeypatch, label_samples, *inputs, "--out", recordings / "waves") == 2
