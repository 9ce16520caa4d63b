import numpy as np
import pandas as pd
import pytest

from fairseq_ecg.cli import main

ATOL = 2e-6  # of attention weights: float32 sums of another order, and 1e-8 mV


@pytest.fixture(scope="module")
def expected(shared) -> np.ndarray:
    """Attention by fairseq_signals' ``saliency.py`` of the published segments."""
    raw = np.fromfile(shared / "golden" / "extract_small" / "saliency_test.npy", np.float32)
    return raw.reshape(14, 2, 156, 156)[:, -1].max(axis=2)


def test_frames_of_recordings(network, shared, expected, tmp_path):
    folder = shared / "ecg" / "code_15" / "org"
    for name in ("s.npy", "s.parquet"):
        assert main(["saliency", network[0], str(folder), f"--out={tmp_path / name}"]) == 0
    np.testing.assert_allclose(np.load(tmp_path / "s.npy"), expected, rtol=0, atol=ATOL)
    rows = pd.read_csv(tmp_path / "s.rows.csv")
    assert list(rows.columns) == ["recording", "segment", "start", "end"]
    table = pd.read_parquet(tmp_path / "s.parquet")
    np.testing.assert_array_equal(
        table["saliency"].to_numpy(np.float32), np.load(tmp_path / "s.npy").ravel()
    )
    second = table[(table["recording"] == rows["recording"][2]) & (table["segment"] == 1)]
    # Four convolutions of width and stride 2: frames of 16 samples at 500 Hz, without gaps.
    np.testing.assert_allclose(second["start"], 5 + np.arange(156) * 0.032)
    np.testing.assert_allclose(second["end"], 5 + np.arange(1, 157) * 0.032)


@pytest.mark.parametrize("method", ["attention", "rollout"])
def test_samples_of_a_recording(method, network, shared, tmp_path):
    named = shared / "ecg" / "code_15" / "org" / "code_15_1594286.mat"
    out = tmp_path / "s.csv"
    options = ["--samples", f"--method={method}"]
    assert main(["saliency", network[0], str(named), f"--out={out}", *options]) == 0
    table = pd.read_csv(out)
    assert table["recording"].unique().tolist() == [str(named)]
    assert table["sample"].tolist() == list(range(4096))
    np.testing.assert_allclose(table["time"], np.arange(4096) / 400)
    covered = table["saliency"].notna()
    assert covered.sum() == 4000  # two segments of 5 s at 400 Hz
    assert covered[:4000].all()
    assert table["saliency"].std() > 0


def test_samples_are_no_array(network, tmp_path, capsys):
    arguments = [network[0], "r.hea", f"--out={tmp_path / 's.npy'}", "--samples"]
    with pytest.raises(SystemExit) as exit_:
        main(["saliency", *arguments])
    assert exit_.value.code == 2
    assert "--samples does not go with .npy" in capsys.readouterr().err
