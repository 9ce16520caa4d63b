import csv
import pickle

import numpy as np
import pytest
import torch

from fairseq_ecg.data import DataError
from fairseq_ecg.data.label_file import LabelFile, read_label_names


@pytest.fixture
def write(tmp_path):
    def write(labels, name="y.npy"):
        np.save(tmp_path / name, labels)
        return tmp_path / name

    return write


def test_rows_are_read_in_the_dtype_of_the_file(write):
    labels = LabelFile(write(np.arange(6.0).reshape(3, 2)))
    assert torch.equal(labels.row(2, "a.mat"), torch.tensor([4.0, 5.0], dtype=torch.float64))


def test_pickling_carries_the_path_alone(write):
    labels = LabelFile(write(np.ones((1000, 50))))
    pickled = pickle.dumps(labels)
    assert len(pickled) < 1000
    assert torch.equal(pickle.loads(pickled).row(3, "a.mat"), labels.row(3, "a.mat"))


@pytest.mark.parametrize("idx", [3, -1])
def test_an_idx_outside_is_refused(write, idx):
    labels = LabelFile(write(np.zeros((3, 2))))
    with pytest.raises(DataError, match=rf"a.mat: its idx {idx} is not a row of .*y.npy, .* has 3"):
        labels.row(idx, "a.mat")


def test_a_label_that_is_not_finite_is_refused(write):
    labels = LabelFile(write(np.array([[0, 1], [np.nan, 1]])))
    with pytest.raises(DataError, match=r"y.npy, row 1 \(of a.mat\): holds a label that is not"):
        labels.row(1, "a.mat")


@pytest.mark.parametrize("labels", [np.zeros(3), np.zeros((3, 2, 1)), np.array([["a"]])])
def test_what_is_no_table_of_labels_is_refused(write, labels):
    with pytest.raises(DataError, match=r"y.npy: expected a numeric array of two dimensions"):
        LabelFile(write(labels))


def test_files_that_cannot_be_read_are_refused(tmp_path):
    with pytest.raises(DataError, match=r"y.csv: label_file must be a .npy file"):
        LabelFile(tmp_path / "y.csv")
    with pytest.raises(DataError, match=r"y.npy: no such label file. Check task.label_file"):
        LabelFile(tmp_path / "y.npy")
    for content in (b"", b"no array"):
        (tmp_path / "y.npy").write_bytes(content)
        with pytest.raises(DataError, match=r"y.npy: cannot be read as a .npy file"):
            LabelFile(tmp_path / "y.npy")


def test_missing_labels_on_demand(tmp_path):
    labels = np.array([[1.5, np.nan], [np.inf, 0]])
    np.save(tmp_path / "y.npy", labels)
    with pytest.raises(DataError, match="missing_labels=ignore"):
        LabelFile(tmp_path / "y.npy").row(0, "recording")
    missing = LabelFile(tmp_path / "y.npy", missing=True)
    assert torch.equal(missing.row(0, "recording").isnan(), torch.tensor([False, True]))
    with pytest.raises(DataError, match="not finite"):
        missing.row(1, "recording")


def test_published_label_definition_is_understood(shared):
    path = shared / "ecg" / "code_15" / "labels" / "label_def.csv"
    with open(path, newline="") as file:
        expected = [row["name"] for row in csv.DictReader(file)]
    assert read_label_names(path) == expected
    assert len(expected) == 8


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "no such file"),
        ("a,b\n1,2\n", "no column 'name'"),
        ("", "no column 'name'"),
        ("name\n", "names no label"),
        ("name,n\na,1\n ,2\n", "a label has no name"),
    ],
)
def test_label_names_need_a_label_definition(tmp_path, text, message):
    if text is not None:
        (tmp_path / "label_def.csv").write_text(text)
    with pytest.raises(DataError, match=rf"label_def\.csv: {message}"):
        read_label_names(tmp_path / "label_def.csv")


def test_names_of_labels_lie_beside_them(write, tmp_path):
    labels = LabelFile(write(np.zeros((3, 2))))
    assert labels.names() is None
    (tmp_path / "label_def.csv").write_text("name,pos_count_all\nAF,3\nST,4\n")
    assert labels.names() == ["AF", "ST"]
    (tmp_path / "label_def.csv").write_text("name\nAF\n")
    assert labels.names() is None
