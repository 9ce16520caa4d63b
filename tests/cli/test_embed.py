import numpy as np
import pandas as pd
import pytest

from fairseq_ecg.cli import main
from fairseq_ecg.inference.results import FACTS

ATOL = 2e-6  # of pooled outputs: float32 sums of another order, and 1e-8 mV


@pytest.fixture(scope="module")
def expected(shared) -> np.ndarray:
    """Embeddings by fairseq_signals' ``embs.py`` of the published segments."""
    raw = np.fromfile(shared / "golden" / "extract_small" / "encoder_out_test.npy", np.float32)
    frames = raw.reshape(14, 156, 64)
    return frames.sum(axis=1) / (frames != 0).sum(axis=1)


@pytest.mark.parametrize("stage", ["org", "segmented"])
def test_arrays_and_what_their_rows_are(stage, network, shared, expected, tmp_path, capsys):
    folder = shared / "ecg" / "code_15" / stage
    out, segments = tmp_path / "e.npy", tmp_path / "s.npy"
    arguments = [network[0], str(folder), f"--out={out}", f"--segments={segments}"]
    assert main(["embed", *arguments]) == 0
    files = [tmp_path / f"{name}.{suffix}" for name in "es" for suffix in ("npy", "rows.csv")]
    assert capsys.readouterr().out == f"10 recordings: {', '.join(map(str, files))}\n"
    found = np.load(out)
    assert (found.dtype, found.shape) == (np.float32, (10, 64))
    np.testing.assert_allclose(np.load(segments), expected, rtol=0, atol=ATOL)
    np.testing.assert_allclose(found[1], expected[1:3].mean(axis=0), rtol=0, atol=ATOL)
    rows = pd.read_csv(tmp_path / "e.rows.csv")
    assert rows["recording"].iloc[1] == str(folder / "code_15_1594286.mat")
    spans = pd.read_csv(tmp_path / "s.rows.csv")
    assert spans[["segment", "start", "end"]].to_numpy().tolist()[1:3] == [[0, 0, 5], [1, 5, 10]]


@pytest.mark.parametrize("suffix", ["csv", "tsv", "parquet"])
def test_tables(suffix, shared, tmp_path):
    folder = shared / "ecg" / "code_15" / "segmented"
    network = str(shared / "golden" / "pretrain_small.pt")
    for name in (f"e.{suffix}", "e.npy"):
        assert main(["embed", network, str(folder), f"--out={tmp_path / name}"]) == 0
    path = tmp_path / f"e.{suffix}"
    if suffix == "parquet":
        table = pd.read_parquet(path)
    else:
        table = pd.read_csv(path, sep="\t" if suffix == "tsv" else ",")
    assert list(table.columns[1 + len(FACTS) :]) == [str(channel) for channel in range(64)]
    array = np.load(tmp_path / "e.npy")
    np.testing.assert_array_equal(table.iloc[:, 1 + len(FACTS) :].to_numpy(np.float32), array)


def test_errors(network, tmp_path, capsys):
    assert main(["embed", network[0], str(tmp_path), f"--out={tmp_path / 'e.npy'}"]) == 2
    assert "no recordings in" in capsys.readouterr().err
    assert main(["embed", network[0], "none.mat", f"--out={tmp_path / 'e.npz'}"]) == 2
    assert "Let its name end with .csv, .tsv, .parquet, .npy" in capsys.readouterr().err
    assert main(["embed", network[0], "none.mat", f"--out={tmp_path / 'e.npy'}"]) == 2
    assert "none.mat" in capsys.readouterr().err
