from fairseq_ecg.data.manifest import read_cmsc_manifest, read_manifest
from fairseq_ecg.prepare.manifests import (
    SegmentedRecording,
    write_cmsc_manifest,
    write_manifest,
)

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
    assert [pairs[i].prefix for i in range(len(pairs))] == ["a", "a", "c"]
    assert pairs[1].segments == (2, 3)
