import csv
from typing import get_args

import numpy as np
import pytest

from fairseq_ecg.cli import main
from fairseq_ecg.cli.label.options import Mode
from fairseq_ecg.labeler.semantics import MODES


def test_all_modes_can_be_chosen():
    assert set(get_args(Mode)) == set(MODES)


@pytest.mark.parametrize("words", [[], ["reports"], ["graph"], ["why"], ["codes"]], ids=" ".join)
def test_every_option_is_explained(words, capsys):
    with pytest.raises(SystemExit) as exit_:
        main(["label", *words, "--help"])
    assert exit_.value.code == 0
    assert "None" not in capsys.readouterr().out


def test_reports_are_meant_where_no_command_is_named(tmp_path, capsys):
    (tmp_path / "a.csv").write_text("report\nSinus rhythm\npossible infarction\n")
    arguments = [str(tmp_path / "a.csv"), "--text-column", "report"]
    assert main(["label", *arguments, "--out", str(tmp_path / "a")]) == 0
    assert "2 reports, 0 of them empty" in capsys.readouterr().out
    assert main(["label", "reports", *arguments, "--out", str(tmp_path / "b")]) == 0
    labels = (tmp_path / "a" / "labels.csv").read_text()
    assert labels == (tmp_path / "b" / "labels.csv").read_text()
    uncertain = [*arguments, "--threshold=0.5", "--out", str(tmp_path / "c")]
    assert main(["label", *uncertain]) == 0
    assert labels != (tmp_path / "c" / "labels.csv").read_text()


def test_prepare_labels_reads_what_label_writes(tmp_path):
    (tmp_path / "meta.csv").write_text(
        "idx,save_file,split,machine_report\n"
        "3,a.mat,train,Atrial fibrillation; old inferior infarct\n"
        "0,b.mat,valid,\n"
        "5,c.mat,train,Sinus rhythm; cannot rule out infarct\n"
    )
    arguments = [str(tmp_path / "meta.csv"), "--text-column", "machine_report", "--id-column=idx"]
    assert main(["label", *arguments, "--out", str(tmp_path / "labels")]) == 0
    labels, splits = f"--labels={tmp_path / 'labels/labels.csv'}", f"{tmp_path / 'meta.csv'}"
    command = ["prepare", "labels", labels, f"--meta-splits={splits}"]
    assert main([*command, "--columns=Infarction,Atrial fibrillation,Sinus rhythm",
                 "--output-dir", str(tmp_path / "y")]) == 0  # fmt: skip
    positive = np.load(tmp_path / "y" / "y.npy")
    assert positive[[3, 0, 5]].tolist() == [[1, 1, 0], [0, 0, 0], [0, 0, 1]]


def test_graph(tmp_path, capsys):
    path = tmp_path / "a.svg"
    assert main(["label", "graph", "--entity", "Infarction", "--out", str(path)]) == 0
    assert ">Infarction<" in path.read_text()
    assert "Anteroseptal infarction" in capsys.readouterr().out
    assert main(["label", "graph", "--entity", "Infract", "--out", str(path)]) == 2
    assert "there is no entity 'Infract'" in capsys.readouterr().err


def test_why(capsys):
    rarely = ["--semantics", "parent_gain=0.5"]
    assert main(["label", "why", "possible RBBB", "Bundle branch block", *rarely]) == 0
    assert "(p = 0.75)" in capsys.readouterr().out
    assert main(["label", "why", "possible infarct", "Infarction"]) == 0
    assert "Infarction [Possible]: in the text (p = 0.5)" in capsys.readouterr().out
    assert main(["label", "why", "sinus rhythm", "Infarction"]) == 0
    assert "does not hold" in capsys.readouterr().out
    for unknown in ("Infarct", "Infarction - Sharp"):
        assert main(["label", "why", "sinus rhythm", unknown]) == 2
        assert f"label {unknown!r}: there is no" in capsys.readouterr().err


def test_codes(tmp_path, capsys):
    assert main(["label", "codes"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "name,system,code"
    assert "Atrial fibrillation,scp,AFIB" in lines
    assert "Atrial fibrillation,snomed,164889003" in lines
    (tmp_path / "a.csv").write_text("report\nincomplete RBBB\nLBBB\n")
    arguments = [str(tmp_path / "a.csv"), "--text-column", "report", "--workers=1"]
    arguments += ["--labels=mimic_iv_ecg", "--out", str(tmp_path / "a")]
    assert main(["label", *arguments, "--codes=snomed"]) == 0
    with open(tmp_path / "a" / "labels.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert {code for code, value in rows[0].items() if value == "1"} - {"idx"} == {"59118001"}
    assert {code for code, value in rows[1].items() if value == "1"} == {"164909002", "idx"}
    assert main(["label", *arguments, "--codes=icd"]) == 2
    assert "it has snomed, aha, scp" in capsys.readouterr().err
