import numpy as np
import pandas as pd
import pytest
from scipy.interpolate import CubicSpline

from fairseq_ecg.errors import DataError
from fairseq_ecg.prepare.sources.ecg_id import ECGID
from tests.prepare.sources.archives import make_ecg_id, write_ecg_id_record
from tests.prepare.sources.test_ludb import segments


@pytest.fixture
def archive(tmp_path):
    return make_ecg_id(tmp_path / "ecg-id-database-1.0.0")


def starts(lengths, n_samples=2500, seed=42):
    np.random.seed(seed)
    return [np.random.randint(length - n_samples) for length in lengths]


def test_records_and_the_draws_of_fairseq_signals(archive):
    records = ECGID(archive).records()
    assert list(records) == ["path", "save_file", "source", "dataset", "patient_id", "start"]
    assert list(records["path"][:3]) == ["Person_01/rec_1", "Person_01/rec_2", "Person_02/rec_1"]
    assert list(records["patient_id"]) == [0, 0, 1, 1, 1, 2, 3, 3]
    assert list(records["save_file"][2:4]) == ["1_rec_1.mat", "1_rec_2.mat"]
    lengths = [2900 + 37 * int(path[7:9]) + 11 * int(path[-1]) for path in records["path"]]
    assert list(records["start"]) == starts(lengths)
    again = ECGID(archive.parent).records()
    pd.testing.assert_frame_equal(again, records)
    assert list(ECGID(archive, seed=7).records()["start"]) == starts(lengths, seed=7)
    short = ECGID(archive, segment_seconds=2).records()
    assert list(short["start"]) == starts(lengths, 1000)


def test_numbers_in_names_are_numbers(tmp_path):
    for n in (1, 2, 10):
        write_ecg_id_record(tmp_path / "Person_02" / f"rec_{n}")
    write_ecg_id_record(tmp_path / "Person_10" / "rec_1")
    paths = list(ECGID(tmp_path).records()["path"])
    assert paths == [*(f"Person_02/rec_{n}" for n in (1, 2, 10)), "Person_10/rec_1"]


def test_the_order_that_is_given_decides(archive):
    paths = ["Person_03/rec_1", "Person_01/rec_2", "Person_01/rec_1"]
    records = ECGID(archive).listed(paths)
    assert list(records["save_file"]) == ["0_rec_1.mat", "1_rec_2.mat", "1_rec_1.mat"]
    assert list(records["start"]) == starts([2900 + 111 + 11, 2900 + 37 + 22, 2900 + 37 + 11])


def test_the_file_of_a_recording(archive):
    signal = write_ecg_id_record(archive / "Person_03" / "rec_1", n_samples=3000)
    source = ECGID(archive)
    made, faults = segments(source)
    assert not faults
    variables = made["2_rec_1.mat"]
    assert list(variables) == ["patient_id", "curr_sample_rate", "feats"]
    assert (variables["patient_id"], variables["curr_sample_rate"]) == (2, 500)
    start = int(source.records().set_index("path").loc["Person_03/rec_1", "start"])
    expected = signal[None, start : start + 2500].astype(np.float32)
    assert variables["feats"].dtype == np.float32
    np.testing.assert_array_equal(variables["feats"], expected)


def test_a_record_that_is_as_long_as_a_segment(tmp_path):
    signal = write_ecg_id_record(tmp_path / "Person_01" / "rec_1", n_samples=2500)
    made, faults = segments(ECGID(tmp_path))
    assert not faults
    np.testing.assert_array_equal(made["0_rec_1.mat"]["feats"], signal[None].astype(np.float32))


def test_what_cannot_be_used_is_named_and_not_counted(archive):
    """Neither its person nor its start is drawn."""
    write_ecg_id_record(archive / "Person_01" / "rec_1", gap=5)
    write_ecg_id_record(archive / "Person_02" / "rec_1", sample_rate=360)
    write_ecg_id_record(archive / "Person_03" / "rec_1", n_samples=2499)
    write_ecg_id_record(archive / "Person_04" / "rec_1", annotated_rate=250)
    (archive / "Person_04" / "rec_2.dat").write_bytes(b"")
    (archive / "Person_05").mkdir()
    (archive / "Person_05" / "rec_1.dat").write_bytes(b"")
    records = ECGID(archive).records()
    faulty = records[records["fault"].notna()].set_index("path")
    expected = {
        "Person_01/rec_1": "skipped for a nan value",
        "Person_02/rec_1": "skipped, it has 360 Hz and not the desired sampling rate of 500 Hz",
        "Person_03/rec_1": "has 4.998 s, shorter than a segment of 5 s. Give --segment-seconds",
        "Person_04/rec_1": "skipped, it has 250 Hz",
        "Person_04/rec_2": "Person_04/rec_2: ",
        "Person_05/rec_1": "rec_1.hea is missing",
    }
    assert set(faulty.index) == set(expected)
    for path, text in expected.items():
        assert path in faulty["fault"][path]
        assert text in faulty["fault"][path]
    assert set(faulty["patient_id"]) == set(faulty["start"]) == {-1}
    used = records[records["fault"].isna()]
    assert list(used["save_file"]) == ["0_rec_2.mat", "1_rec_2.mat", "1_rec_3.mat"]
    assert list(used["start"]) == starts([2900 + 37 + 22, 2900 + 74 + 22, 2900 + 74 + 33])
    _, faults = segments(ECGID(archive))
    assert len(faults) == 6


def test_a_gap_in_the_signal_that_is_not_used_does_not_matter(tmp_path):
    write_ecg_id_record(tmp_path / "Person_01" / "rec_1")
    path = tmp_path / "Person_01" / "rec_1.dat"
    words = np.fromfile(path, "<i2")
    words[0] = -(2**15)
    words.tofile(path)
    assert not segments(ECGID(tmp_path))[1]


def test_other_rates_are_resampled_if_that_is_asked_for(tmp_path):
    signal = write_ecg_id_record(
        tmp_path / "Person_01" / "rec_1", sample_rate=250, n_samples=1300, annotated_rate=250
    )
    source = ECGID(tmp_path, resample=True)
    made, faults = segments(source)
    assert not faults
    start = int(source.records()["start"][0])
    assert start == starts([2600])[0]
    spline = CubicSpline(np.arange(1300), signal)
    expected = spline(np.arange(start, start + 2500) / 2)
    np.testing.assert_allclose(made["0_rec_1.mat"]["feats"][0], expected, rtol=0, atol=1e-6)


def test_without_annotations_the_header_says_the_rate(tmp_path):
    write_ecg_id_record(tmp_path / "Person_01" / "rec_1")
    (tmp_path / "Person_01" / "rec_1.atr").unlink()
    assert list(segments(ECGID(tmp_path))[0]) == ["0_rec_1.mat"]


def test_two_records_of_one_name(tmp_path):
    for folder in (tmp_path, tmp_path / "other"):
        write_ecg_id_record(folder / "Person_01" / "rec_1")
    records = ECGID(tmp_path).records()
    assert list(records["save_file"]) == ["0_rec_1.mat", "other_Person_01_rec_1.mat"]
    assert "has a record of this name in another folder. Rename" in records["fault"][1]


def test_metadata(archive, read_all):
    _, meta, faults = read_all(ECGID(archive))
    assert not faults
    assert set(meta["age"]) == {25}
    assert set(meta["sex"]) == {0}
    assert set(meta["units"]) == {"mv"}


def test_mistakes(tmp_path):
    with pytest.raises(DataError, match=r"no records \(Person_01/rec_1\.dat\)\. Give the folder"):
        ECGID(tmp_path).records()
    for seconds in (0, -5, float("nan"), float("inf")):
        with pytest.raises(DataError, match="make no segment"):
            ECGID(tmp_path, segment_seconds=seconds)


def test_a_record_that_changed_since_it_was_listed(archive):
    source = ECGID(archive)
    record = source.records().to_dict("records")[0]
    write_ecg_id_record(archive / record["path"], n_samples=2500 + record["start"] - 1)
    with pytest.raises(DataError, match=r"is shorter than it was\. Run the step 'records' again"):
        source.segment(record, source.read(record))
