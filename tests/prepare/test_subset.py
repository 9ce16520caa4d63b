import pytest

from fairseq_ecg.errors import DataError
from fairseq_ecg.prepare.subset import write_subset


@pytest.fixture
def manifests(tmp_path):
    """Nine recordings of two segments in training, of five patients; other files beside it."""
    folder = tmp_path / "manifests"
    folder.mkdir()
    names = [f"x/r{i}_{k}.mat\t2500" for i in range(9) for k in (0, 1)]
    (folder / "train.tsv").write_text("\n".join(["\t/root/", *names]) + "\n")
    (folder / "valid.tsv").write_text("\t/root/\nx/v_0.mat\t2500")
    rows = [f"r{i}.mat,p{i % 5}" for i in range(9)]
    (tmp_path / "meta_split.csv").write_text("\n".join(["save_file,patient", *rows]) + "\n")
    return folder


def recordings(folder):
    return [row.split("_")[0] for row in (folder / "train.tsv").read_text().splitlines()[1:]]


@pytest.mark.parametrize(("fraction", "expected"), [(0.5, 4), (0.28, 3), (0.1, 1), (1, 9)])
def test_a_fraction_of_the_recordings_with_all_segments(manifests, tmp_path, fraction, expected):
    """4.5 are 4 and 2.52 are 3, as pandas rounds."""
    counts = write_subset(manifests, fraction, tmp_path / "out")
    kept = recordings(tmp_path / "out")
    assert counts == {"train": 2 * expected, "valid": 1}
    assert len(kept) == 2 * expected == 2 * len(set(kept))
    assert kept == sorted(kept)


def test_headers_and_other_manifests_stay_as_they_are(manifests, tmp_path):
    write_subset(manifests, 0.5, tmp_path / "a")
    assert (tmp_path / "a" / "train.tsv").read_text().startswith("\t/root/\n")
    assert (tmp_path / "a" / "valid.tsv").read_bytes() == (manifests / "valid.tsv").read_bytes()
    text = (manifests / "train.tsv").read_text()
    (manifests / "train.tsv").write_text(text.replace("\t/root/", "/root"))
    write_subset(manifests, 0.5, tmp_path / "b")
    assert (tmp_path / "b" / "train.tsv").read_text().startswith("/root\n")
    assert recordings(tmp_path / "b") == recordings(tmp_path / "a")


def test_subsets_are_seeded_and_nested_d11(manifests, tmp_path):
    drawn = {}
    for name, fraction, seed in [("a", 0.5, 1), ("b", 0.5, 1), ("c", 0.5, 2), ("d", 0.8, 1)]:
        write_subset(manifests, fraction, tmp_path / name, seed=seed)
        drawn[name] = set(recordings(tmp_path / name))
    assert drawn["a"] == drawn["b"]
    assert drawn["a"] != drawn["c"]
    assert drawn["a"] < drawn["d"]


def test_pairs_of_segments(manifests, tmp_path):
    rows = [f"x/r{i}\t2500\t0\t{k},{k + 1}" for i in range(4) for k in (0, 2)]
    (manifests / "train.tsv").write_text("\n".join(["/root/", "mat", *rows]) + "\n")
    write_subset(manifests, 0.5, tmp_path / "out")
    lines = (tmp_path / "out" / "train.tsv").read_text().splitlines()
    assert lines[:2] == ["/root/", "mat"]
    assert len(lines) == 6
    assert len({line.split("\t")[0] for line in lines[2:]}) == 2


def test_patients_are_kept_whole(manifests, tmp_path):
    write_subset(
        manifests,
        0.4,
        tmp_path / "out",
        meta_splits=tmp_path / "meta_split.csv",
        patient_column="patient",
    )
    numbers = {int(name.removeprefix("x/r")) for name in recordings(tmp_path / "out")}
    patients = {number % 5 for number in numbers}
    assert len(patients) == 2
    assert numbers == {number for number in range(9) if number % 5 in patients}


def test_mistakes(manifests, tmp_path):
    for fraction in (0, 1.5, float("nan")):
        with pytest.raises(DataError, match="above 0 and at most 1"):
            write_subset(manifests, fraction, tmp_path / "out")
    with pytest.raises(DataError, match=r"0\.01 of 9 is none"):
        write_subset(manifests, 0.01, tmp_path / "out")
    with pytest.raises(DataError, match="both the table of recordings and its patient column"):
        write_subset(manifests, 0.5, tmp_path / "out", patient_column="patient")
    with pytest.raises(DataError, match="exists already"):
        write_subset(manifests, 0.5, manifests)
    (tmp_path / "meta_split.csv").write_text("save_file,patient\nr0.mat,p0\n")
    with pytest.raises(DataError, match=r"has no patient for r1\.mat"):
        write_subset(
            manifests,
            0.5,
            tmp_path / "out",
            meta_splits=tmp_path / "meta_split.csv",
            patient_column="patient",
        )
    assert not (tmp_path / "out").exists()
