import subprocess
import sys

import pandas as pd
import pytest
import torch

from fairseq_ecg.cli import main


@pytest.mark.parametrize(
    "command",
    [
        "prepare",
        "evaluate",
        "predict",
        "embed",
        "saliency",
        "probe",
        "benchmark",
        "plot",
        "report",
        "pool",
    ],
)
def test_every_option_is_explained(command, capsys):
    with pytest.raises(SystemExit) as exit_:
        main([command, "--help"])
    assert exit_.value.code == 0
    text = capsys.readouterr().out
    assert "Usage: fairseq-ecg" in text
    assert "None" not in text


def test_help_does_not_wait_for_imports():
    program = (
        "import sys, fairseq_ecg.cli as cli; app = cli.program(); "
        "[group.resolved_commands() for group in (app, *app.resolved_commands().values())]; "
        "print(*{'torch', 'numpy', 'fairseq', 'matplotlib', 'wfdb'} & set(sys.modules))"
    )
    result = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert result.stdout.strip() == ""


def test_mistakes_are_reported_in_one_line(tmp_path, capsys):
    assert main(["prepare", "signals", f"--processed-root={tmp_path}"]) == 2
    error = capsys.readouterr().err
    assert error == (
        f"fairseq-ecg: {tmp_path}/source.yaml: no such file. Run the step 'records' first\n"
    )
    assert main(["plot", str(tmp_path / "none"), "--out", str(tmp_path / "a.png")]) == 2
    assert "no such WFDB header" in capsys.readouterr().err


def test_options_that_need_each_other(tmp_path, capsys):
    for options in (["--label-def", "a.csv"], ["--truth", "a.csv"]):
        with pytest.raises(SystemExit) as exit_:
            main(["plot", "record", "--out", str(tmp_path / "a.png"), *options])
        assert exit_.value.code == 2
        assert "need" in capsys.readouterr().err


@pytest.fixture
def code_15(shared, tmp_path):
    """Options of evaluate for the published recordings."""
    root = shared / "ecg" / "code_15"
    files = sorted((root / "segmented").glob("*.mat"))
    lines = [f"\t{root / 'segmented'}/", *(f"{file.name}\t2500" for file in files)]
    (tmp_path / "test.tsv").write_text("\n".join(lines) + "\n")
    return [
        str(shared / "golden" / "diagnosis_small.pt"),
        f"--manifest={tmp_path / 'test.tsv'}",
        f"--labels={root / 'labels' / 'y.npy'}",
        f"--label-def={root / 'labels' / 'label_def.csv'}",
    ]


def test_evaluate_says_whether_the_requirement_holds(code_15, tmp_path, capsys):
    options = [*code_15, "--baseline=untrained", f"--out={tmp_path / 'scores.csv'}"]
    assert main(["evaluate", *options, "--require-auroc=0.9"]) == 0
    output = capsys.readouterr().out
    assert "macro AUROC 0.959 on 10 recordings: above the required 0.9" in output
    assert "untrained AUROC" in output
    assert len((tmp_path / "scores.csv").read_text().splitlines()) == 10
    assert main(["evaluate", *code_15, "--require-auroc=0.99"]) == 1
    assert "macro AUROC 0.959 on 10 recordings: NOT above the required 0.99" in (
        capsys.readouterr().out
    )


def test_evaluate_stores_and_tables(code_15, shared, tmp_path, capsys):
    checkpoint, manifest, labels, names = code_15
    root = shared / "ecg" / "code_15"
    assert main(["evaluate", *code_15]) == 0
    scores = capsys.readouterr().out
    (tmp_path / "manifests").mkdir()
    (tmp_path / "test.tsv").rename(tmp_path / "manifests" / "test.tsv")
    assert main(["store", "pack", str(tmp_path / "manifests"), str(tmp_path / "store")]) == 0
    capsys.readouterr()
    stored = f"--manifest={tmp_path / 'store' / 'test'}"
    assert main(["evaluate", checkpoint, stored, labels, names]) == 0
    assert capsys.readouterr().out == scores

    truth = pd.read_csv(root / "labels" / "labels.csv", index_col="idx").astype(int)
    meta = pd.read_csv(root / "meta_split.csv", index_col="idx")
    table = truth.assign(path=[root / "org" / name for name in meta.loc[truth.index, "save_file"]])
    table.assign(split="test").to_csv(tmp_path / "labelled.csv", index=False)
    listed = f"--table={tmp_path / 'labelled.csv'}"
    for options in ([], ["--split=test"]):
        assert main(["evaluate", checkpoint, listed, names, *options]) == 0
        assert capsys.readouterr().out == scores
    assert main(["evaluate", checkpoint, listed, names, "--split=train"]) == 2
    assert "no recording is of split 'train'" in capsys.readouterr().err
    for wrong in ([listed, labels], [manifest, "--split=test"]):
        with pytest.raises(SystemExit):
            main(["evaluate", checkpoint, *wrong, names])
        assert "goes with" in capsys.readouterr().err


def test_evaluate_needs_labels_that_hold_or_not(code_15, tmp_path, capsys):
    state = torch.load(code_15[0], weights_only=True)
    state["cfg"]["criterion"] = {"_name": "regression", "target_mean": None, "target_std": None}
    torch.save(state, tmp_path / "regression.pt")
    assert main(["evaluate", str(tmp_path / "regression.pt"), *code_15[1:]]) == 2
    assert "is a regression, it predicts no labels" in capsys.readouterr().err
    assert main(["evaluate", *code_15, "--batch-size=0"]) == 2
    assert "batch_size=0: must be positive" in capsys.readouterr().err


def test_plot_with_prediction_and_truth(shared, tmp_path):
    root = shared / "ecg" / "code_15"
    truth = (root / "labels" / "labels.csv").read_text().splitlines()
    meta = (root / "meta_split.csv").read_text().splitlines()[1:]
    names = {line.split(",")[0]: line.split(",")[1].removesuffix(".mat") for line in meta}
    rows = [f"record,{truth[0]}"] + [f"{names[row.split(',')[0]]},{row}" for row in truth[1:]]
    (tmp_path / "labels.csv").write_text("\n".join(rows) + "\n")
    options = [
        f"--out={tmp_path / 'a.png'}",
        f"--checkpoint={shared / 'golden' / 'diagnosis_small.pt'}",
        f"--label-def={root / 'labels' / 'label_def.csv'}",
        f"--truth={tmp_path / 'labels.csv'}",
    ]
    assert main(["plot", str(root / "org" / "code_15_438277.mat"), *options]) == 0
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")


def test_a_pre_trained_checkpoint_cannot_be_evaluated(code_15, shared, capsys):
    options = [str(shared / "golden" / "pretrain_small.pt"), *code_15[1:]]
    assert main(["evaluate", *options]) == 2
    error = capsys.readouterr().err
    assert "predicts no labels" in error
    assert error.count("\n") == 1
