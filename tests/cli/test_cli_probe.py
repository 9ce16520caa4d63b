import shutil

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


def test_prepared_segments(options, shared, tmp_path, capsys):
    assert main(["probe", *options]) == 0
    out = capsys.readouterr().out
    assert "macro" in out
    assert "1.000 (1.000-1.000)" in out
    assert main(["probe", *options, "--solver=sgd", "--epochs=3", "--seeds=1,2"]) == 0
    tried = pd.read_csv(tmp_path / "probe" / "trials.csv")
    assert len(tried) == 2 * 2 * 3
    ecg = next((shared / "ecg" / "code_15" / "org").glob("*.mat"))
    predicted = tmp_path / "predicted.csv"
    model = tmp_path / "probe" / "model"
    assert main(["predict", str(model), str(ecg), f"--out={predicted}"]) == 0
    assert pd.read_csv(predicted)["RBBB"].between(0, 1).all()


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
    options.append(f"--out={tmp_path / 'other'}")
    assert main(["probe", *options, "--splits", "train", "b", "c"]) == 2
    assert "no recording is of split 'b'" in capsys.readouterr().err
    (tmp_path / "t.csv").write_text(
        "path,split,RBBB\nnone.mat,train,1\nb.mat,valid,0\nc.mat,test,0\n"
    )
    assert main(["probe", *options]) == 2
    assert "none.mat" in capsys.readouterr().err


def test_an_extraction_as_linear_py_is_given_it(shared, code_15, tmp_path, capsys):
    labels = shared / "ecg" / "code_15" / "labels" / "y.npy"
    for split in ("train", "valid", "test"):
        for end in (".npy", "_header.pkl"):
            shutil.copy(
                shared / "golden" / "extract_small" / f"encoder_out_test{end}",
                tmp_path / f"encoder_out_{split}{end}",
            )
    (tmp_path / "config.yaml").write_text(
        f"task:\n  data: {code_15 / 'plain'}\n  label_file: {labels}\n"
    )
    options = [f"--directory={tmp_path}", f"--manifest_file={labels.parents[1] / 'meta.csv'}"]
    assert main(["probe", *options, "--n_epochs=20", "--lr=1e-3"]) == 0
    assert "valid: loss" in capsys.readouterr().out
    assert list(tmp_path.glob("checkpoint*_outputs_test_header.pkl"))
    assert (tmp_path / "train.csv").is_file()
    options += ["--solver=lbfgs", f"--out={tmp_path / 'better'}", *FAST]
    assert main(["probe", *options]) == 0
    assert (tmp_path / "better" / "probe.safetensors").is_file()
    assert not (tmp_path / "better" / "model").exists()


def test_options_that_need_each_other(tmp_path, capsys):
    for options, message in (
        ([], "give --data, --table or --directory"),
        (["a.pt", "--data=a", "--table=b", "--out=c"], "give one of"),
        (["--data=a", "--labels=y.npy", "--out=c"], "need a CHECKPOINT"),
        (["a.pt", "--data=a", "--out=c"], "needs --labels"),
        (["--directory=a"], "needs --manifest-file"),
        (["a.pt", "--table=b"], "give --out"),
        (["a.pt", "--table=b", "--splits", "a", "a", "b"], "three different splits"),
    ):
        with pytest.raises(SystemExit) as exit_:
            main(["probe", *options])
        assert exit_.value.code == 2
        assert message in capsys.readouterr().err
