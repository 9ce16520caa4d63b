"""Files with texts against those that fairseq_signals wrote of the same archives."""

import json
import tarfile
from pathlib import Path

import numpy as np
import pytest
import scipy.io

from fairseq_ecg.cli import main
from fairseq_ecg.cli.options import EXIT_SOME_LEFT_OUT

LEFT_OUT = {"mimic/44458630.mat": "report is empty", "mimic/49036311.mat": "excluded"}
"""What fairseq_signals wrote all the same: an empty report, and what ``--exclude`` named."""


@pytest.fixture(scope="module")
def archives(shared, tmp_path_factory) -> Path:
    """The recorded archives, with a folder ``vocab.txt`` of their tokens."""
    folder = tmp_path_factory.mktemp("archives").resolve()
    recorded = shared / "golden" / "rest_text"
    with tarfile.open(recorded / "preprocess" / "inputs.tar.xz") as file:
        file.extractall(folder, filter="data")
    for path in folder.rglob("*.json"):
        path.write_text(path.read_text().replace("@ROOT@", str(folder)))
    (folder / "vocab.txt").write_bytes((recorded / "vocab.txt").read_bytes())
    return folder


@pytest.fixture(scope="module")
def recorded(shared, archives):
    """Recorded files by name, of one folder: ``recorded(name)``."""
    path = shared / "golden" / "rest_text" / "preprocess" / "expected.json"
    text = path.read_text().replace("@ROOT@", str(archives)).replace("@OUT@", str(archives / "out"))
    files = json.loads(text)

    def of_folder(folder):
        return {name: file for name, file in files.items() if name.startswith(f"{folder}/")}

    return of_folder


def assert_same_mat(path: Path, expected: dict, *, sorted_by: str | None = None) -> None:
    """Compare all variables; rows of ``sorted_by`` may be in another order in the recording."""
    found = {key: value for key, value in scipy.io.loadmat(path).items() if key[0] != "_"}
    assert sorted(found) == sorted(expected)
    for key, of_key in expected.items():
        assert list(found[key].shape) == of_key["shape"], key
        assert {"U": "str"}.get(found[key].dtype.kind, str(found[key].dtype)) == of_key["dtype"], (
            key
        )
        if key == "feats":
            assert found[key].sum() == of_key["sum"]
            assert found[key][:, 0].tolist() == of_key["first"]
            assert found[key][:, -1].tolist() == of_key["last"]
        elif sorted_by and np.ndim(of_key["value"]) == 2 and key != "lead":
            order = np.argsort(expected[sorted_by]["value"][0])
            assert found[key].tolist() == np.array(of_key["value"])[:, order].tolist(), key
        else:
            assert found[key].tolist() == of_key["value"], key


@pytest.mark.parametrize(
    ("name", "source", "options", "n_train_valid_test"),
    [
        ("ptbxl", "ptb_xl", ["--valid-percent=0.34"], (1, 1, 1)),
        ("mimic", "mimic_iv_ecg", [], (1, 0, 0)),
    ],
)
def test_reports(archives, recorded, name, source, options, n_train_valid_test):
    out = archives / "out" / name
    exclude = f"--exclude={archives / name / 'exclude.tsv'}"
    command = ["prepare", "text", f"--source={source}", f"--raw-root={archives / name}"]
    status = main([*command, f"--processed-root={out}", exclude, *options])
    assert status == EXIT_SOME_LEFT_OUT  # a record with NaN, and an empty report
    files = recorded(name)
    for file, expected in files.items():
        if file not in LEFT_OUT:
            assert_same_mat(out / "segmented" / Path(file).name, expected)
    there = {f"{name}/{path.name}" for path in (out / "segmented").iterdir()}
    assert there == set(files) - set(LEFT_OUT)
    manifests = {f"{name}_manifest/{path.name}": path for path in (out / "manifests").iterdir()}
    lines, wanted = [], []
    for file, expected in recorded(f"{name}_manifest").items():
        root, *rows = manifests[file].read_text().split("\n")
        assert [root, rows[-1]] == [str(out / "segmented"), expected[-1]]
        lines += rows[:-1]
        wanted += [row for row in expected[1:-1] if f"{name}/{row.split()[0]}" not in LEFT_OUT]
    assert sorted(lines) == sorted(wanted)
    counts = [
        len(manifests[f"{name}_manifest/{split}.tsv"].read_text().splitlines()) - 1
        for split in ("train", "valid", "test")
    ]
    assert counts == list(n_train_valid_test)


@pytest.mark.parametrize("ecg_root", [True, False])
@pytest.mark.parametrize(
    ("name", "options"), [("qa_template", []), ("qa_paraphrased", ["--paraphrased"])]
)
def test_questions(archives, recorded, name, options, ecg_root):
    out = archives / "out" / name
    command = ["prepare", "--source", "ecg_qa", f"--raw-root={archives / 'ecgqa'}"]
    command += [f"--ecg-root={archives / 'ptbxl'}"] * ecg_root
    tokenizer = f"--tokenizer={archives / 'vocab.txt'}"
    assert main([*command, f"--processed-root={out}", tokenizer, "--again", *options]) == 0
    compare(archives, recorded(name), out)


def test_grounding(archives, recorded):
    out = archives / "out" / "grounding"
    command = ["prepare", "grounding", f"--raw-root={archives / 'ecgqa'}"]
    assert main([*command, f"--processed-root={out}"]) == 0
    compare(archives, recorded("grounding"), out, sorted_by="target_idx")


def compare(archives: Path, files: dict, out: Path, *, sorted_by: str | None = None) -> None:
    """Compare all files of a folder with the recorded ones."""
    for file, expected in files.items():
        path = archives / "out" / file
        if path.suffix == ".mat":
            assert_same_mat(path, expected, sorted_by=sorted_by)
            continue
        lines = path.read_text().split("\n")
        assert (sorted(lines), lines[0]) == (sorted(expected), expected[0])
        if not sorted_by:
            assert lines == expected
    written = {str(path.relative_to(archives / "out")) for path in out.rglob("*.mat")}
    assert written == {file for file in files if file.endswith(".mat")}
