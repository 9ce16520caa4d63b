import pandas as pd
import pytest
import torch

from fairseq_ecg.cli import main
from fairseq_ecg.inference import load_model
from fairseq_ecg.inference.results import FACTS
from tests.conftest import TINY_CMSC_MODEL
from tests.patients import write_patients
from tests.tiny_checkpoints import made


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Patients, and a network that identifies them."""
    folder = tmp_path_factory.mktemp("patients")
    write_patients(folder, {"valid_gallery": (4, 1), "valid_probe": (4, 1)}, n_samples=500)
    own = {"_name": "arcface", "num_labels": 4, "apply_mask": False}
    state = made(TINY_CMSC_MODEL | own)
    state["task_state"]["fairseq_ecg"] = {"sample_rate": 250.0, "segment_seconds": 2.0}
    torch.save(state, folder / "network.pt")
    return folder


def command(folder, out, *options) -> list[str]:
    probes, gallery = (str(folder / f"valid_{name}.tsv") for name in ("probe", "gallery"))
    arguments = [str(folder / "network.pt"), probes, f"--out={out}"]
    return ["identify", *arguments, *(options or [f"--gallery={gallery}"])]


def read(path) -> pd.DataFrame:
    if path.suffix == ".parquet":
        return pd.read_parquet(path)
    return pd.read_csv(path, sep="\t" if path.suffix == ".tsv" else ",")


@pytest.mark.parametrize("suffix", [".csv", ".tsv", ".parquet"])
def test_table_of_the_nearest(folder, suffix, tmp_path, capsys):
    out, gallery = tmp_path / f"m{suffix}", tmp_path / f"g{suffix}"
    options = [f"--gallery={folder / 'valid_gallery.tsv'}", "--top=2", "--threshold=0.9"]
    assert main(command(folder, out, *options, f"--save-gallery={gallery}")) == 0
    assert capsys.readouterr().out == f"4 recordings: {out}\n"
    table = read(out)
    columns = ["recording", *FACTS, "rank", "patient", "similarity", "nearest", "known"]
    assert list(table.columns) == columns
    assert table["rank"].tolist() == [1, 2] * 4
    model = load_model(folder / "network.pt", device="cpu")
    found = model.identify(
        folder / "valid_probe.tsv", folder / "valid_gallery.tsv", top=2, threshold=0.9
    ).table.reset_index()
    for name in ("recording", "patient", "nearest", "known"):
        assert table[name].tolist() == found[name].tolist()
    assert table["similarity"].tolist() == pytest.approx(found["similarity"].tolist(), abs=1e-6)

    assert (
        main(command(folder, tmp_path / f"again{suffix}", f"--gallery={gallery}", "--top=2")) == 0
    )
    again = read(tmp_path / f"again{suffix}")
    assert again["patient"].astype(str).tolist() == table["patient"].astype(str).tolist()
    assert "known" not in again


def test_a_run_in_parts_gives_the_same(folder, tmp_path, monkeypatch):
    whole, parts = tmp_path / "whole.csv", tmp_path / "parts.csv"
    assert main(command(folder, whole)) == 0
    monkeypatch.setattr("fairseq_ecg.inference.parts.RECORDINGS", 3)
    assert main(command(folder, parts)) == 0
    one, other = read(whole), read(parts)
    pd.testing.assert_frame_equal(one, other, rtol=0, atol=1e-6)


def test_errors(folder, tmp_path, capsys):
    out = tmp_path / "m.csv"
    assert main(command(folder, out, f"--gallery={tmp_path / 'none.tsv'}")) == 2
    error = capsys.readouterr().err
    assert "none.tsv: no such manifest, table or split of a store" in error
    assert "task.data" not in error
    assert main(command(folder, out, f"--gallery={folder / 'valid_gallery.tsv'}", "--top=0")) == 2
    assert "top=0: must be positive" in capsys.readouterr().err
    for threshold in ("1.5", "-2", "nan"):
        options = [f"--gallery={folder / 'valid_gallery.tsv'}", f"--threshold={threshold}"]
        assert main(command(folder, out, *options)) == 2
        assert f"threshold={threshold}: must be a similarity" in capsys.readouterr().err
    with pytest.raises(SystemExit) as stopped:
        main(command(folder, out, "--top=3"))
    assert stopped.value.code == 2
    assert "--gallery" in capsys.readouterr().err
    assert main(["predict", str(folder / "network.pt"), "none.mat", f"--out={out}"]) == 2
    assert not out.exists()
