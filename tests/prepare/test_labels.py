import io

import numpy as np
import pandas as pd
import pytest
import yaml

from fairseq_ecg.data.label_file import LabelFile, read_label_names
from fairseq_ecg.errors import DataError
from fairseq_ecg.prepare.labels import (
    LabelCounts,
    labels_of,
    prepare_labels,
    read_positive_labels,
)

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


def test_the_label_of_a_recording_is_a_label(path):
    path.write_text(TABLE.replace("d,2,0,1", "d,2,atrial,1"))
    with pytest.raises(DataError, match=r"line 4: 'AF' is atrial; a label is 0 or 1"):
        labels_of(path.parent / "d", path, ["AF"])


LABELS = """idx,AF,"Block, left"
7,True,False
2,False,False
3,True,True
1,False,True
"""

META = """idx,save_file,split,AF
1,b.mat,train,kept
2,c.mat,train,kept
3,d.mat,test,kept
5,f.mat,valid,kept
"""

SEGMENTS = """idx,save_file,split,path,sample_size
3,d.mat,test,/s/d_0.mat,2500
5,f.mat,valid,/s/f_0.mat,2500
1,b.mat,train,/s/b_0.mat,2500
"""


@pytest.fixture
def tables(tmp_path):
    """Writes the tables with changes, prepares the labels, and returns summary and folder."""

    def prepare(labels=LABELS, meta=META, **options):
        (tmp_path / "labels.csv").write_text(labels)
        (tmp_path / "meta_split.csv").write_text(meta)
        (tmp_path / "segmented_split.csv").write_text(SEGMENTS)
        out = tmp_path / "labels"
        paths = tmp_path / "labels.csv", tmp_path / "meta_split.csv"
        return prepare_labels(*paths, out, **options), out

    return prepare


def test_label_files_by_hand(tables):
    """idx 7 is labelled and in no split; 5 is in a split and has no label, so valid vanishes."""
    summary, out = tables()
    y = np.load(out / "y.npy")
    expected = np.zeros((8, 2))
    expected[[7, 3, 3, 1], [0, 0, 1, 1]] = 1
    np.testing.assert_array_equal(y, expected, strict=True)
    assert (out / "label_def.csv").read_text() == (
        "name,pos_count_test,pos_count_train,pos_percent_test,pos_percent_train,"
        "pos_weight_test,pos_weight_train,pos_count_all,pos_percent_all\n"
        f"AF,1,0,1.0,0.0,0.0,inf,1,{1 / 3}\n"
        f'"Block, left",1,1,1.0,0.5,0.0,1.0,2,{2 / 3}\n'
    )
    assert (out / "pos_weight.txt").read_text() == "[inf,1.0]"
    assert summary.names == ("AF", "Block, left")
    assert (summary.rows, summary.labelled, summary.unlabelled) == (8, 3, (5,))
    assert summary.untrainable == ("AF",)


def test_labels_in_the_table_of_splits_do_not_clash_d8(tables):
    """META keeps a column of the name of a label."""
    summary, _ = tables()
    assert summary.labelled == 3


def test_gaps_between_ids_are_rows_of_zeros_d6(tables):
    _, out = tables(LABELS.replace("\n7,", "\n1000,"))
    y = np.load(out / "y.npy")
    assert y.shape == (1001, 2)
    assert np.flatnonzero(y.any(axis=1)).tolist() == [1, 3, 1000]


def test_rows_up_to_the_last_recording_of_the_splits(tables):
    _, out = tables(meta=META + "20,g.mat,train,kept\n")
    assert np.load(out / "y.npy").shape == (21, 2)


def test_y_npy_is_what_numpy_writes(tables):
    _, out = tables()
    expected = io.BytesIO()
    np.save(expected, np.load(out / "y.npy"))
    assert (out / "y.npy").read_bytes() == expected.getvalue()


def test_arguments_are_plain_yaml(tables, tmp_path):
    _, out = tables(columns=["Block, left"])
    text = (out / "prepare_clf_labels_args.yaml").read_text()
    assert yaml.safe_load(text) == {
        "output_dir": str(out),
        "labels": str(tmp_path / "labels.csv"),
        "meta_splits": str(tmp_path / "meta_split.csv"),
        "segmented_splits": None,
        "labeled_meta_splits_save_file": None,
        "labeled_segmented_splits_save_file": None,
        "columns": ["Block, left"],
    }


def test_without_training_split_no_weights_stay_behind(tables):
    _, out = tables()
    assert (out / "pos_weight.txt").exists()
    tables(meta=META.replace("train", "fold1"))
    assert not (out / "pos_weight.txt").exists()


def test_tables_of_what_is_labelled(tables, tmp_path):
    tables(
        LABELS.replace("3,True,True", "3,True,"),
        META.replace("1,b.mat", "1.0,b.mat"),
        segmented_splits=tmp_path / "segmented_split.csv",
        labeled_meta_splits=tmp_path / "meta_labelled.csv",
        labeled_segmented_splits=tmp_path / "segmented_labelled.csv",
    )
    assert (tmp_path / "meta_labelled.csv").read_text() == (
        "idx,save_file,split,AF\n1,b.mat,train,kept\n2,c.mat,train,kept\n"
    )
    assert (tmp_path / "segmented_labelled.csv").read_text() == (
        "idx,save_file,split,path,sample_size\n1,b.mat,train,/s/b_0.mat,2500\n"
    )


def test_a_table_of_labelled_segments_needs_segments(tables, tmp_path):
    with pytest.raises(DataError, match="give segmented_splits"):
        tables(labeled_segmented_splits=tmp_path / "segmented_labelled.csv")


def test_a_missing_label_is_reported_and_refused_in_training(tables):
    summary, out = tables(LABELS.replace("2,False,False", "2,,False"))
    assert summary.unlabelled == (2, 5)
    y = np.load(out / "y.npy")
    assert np.isnan(y[2, 0])
    with pytest.raises(DataError, match="not finite"):
        LabelFile(out / "y.npy").row(2, "c_0.mat")


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (["1", "0", "1"], [1, 0, 1]),
        (["True", "False", "True"], [1, 0, 1]),
        (["1.0", "0.0", "1"], [1, 0, 1]),
        (["True", "0", " true "], [1, 0, 1]),
        (["0.25", "0", "1"], [0.25, 0, 1]),
        (["0.25", "False", "TRUE"], [0.25, 0, 1]),
    ],
)
def test_what_a_label_may_be(tables, values, expected):
    rows = [f"{idx},{value}" for idx, value in zip((1, 2, 3), values, strict=True)]
    _, out = tables("\n".join(["idx,AF", *rows]) + "\n")
    assert np.load(out / "y.npy")[[1, 2, 3], 0].tolist() == expected


@pytest.mark.parametrize(
    ("values", "counts"),
    [
        (("1", "0", "1", "0"), "1,1,0"),  # of test, train, valid
        (("1", "0", "1"), "1.0,1.0"),  # 5, of valid, has no label
        (("1.0", "0.0", "1.0", "0.0"), "1.0,1.0,0.0"),
        (("True", "False", "True"), "1,1"),
    ],
)
def test_counts_are_floats_where_they_are_for_pandas(tables, values, counts):
    rows = [f"{idx},{value}" for idx, value in zip((1, 2, 3, 5), values, strict=False)]
    _, out = tables("\n".join(["idx,AF", *rows]) + "\n")
    line = (out / "label_def.csv").read_text().splitlines()[1]
    assert line.startswith(f"AF,{counts},")
    assert line.split(",")[-2] == ("2.0" if "." in counts else "2")


def test_weights_are_rounded_as_numpy_rounds(tmp_path):
    """57 / 640 is 0.0890625, halfway between two numbers of six decimals but for its last bit."""
    counts = LabelCounts(["AF"])
    counts.add((np.arange(697) < 640)[:, None], np.full(697, "train", dtype=object))
    counts.write(tmp_path)
    assert (tmp_path / "pos_weight.txt").read_text() == "[0.089062]"


def test_labels_between_0_and_1_are_summed(tables):
    _, out = tables("idx,AF\n1,0.25\n2,0.5\n3,1\n")
    definition = pd.read_csv(out / "label_def.csv")
    assert definition["pos_count_train"].tolist() == [0.75]
    assert (out / "pos_weight.txt").read_text() == f"[{round(0.625 / 0.375, 6)}]"


def test_labels_by_file_name(tables):
    labels = "save_file,AF\nd.mat,1\nz.mat,1\nc.mat,1\n"
    summary, out = tables(labels)
    assert np.flatnonzero(np.load(out / "y.npy")[:, 0]).tolist() == [2, 3]
    assert summary.unknown == 1
    assert summary.unlabelled == (1, 5)


def test_columns_choose_and_order_the_labels(tables):
    labels = "idx,age,x,y\n1,63,1,0\n3,70,0,1\n"
    with pytest.raises(DataError, match=r"line 2: 'age' is 63.*say which columns are"):
        tables(labels)
    summary, out = tables(labels, columns=("y", "x"))
    assert summary.names == ("y", "x")
    assert read_label_names(out / "label_def.csv") == ["y", "x"]
    assert np.load(out / "y.npy")[1].tolist() == [0, 1]


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (LABELS.replace("idx", "record"), "no column 'idx' or 'save_file'"),
        (LABELS.replace("\n2,", "\n7,"), "line 3: idx 7 is already in line 2"),
        (LABELS.replace("\n2,", "\n2.5,"), "idx, line 3: '2.5' is no whole number"),
        (LABELS.replace("2,False", "2,maybe"), "line 3: 'AF' is maybe; a label is 0 or 1"),
        (LABELS.replace("2,False", "2,-1"), "line 3: 'AF' is -1"),
        ("idx\n1\n", "no column of a label"),
        ("idx,AF\n9,1\n", "no labelled recording is in a split"),
        ("idx,AF\n49036311000,1\n", "no labelled recording is in a split: no idx is one of"),
        ("", "the file is empty"),
    ],
)
def test_tables_that_are_no_labels(tables, labels, message):
    with pytest.raises(DataError, match=message):
        tables(labels)


def test_nothing_is_left_of_what_failed(tables, tmp_path):
    with pytest.raises(DataError):
        tables(LABELS.replace("1,False,True", "1,False,2"))
    assert not any((tmp_path / "labels").glob("*"))


def test_long_tables_are_counted_in_parts(tables, monkeypatch):
    _, out = tables()
    files = ("y.npy", "label_def.csv", "pos_weight.txt")
    expected = [(out / name).read_bytes() for name in files]
    monkeypatch.setattr("fairseq_ecg.data.tables.ROWS_AT_ONCE", 2)
    tables()
    assert [(out / name).read_bytes() for name in files] == expected


def test_labels_to_divide_by(tmp_path):
    path = tmp_path / "labels.csv"
    path.write_text("idx,x,y\n4,0.5,0\n2,,1\n")
    holds = read_positive_labels(path)
    assert holds.index.name == "idx"
    assert holds.index.tolist() == [4, 2]
    assert holds.to_numpy().tolist() == [[True, False], [False, True]]
    assert list(read_positive_labels(path, ["y"])) == ["y"]


def test_published_labels_are_made_again(shared, tmp_path):
    published = shared / "ecg" / "code_15"
    summary = prepare_labels(
        published / "labels" / "labels.csv", published / "meta_split.csv", tmp_path
    )
    expected = (published / "labels" / "y.npy").read_bytes()
    assert (tmp_path / "y.npy").read_bytes() == expected
    assert list(summary.names) == read_label_names(published / "labels" / "label_def.csv")
    definition = (tmp_path / "label_def.csv").read_text().splitlines()
    assert definition[0] == (
        "name,pos_count_test,pos_percent_test,pos_weight_test,pos_count_all,pos_percent_all"
    )


def test_published_definition_of_17_labels_is_made_again_of_its_counts(shared):
    """Byte for byte, of the number of recordings that fits its fractions."""
    path = shared / "labeler" / "mimic_iv_ecg_label_def.csv"
    published = pd.read_csv(path, index_col="name")
    counts = LabelCounts(published.index)
    for split, n in {"train": 630178, "valid": 79129, "test": 78370}.items():
        values = np.arange(n)[:, None] < published[f"pos_count_{split}"].to_numpy()
        counts.add(values, np.full(n, split, dtype=object))
    assert counts.definition().to_csv() == path.read_text()
