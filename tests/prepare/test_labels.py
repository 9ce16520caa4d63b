import numpy as np
import pytest

from fairseq_ecg.data.errors import DataError
from fairseq_ecg.data.label_file import read_label_names
from fairseq_ecg.prepare.labels import labels_of, read_labels, write_labels

TABLE = """record,patient,AF,"Block, left"
a,1,1,0
b/c,1,True,False
d,2,0,1
e,3,0,0
f,3,1,0
"""


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "labels.csv"
    path.write_text(TABLE)
    return path


def test_reads_the_table_in_its_order(path):
    table = read_labels(path, "patient")
    assert table.records == ("a", "b/c", "d", "e", "f")
    assert table.patients == ("1", "1", "2", "3", "3")
    assert table.names == ("AF", "Block, left")
    np.testing.assert_array_equal(table.values, [[1, 0], [1, 0], [0, 1], [0, 0], [1, 0]])


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("a,1,1,0", "a,1,1,", r"line 2: 'Block, left' is ''; a label is 0 or 1"),
        ("d,2,0,1", "d,2,0.5,1", r"line 4: 'AF' is '0\.5'"),
        ("d,2,0,1", "a,2,0,1", r"line 4: record a is already in line 2"),
        ("d,2,0,1", "d,,0,1", r"line 4: no patient"),
        ("d,2,0,1", "d,2,0,1,1", r"line 4: has more values than there are columns"),
        ("d,2,0,1", "d,2,0", r"line 4: 'Block, left' is ''"),
        ("record,patient", "path,patient", r"no column 'record' \(it has path, patient"),
        ("record,patient", "record,subject", r"no column 'patient'"),
    ],
)
def test_mistakes_name_file_and_line(path, old, new, message):
    path.write_text(TABLE.replace(old, new))
    with pytest.raises(DataError, match=rf"labels\.csv.*{message}"):
        read_labels(path, "patient")


def test_labels_of_one_recording(path):
    names = ["Block, left", "AF"]
    assert labels_of(path.parent / "a", path, names) == {"AF"}
    assert labels_of(path.parent / "b" / "c.hea", path, names) == {"AF"}
    assert labels_of(path.parent / "d.mat", path, names) == {"Block, left"}
    assert labels_of(path.parent / "e", path, names) == set()
    with pytest.raises(DataError, match=r"labels\.csv: no line for .*c"):
        labels_of(path.parent / "c", path, names)
    with pytest.raises(DataError, match="no column 'VT'"):
        labels_of(path.parent / "a", path, ["VT"])


def test_files_for_training(path, tmp_path):
    table = read_labels(path, "patient")
    write_labels(table, ["train", "train", "train", None, "test"], tmp_path)
    y = np.load(tmp_path / "y.npy")
    assert y.dtype == np.float64
    np.testing.assert_array_equal(y, table.values)
    assert (tmp_path / "pos_weight.txt").read_text() == "[0.5,2.0]"
    assert (tmp_path / "label_def.csv").read_text() == (
        "name,pos_count_test,pos_count_train,pos_percent_test,pos_percent_train,"
        "pos_weight_test,pos_weight_train,pos_count_all,pos_percent_all\n"
        f"AF,1,2,1.0,{2 / 3},0.0,{(1 - 2 / 3) / (2 / 3)},3,0.75\n"
        f'"Block, left",0,1,0.0,{1 / 3},inf,{(1 - 1 / 3) / (1 / 3)},1,0.25\n'
    )
    assert read_label_names(tmp_path / "label_def.csv") == ["AF", "Block, left"]
