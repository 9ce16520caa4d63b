import h5py
import numpy as np
import pandas as pd
import pytest
from scipy.io import loadmat

from fairseq_ecg.errors import DataError
from fairseq_ecg.prepare.archive import prepare_signals
from fairseq_ecg.prepare.records import read_source, write_records
from fairseq_ecg.prepare.sources.code_15 import CODE15, LABELS
from fairseq_ecg.prepare.stages import Settings


@pytest.fixture(scope="module")
def published(shared):
    return shared / "ecg" / "code_15"


@pytest.fixture(scope="module")
def prepared(published, write_code_15, tmp_path_factory):
    """The published recordings, from archives as they are published to segments."""
    folder = tmp_path_factory.mktemp("code_15")
    meta = pd.read_csv(published / "meta.csv", dtype=str, keep_default_na=False)
    exams = meta.loc[:, "exam_id":"trace_file"].copy()
    exams["trace_file"] = [f"exams_part{i % 2}.hdf5" for i in range(len(exams))]
    tracings = {
        int(exam): loadmat(published / "org" / f"code_15_{exam}.mat")["feats"]
        for exam in exams["exam_id"]
    }
    write_code_15(folder / "raw", tracings, exams)
    write_records("code_15", folder / "raw", folder / "out")
    prepare_signals(read_source(folder / "out"), folder / "out", Settings())
    return folder / "out"


@pytest.mark.parametrize(
    ("stage", "tolerance"), [("org", 0), ("preprocessed", 5e-15), ("segmented", 0)]
)
def test_files_are_the_published_ones(published, prepared, stage, tolerance):
    names = sorted(path.name for path in (published / stage).glob("*.mat"))
    assert sorted(path.name for path in (prepared / stage).iterdir()) == names
    for name in names:
        expected, found = loadmat(published / stage / name), loadmat(prepared / stage / name)
        assert list(found) == list(expected)
        for key in (key for key in expected if not key.startswith("__")):
            assert found[key].dtype == expected[key].dtype
            np.testing.assert_allclose(found[key], expected[key], rtol=0, atol=tolerance)


def test_meta_has_the_published_text(published, prepared):
    """All columns but those that say where files lie: they are made up here."""
    expected = pd.read_csv(published / "meta.csv", dtype=str, keep_default_na=False, index_col=0)
    found = pd.read_csv(prepared / "meta.csv", dtype=str, keep_default_na=False)
    assert list(found.drop(columns="save_path")) == list(expected)
    for column in set(expected) - {"trace_file", "hdf_ind"}:
        assert found[column].tolist() == expected[column].tolist(), column
    assert found["save_path"].str.startswith(f"{prepared}/org/code_15_").all()


def test_labels_are_the_published_ones(published, prepared):
    expected = pd.read_csv(published / "labels" / "labels.csv")
    found = pd.read_csv(prepared / "labels" / "labels.csv")
    assert list(found) == ["idx", *LABELS]
    pd.testing.assert_frame_equal(found, expected[expected["idx"].isin(found["idx"])])


def test_segmented_is_sorted_as_text(published, prepared):
    expected = pd.read_csv(published / "segmented.csv", index_col=0)
    found = pd.read_csv(prepared / "segmented.csv")
    found["path"] = found["path"].str.rpartition("/")[2]
    pd.testing.assert_frame_equal(found, expected.reset_index(drop=True))


def test_padding_is_removed_and_nothing_else(write_code_15, tmp_path):
    inside = np.ones((12, 50), np.float32)
    inside[:, 20:30] = 0
    inside[1:, 0] = 0  # the first sample of one lead alone is signal
    empty = np.zeros((12, 4096), np.float32)
    source = CODE15(write_code_15(tmp_path, {7: inside, 9: empty}, n_files=1))
    records = source.records().to_dict("records")
    np.testing.assert_array_equal(source.read(records[0]).signal, inside)
    assert source.read(records[1]).signal.shape == (12, 4096)
    assert source.read(records[0]).signal.dtype == np.float32


def test_exams_of_missing_files_are_left_out_and_named(write_code_15, tmp_path, caplog):
    tracings = {exam: np.ones((12, 40), np.float32) for exam in (7, 8, 9)}
    source = CODE15(write_code_15(tmp_path, tracings))
    (tmp_path / "exams_part1.hdf5").unlink()
    assert source.records()["exam_id"].tolist() == [7, 9]
    assert "1 of 2 trace files are missing" in caplog.text
    assert "exams_part1.hdf5" in caplog.text
    (tmp_path / "exams_part0.hdf5").unlink()
    with pytest.raises(DataError, match="none of its trace files"):
        source.records()


def test_an_exam_that_its_file_lacks_is_known_before_reading(write_code_15, tmp_path):
    source = CODE15(write_code_15(tmp_path, {7: np.ones((12, 40), np.float32)}, n_files=1))
    with h5py.File(tmp_path / "exams_part0.hdf5", "a") as file:
        file["exam_id"][0] = 12
    (record,) = source.records().to_dict("records")
    with pytest.raises(DataError, match=r"exams_part0\.hdf5, exam 7: the file has no such exam"):
        source.read(record)


def test_tables_that_are_not_exams_are_refused(tmp_path):
    with pytest.raises(DataError, match=r"exams\.csv: no such file"):
        CODE15(tmp_path).records()
    (tmp_path / "exams.csv").write_text("exam_id,age\n1,50\n")
    with pytest.raises(DataError, match="no column trace_file"):
        CODE15(tmp_path).records()
    for damaged in (b'exam_id,trace_file\n1,"a', b"\xff\xfe exam_id"):
        (tmp_path / "exams.csv").write_bytes(damaged)
        with pytest.raises(DataError, match=r"exams\.csv: not a readable table"):
            CODE15(tmp_path).records()


def test_an_exam_that_is_listed_twice_is_read_once(write_code_15, tmp_path):
    rng = np.random.default_rng(0)
    tracings = {exam: rng.normal(size=(12, 40)).astype(np.float32) for exam in (7, 8, 9)}
    raw = write_code_15(tmp_path / "raw", tracings, n_files=1)
    header, first, *others = (raw / "exams.csv").read_text().splitlines()
    elsewhere = first.replace("exams_part0", "exams_part5").replace("7,", "11,", 1)
    (raw / "exams.csv").write_text("\n".join([header, elsewhere, first, *others, first]) + "\n")
    folder = tmp_path / "prepared"
    records = write_records("code_15", raw, folder)
    assert list(records["save_file"]) == [
        *("code_15_7.mat", "code_15_8.mat", "code_15_9.mat", "code_15_7_again1.mat")
    ]
    prepared = prepare_signals(read_source(folder), folder, Settings(segment_seconds=0.02))
    assert list(prepared.quarantine["reason"]) == [
        f"{raw / 'exams.csv'}, line 6: exam_id 7 is already in line 3"
    ]
    meta = pd.read_csv(folder / "meta.csv")
    assert list(meta["exam_id"]) == [7, 8, 9]
    assert "fault" not in meta


def test_what_cannot_be_used_is_set_aside_and_the_rest_prepared(write_code_15, tmp_path):
    """An exam listed twice, one without trace file, and the exams of a damaged file."""
    noise = np.random.default_rng(0).normal(size=(4, 12, 2400)).astype(np.float32)
    raw = write_code_15(
        tmp_path / "around" / "code-15", dict(zip((7, 8, 9, 10), noise, strict=True))
    )
    text = (raw / "exams.csv").read_text()
    first, nowhere = text.splitlines()[1], "11,40,True,39.5,,,,,,,5,,,False,"
    (raw / "exams.csv").write_text(f"{text}{first}\n{nowhere}\n")
    damaged = raw / "exams_part1.hdf5"
    damaged.write_bytes(damaged.read_bytes()[:300])
    write_records("code_15", raw.parent, tmp_path / "out")
    prepared = prepare_signals(read_source(tmp_path / "out"), tmp_path / "out", Settings())
    meta = pd.read_csv(tmp_path / "out" / "meta.csv")
    assert meta["exam_id"].tolist() == [7, 9]
    assert "fault" not in meta
    reasons = dict(zip(prepared.quarantine["record"], prepared.quarantine["reason"], strict=True))
    assert prepared.quarantine["record"].tolist() == ["8", "10", "7", "11"]
    assert "exams_part1.hdf5: is no trace file, or damaged" in reasons["8"]
    assert "line 6: exam_id 7 is already in line 2" in reasons["7"]
    assert "line 7: no trace_file" in reasons["11"]


@pytest.mark.parametrize("name", ["../exams_part0.hdf5", "/tmp/exams_part0.hdf5"])
def test_trace_files_lie_in_the_archive(tmp_path, name):
    (tmp_path / "exams.csv").write_text(f"exam_id,trace_file\n1,{name}\n")
    with pytest.raises(DataError, match=r"a 'trace_file' is .* is not below the archive"):
        CODE15(tmp_path).records()


def test_trace_files_that_refer_to_other_files_are_set_aside(write_code_15, tmp_path):
    noise = np.random.default_rng(0).normal(size=(4, 12, 2400)).astype(np.float32)
    raw = write_code_15(tmp_path / "code-15", dict(zip((7, 8, 9, 10), noise, strict=True)))
    with h5py.File(raw / "exams_part1.hdf5", "a") as file:
        shape = file["tracings"].shape
        del file["tracings"]
        elsewhere = [(str(raw / "exams_part0.hdf5"), 0, int(np.prod(shape)) * 4)]
        file.create_dataset("tracings", shape, "f4", external=elsewhere)
    write_records("code_15", raw, tmp_path / "out")
    prepared = prepare_signals(read_source(tmp_path / "out"), tmp_path / "out", Settings())
    assert prepared.quarantine["record"].tolist() == ["8", "10"]
    reasons = prepared.quarantine["reason"]
    assert reasons.str.contains("/tracings is a data set with external storage").all()
