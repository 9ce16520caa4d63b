import pytest

from fairseq_ecg.data.manifest import read_manifest
from fairseq_ecg.errors import DataError
from fairseq_ecg.prepare.combine import combine_manifests


def write(folder, **manifests):
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in manifests.items():
        (folder / f"{name}.tsv").write_text(text)
    return folder


def test_paths_are_led_from_the_common_root(tmp_path):
    first = write(tmp_path / "1", train="/data/a\nx_0.mat\t2500\n", test="/data/a\nt.mat\t5\n")
    second = write(tmp_path / "2", train="/data/b/c\ny_0.mat\t1250\n")
    counts = combine_manifests([first, second], tmp_path / "out")
    assert counts == {"test": 1, "train": 2}
    assert (tmp_path / "out" / "train.tsv").read_text() == (
        "/data\na/x_0.mat\t2500\nb/c/y_0.mat\t1250\n"
    )
    assert (tmp_path / "out" / "test.tsv").read_text() == "/data/a\n./t.mat\t5\n"


def test_the_same_root_is_a_dot_and_the_header_stays(tmp_path):
    first = write(tmp_path / "1", train="\t/data/\nx_0.mat\t2500\n")
    second = write(tmp_path / "2", train="\t/data/\ny_0.mat\t2500\n")
    third = write(tmp_path / "3", train="\t/data/z/\nz_0.mat\t2500\n")
    combine_manifests([first, second, third], tmp_path / "out")
    assert (tmp_path / "out" / "train.tsv").read_text() == (
        "\t/data/\n./x_0.mat\t2500\n./y_0.mat\t2500\nz/z_0.mat\t2500\n"
    )


def test_the_reader_finds_the_files(tmp_path):
    for name in ("a", "b"):
        write(tmp_path / name / "manifests", train=f"\t{tmp_path}/{name}/\nx_0.mat\t2500\n")
        (tmp_path / name / "x_0.mat").touch()
    combine_manifests([tmp_path / "a" / "manifests", tmp_path / "b" / "manifests"], tmp_path)
    manifest = read_manifest(tmp_path / "train.tsv")
    assert [entry.path for entry in manifest] == ["a/x_0.mat", "b/x_0.mat"]
    assert manifest.root == f"{tmp_path}/"


def test_pairs_are_combined_with_pairs(tmp_path):
    first = write(tmp_path / "1", train="/data/a/\nmat\nx\t2500\t0\t0,1\n")
    second = write(tmp_path / "2", train="/data/b/\nmat\ny\t2500\t0\t0,1\n")
    combine_manifests([first, second], tmp_path / "out")
    assert (tmp_path / "out" / "train.tsv").read_text() == (
        "/data/\nmat\na/x\t2500\t0\t0,1\nb/y\t2500\t0\t0,1\n"
    )
    plain = write(tmp_path / "3", train="\t/data/a/\nx_0.mat\t2500\n")
    with pytest.raises(DataError, match="of another kind"):
        combine_manifests([first, plain], tmp_path / "out")


def test_what_is_combined_is_not_replaced(tmp_path):
    first = write(tmp_path / "1", train="/data/a\nx_0.mat\t2500\n")
    with pytest.raises(DataError, match="would replace what it is made of"):
        combine_manifests([first, write(tmp_path / "2", train="/b\n")], tmp_path / "2")
