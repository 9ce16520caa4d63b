import pandas as pd
import pytest

from fairseq_ecg.cli import main

FAST = ["--penalties=0.1,0.01", "--resamples=20"]


@pytest.fixture
def options(shared, code_15, tmp_path):
    root = shared / "ecg" / "code_15" / "labels"
    return [
        str(shared / "golden" / "pretrain_small.pt"),
        f"--data={code_15 / 'plain'}",
        f"--labels={root / 'y.npy'}",
        f"--label-def={root / 'label_def.csv'}",
        f"--out={tmp_path / 'probe'}",
        *FAST,
    ]


def test_prepared_segments(options, tmp_path, capsys):
    assert main(["probe", *options]) == 0
    out = capsys.readouterr().out
    assert "macro" in out
    assert "1.000 (1.000-1.000)" in out
    assert main(["probe", *options, "--solver=sgd", "--epochs=3", "--seeds=1,2"]) == 0
    tried = pd.read_csv(tmp_path / "probe" / "trials.csv")
    assert len(tried) == 2 * 2 * 3
    root = tmp_path / "probe"
    assert (root / "model" / "config.json").is_file()


def test_the_compatible_solver(options, tmp_path, capsys):
    assert main(["probe", *options, "--solver=compatible", "--n_epochs=10"]) == 0
    assert capsys.readouterr().out.startswith("valid: loss ")
    assert len(pd.read_csv(tmp_path / "probe" / "train.csv")) == 10
    assert main(["probe", *options, "--solver=compatible", "--n-epochs=5"]) == 2
    assert "n_epochs 5" in capsys.readouterr().err


def test_a_table_of_recordings(shared, tmp_path, capsys):
    root = shared / "ecg" / "code_15"
    meta = pd.read_csv(root / "meta.csv")
    table = pd.DataFrame({"path": [f"{root / 'org' / name}" for name in meta["save_file"]]})
    table["male"], table["RBBB"] = meta["is_male"], meta["RBBB"]
    rows = [table.assign(split=split) for split in ("train", "valid", "test")]
    pd.concat(rows).to_csv(tmp_path / "t.csv", index=False)
    options = [str(shared / "golden" / "diagnosis_small.pt"), f"--table={tmp_path / 't.csv'}"]
    assert main(["probe", *options, f"--out={tmp_path / 'probe'}", *FAST]) == 0
    out = capsys.readouterr().out
    assert "RBBB" in out
    (tmp_path / "t.csv").write_text("path,split,RBBB\nnone.mat,train,1\n")
    assert main(["probe", *options, f"--out={tmp_path / 'other'}", "--splits", *["train"] * 3]) == 2
    assert "none.mat" in capsys.readouterr().err


def test_options_that_need_each_other(tmp_path, capsys):
    for options, message in (
        ([], "give --data, --table or --directory"),
        (["a.pt", "--data=a", "--table=b", "--out=c"], "give one of"),
        (["--data=a", "--labels=y.npy", "--out=c"], "need a CHECKPOINT"),
        (["a.pt", "--data=a", "--out=c"], "needs --labels"),
        (["--directory=a"], "needs --manifest-file"),
        (["a.pt", "--table=b"], "give --out"),
    ):
        with pytest.raises(SystemExit) as exit_:
            main(["probe", *options])
        assert exit_.value.code == 2
        assert message in capsys.readouterr().err
