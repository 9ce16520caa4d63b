import numpy as np
import pandas as pd
import pytest
from scipy.io import loadmat

from benchmarks.manifests import SegmentedRecording, write_cmsc_manifest, write_manifest
from fairseq_ecg.data.manifest import read_cmsc_manifest, read_manifest
from fairseq_ecg.errors import DataError
from fairseq_ecg.prepare.manifests import (
    read_lines,
    write_cmsc_manifests,
    write_manifests,
)
from tests.ecg_datasets import dataset_of, pairs_of

RECORDINGS = [SegmentedRecording("a", 5), SegmentedRecording("b", 1), SegmentedRecording("c", 2)]


def test_manifest_of_segments(tmp_path):
    path = tmp_path / "train.tsv"
    write_manifest(path, tmp_path / "segmented", RECORDINGS, 2500)
    assert path.read_text().splitlines() == [
        f"\t{tmp_path.resolve()}/segmented/",
        *(f"a_{i}.mat\t2500" for i in range(5)),
        "b_0.mat\t2500",
        "c_0.mat\t2500",
        "c_1.mat\t2500",
    ]


def test_manifest_of_pairs_leaves_out_what_has_no_partner(tmp_path):
    path = tmp_path / "train.tsv"
    write_cmsc_manifest(path, tmp_path / "segmented", RECORDINGS, 2500)
    assert path.read_text().splitlines() == [
        f"{tmp_path.resolve()}/segmented/",
        "mat",
        "a\t2500\t0\t0,1",
        "a\t2500\t0\t2,3",
        "c\t2500\t0\t0,1",
    ]


def test_the_data_sets_read_what_is_written(tmp_path):
    write_manifest(tmp_path / "plain.tsv", tmp_path, RECORDINGS, 2500)
    write_cmsc_manifest(tmp_path / "pairs.tsv", tmp_path, RECORDINGS, 2500)
    plain = read_manifest(tmp_path / "plain.tsv")
    assert [plain[i].path for i in (0, 5, 7)] == ["a_0.mat", "b_0.mat", "c_1.mat"]
    assert plain[0].n_samples == 2500
    pairs = read_cmsc_manifest(tmp_path / "pairs.tsv")
    assert [pairs[i].path for i in range(len(pairs))] == ["a", "a", "c"]
    assert pairs[1].segments == (2, 3)


SEGMENTS = """idx,save_file,split,path,sample_size
0,a.mat,train,/data/x/seg/a_0.mat,2500
0,a.mat,train,/data/x/seg/a_10.mat,2500
0,a.mat,train,/data/x/seg/a_2.mat,2500.0
1,b.mat,test,/data/x/seg/b_0.mat,1250
"""


@pytest.fixture
def table(tmp_path):
    def write(text, name="segmented_split.csv"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
        return path

    return write


def test_manifests_of_one_source(table, tmp_path):
    out = tmp_path / "made" / "here"
    assert write_manifests([table(SEGMENTS)], out) == {"test": 1, "train": 3}
    assert (out / "train.tsv").read_bytes() == (
        b"\t/data/x/seg/\na_0.mat\t2500\na_10.mat\t2500\na_2.mat\t2500\n"
    )
    assert (out / "test.tsv").read_bytes() == b"\t/data/x/seg/\nb_0.mat\t1250\n"


def test_the_common_root_is_a_folder(table, tmp_path):
    """The paths have "/data/x" in common beyond the last folder, as characters go."""
    other = table(SEGMENTS.replace("/data/x/seg/", "/data/xy/"), "other.csv")
    write_manifests([table(SEGMENTS), other], tmp_path)
    assert (tmp_path / "test.tsv").read_text() == (
        "\t/data/\nx/seg/b_0.mat\t1250\nxy/b_0.mat\t1250\n"
    )


def test_the_older_header(table, tmp_path):
    write_manifests([table(SEGMENTS)], tmp_path, header="plain")
    assert (tmp_path / "test.tsv").read_text() == "/data/x/seg\nb_0.mat\t1250\n"


def test_relative_paths_start_at_the_table_or_the_root(table, tmp_path):
    path = table(SEGMENTS.replace("/data/x/seg/", ""), "source/segmented_split.csv")
    write_manifests([path], tmp_path)
    assert (tmp_path / "test.tsv").read_text() == f"\t{tmp_path}/source/\nb_0.mat\t1250\n"
    write_manifests([path], tmp_path, root=tmp_path / "source" / ".." / "else")
    assert (tmp_path / "test.tsv").read_text() == f"\t{tmp_path}/else/\nb_0.mat\t1250\n"


def test_segments_can_be_chosen(table, tmp_path):
    rows = SEGMENTS.splitlines()
    datasets = ["dataset", "georgia", "georgia", "ptb", "ptb"]
    path = table("".join(f"{row},{name}\n" for row, name in zip(rows, datasets, strict=True)))
    assert write_manifests([path], tmp_path, dataset_subset=["ptb"]) == {"test": 1, "train": 1}
    assert write_manifests([path], tmp_path, path_must_contain="a_1") == {"train": 1}
    with pytest.raises(DataError, match="no segment remains"):
        write_manifests([path], tmp_path, path_must_contain="a.1")
    with pytest.raises(DataError, match="no column 'dataset'"):
        write_manifests([table(SEGMENTS)], tmp_path, dataset_subset=["ptb"])


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("/data/x/seg/a_2.mat", "", "line 4: path ''"),
        ("seg/a_2.mat", "seg/a\t2.mat", "line 4: path"),
        (",test,", ",,", "line 5: split ''"),
        (",test,", ",../test,", "line 5: split '../test'"),
        ("1250", "0", "line 5: sample_size '0'"),
        ("1250", "", "line 5: sample_size ''"),
        ("sample_size", "size", "no column 'sample_size'"),
    ],
)
def test_segments_that_cannot_be_listed(table, tmp_path, old, new, message):
    with pytest.raises(DataError, match=rf"segmented_split\.csv.*{message}"):
        write_manifests([table(SEGMENTS.replace(old, new))], tmp_path)
    assert not list(tmp_path.glob("*.tsv"))


def test_pairs_of_segments_by_number(table, tmp_path):
    """Numbers are sorted as numbers; pairs need not be neighbours; odd and single are left out."""
    names = [f"x/a_{i}.mat\t{2500 + i}" for i in (10, 2, 0, 1, 9)]
    names += ["x/b_b_3.mat\t9", "c_7.mat\t5", "c_4.mat\t6"]
    (tmp_path / "train.tsv").write_text("\n".join(["\t/root/", *names]) + "\n")
    (tmp_path / "test.tsv").write_text("/root\nb_1.mat\t9\n")
    assert write_cmsc_manifests(tmp_path, tmp_path / "out") == {"train": 3, "test": 0}
    assert (tmp_path / "out" / "cmsc" / "train.tsv").read_bytes() == (
        b"/root/\nmat\nx/a\t2509\t0\t0,1\nx/a\t2509\t0\t2,9\nc\t6\t0\t4,7\n"
    )
    assert (tmp_path / "out" / "cmsc" / "test.tsv").read_bytes() == b"/root\nmat\n"


def test_pairs_of_neighbours_alone(tmp_path):
    names = [f"a_{i}.mat\t2500" for i in (0, 2, 3, 4, 7, 8)]
    (tmp_path / "train.tsv").write_text("\n".join(["\t/root/", *names]) + "\n")
    write_cmsc_manifests(tmp_path, tmp_path, consecutive=True)
    pairs = (tmp_path / "cmsc" / "train.tsv").read_text().splitlines()[2:]
    assert [pair.rpartition("\t")[2] for pair in pairs] == ["2,3", "7,8"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("\t/root/\na_0.mat\t2500\t7\n", "line 2: expected 2 tab-separated columns, found 3"),
        ("\t/root/\na.mat\t2500\n", r"'a\.mat' is no segment, whose name ends in _<number>\.mat"),
        ("\t/root/\na_0.npy\t2500\n", r"'a_0\.npy' is no segment"),
        ("\n", "line 1: expected the root directory"),
    ],
)
def test_manifests_that_hold_no_segments(tmp_path, text, message):
    (tmp_path / "train.tsv").write_text(text)
    with pytest.raises(DataError, match=message):
        write_cmsc_manifests(tmp_path, tmp_path / "out")
    assert not list(tmp_path.glob("out/**/*.tsv"))


def test_a_folder_without_manifests(tmp_path):
    with pytest.raises(DataError, match=r"no manifests \(\*\.tsv\)"):
        write_cmsc_manifests(tmp_path, tmp_path)


def test_published_segments_from_table_to_batches(shared, tmp_path):
    """What is written is read by the data sets, and is the recordings it was made of."""
    published = shared / "ecg" / "code_15"
    write_manifests(
        [published / "segmented_split_incomplete.csv"], tmp_path, root=published / "segmented"
    )
    write_cmsc_manifests(tmp_path, tmp_path)
    rows = pd.read_csv(published / "segmented_split_incomplete.csv")
    dataset = dataset_of(tmp_path / "test.tsv")
    assert len(dataset) == len(rows)
    for i, row in rows.iterrows():
        mat = loadmat(published / "segmented" / row["path"])
        assert mat["idx"].item() == row["idx"]
        np.testing.assert_array_equal(dataset[i]["source"].numpy(), mat["feats"].astype(np.float32))
    pairs = pairs_of(tmp_path / "cmsc" / "test.tsv")
    assert len(pairs) == 4
    segments = pairs[0]
    first = loadmat(published / "segmented" / "code_15_1594286_0.mat")["feats"]
    np.testing.assert_array_equal(segments[0]["source"].numpy(), first.astype(np.float32))


def test_a_moved_root_can_be_converted(table, tmp_path):
    """The root of a manifest need not exist where its lines are rearranged."""
    write_manifests([table(SEGMENTS)], tmp_path)
    lines = read_lines(tmp_path / "train.tsv")
    assert lines.root == "/data/x/seg/"
    assert not lines.is_cmsc
    assert len(lines.rows) == 3


@pytest.mark.parametrize("split", ["../evil", "a\\b", "C:x"])
def test_a_split_is_the_name_of_its_manifest(tmp_path, split):
    (tmp_path / "segmented_split.csv").write_text(
        f"idx,save_file,split,path,sample_size\n0,a.mat,{split},/data/a_0.mat,2500\n"
    )
    with pytest.raises(DataError, match="split"):
        write_manifests([tmp_path / "segmented_split.csv"], tmp_path / "manifests" / "here")
    assert list(tmp_path.iterdir()) == [tmp_path / "segmented_split.csv"]
