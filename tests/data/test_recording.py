import logging

import numpy as np
import pytest
import wfdb

from fairseq_ecg.data import LEADS, DataError
from fairseq_ecg.data.recording import (
    read_integer,
    read_mat,
    read_wfdb,
    recording_from_mat,
)


def read(path):
    mat = read_mat(str(path), f"{path} (m.tsv, line 7)", required=("feats", "curr_sample_rate"))
    return recording_from_mat(mat, f"{path} (m.tsv, line 7)")


def test_a_recording_is_read(write_ecg):
    recording = read(write_ecg(n_samples=30))
    assert recording.feats.shape == (12, 30)
    assert recording.n_samples == 30
    assert recording.sample_rate == 500


def test_only_variables_asked_for_are_read(write_ecg):
    mat = read_mat(str(write_ecg()), "here", required=("idx",), optional=("curr_sample_rate", "x"))
    assert {key for key in mat if not key.startswith("__")} == {"idx", "curr_sample_rate"}


@pytest.mark.parametrize("key", ["feats", "curr_sample_rate"])
def test_a_missing_variable_is_named(write_ecg, key):
    with pytest.raises(DataError, match=rf"a.mat \(m.tsv, line 7\): has no '{key}'"):
        read(write_ecg(**{key: None}))


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(DataError, match=r"b.mat \(m.tsv, line 7\): no such file. Restore it"):
        read(tmp_path / "b.mat")


@pytest.mark.parametrize("n_bytes", [0, 50, 130, 400, 1000])
def test_a_truncated_file_is_refused(write_ecg, n_bytes):
    path = write_ecg()
    path.write_bytes(path.read_bytes()[:n_bytes])
    with pytest.raises(DataError, match=r"a.mat \(m.tsv, line 7\): "):
        read(path)


def test_a_file_of_something_else_is_refused(tmp_path):
    path = tmp_path / "a.mat"
    path.write_text("no ECG at all, but long enough to have a header\n" * 10)
    with pytest.raises(DataError, match=r"a.mat .* is no .mat file, or damaged"):
        read(path)


def test_a_matlab_73_file_is_refused_with_the_remedy(tmp_path):
    header = b"MATLAB 7.3 MAT-file".ljust(124) + (0x0200).to_bytes(2, "little") + b"IM"
    path = tmp_path / "a.mat"
    path.write_bytes(header + bytes(512))
    with pytest.raises(DataError, match="Save it with version 7"):
        read(path)


@pytest.mark.parametrize(
    "feats", [np.zeros((2, 3, 4)), np.array([["a", "b"]]), np.ones((12, 5)) * 1j]
)
def test_what_is_no_ecg_is_refused(write_ecg, feats):
    with pytest.raises(DataError, match=r"'feats' must be real numbers of shape \(leads, samples"):
        read(write_ecg(feats=feats))


@pytest.mark.parametrize("rate", [0, -500, np.nan, np.inf, [400, 500], "fast"])
def test_what_is_no_rate_is_refused(write_ecg, rate):
    with pytest.raises(DataError, match="'curr_sample_rate' must be one positive number"):
        read(write_ecg(curr_sample_rate=rate))


def test_a_length_other_than_the_manifests_is_refused(write_ecg):
    recording = read(write_ecg(n_samples=30))
    recording.check_n_samples(30)
    with pytest.raises(DataError, match=r"has 30 samples, the manifest says 25.* manifest again"):
        recording.check_n_samples(25)


def test_a_transposed_ecg_is_recognised(write_ecg):
    recording = read(write_ecg(feats=np.zeros((30, 12))))
    with pytest.raises(DataError, match=r"shape \(30, 12\) and looks transposed"):
        recording.check_n_samples(30)


@pytest.mark.parametrize(("value", "number"), [([[7]], 7), ([7.0], 7), (np.uint8(3), 3)])
def test_an_integer_is_read_from_every_shape_of_one(value, number):
    assert read_integer({"idx": np.array(value)}, "idx", "here") == number


@pytest.mark.parametrize("value", [[1, 2], 1.5, np.nan, np.inf, "7", 2**31, []])
def test_what_is_no_integer_is_refused(value):
    with pytest.raises(DataError, match="here: 'idx' must be one integer of at most 32 bits"):
        read_integer({"idx": np.array(value)}, "idx", "here")


@pytest.fixture
def write_record(tmp_path):
    def write(name: str, leads=LEADS, rate: int = 250):
        signals = np.sin(np.arange(40)[:, None] / (1 + np.arange(len(leads))))
        wfdb.wrsamp(
            name,
            fs=rate,
            units=["mV"] * len(leads),
            sig_name=list(leads),
            p_signal=signals,
            fmt=["16"] * len(leads),
            write_dir=str(tmp_path),
        )
        return signals, tmp_path / name

    return write


def test_a_wfdb_record_is_read(write_record, caplog):
    signals, record = write_record("r1")
    recording = read_wfdb(str(record), "a.mat")
    assert recording.sample_rate == 250
    # 16 bits over a range of 2 mV resolve 3e-5 mV.
    np.testing.assert_allclose(recording.feats, signals.T, rtol=0, atol=3e-5)
    assert not [record for record in caplog.records if record.name.startswith("fairseq_ecg")]


def test_leads_in_another_order_are_warned_of_once(write_record, caplog, monkeypatch):
    monkeypatch.setattr("fairseq_ecg.data.recording._lead_orders_warned_of", set())
    caplog.set_level(logging.WARNING)
    order = (*LEADS[:4], "aVF", "aVL", *LEADS[6:])
    for name in ("r2", "r3"):
        read_wfdb(str(write_record(name, order)[1]), "a.mat")
    (record,) = caplog.records
    assert "r2: its leads are i, ii, iii, avr, avf, avl" in record.getMessage()


@pytest.mark.parametrize("suffix", [".hea", ".dat"])
def test_a_missing_part_of_a_wfdb_record_is_named(write_record, suffix):
    record = write_record("r4")[1]
    record.with_suffix(suffix).unlink()
    with pytest.raises(DataError, match=rf"r4 \(named by a.mat\): no such .*\(r4{suffix} is miss"):
        read_wfdb(str(record), "a.mat")


def test_a_damaged_wfdb_record_is_refused(write_record):
    record = write_record("r5")[1]
    data = record.with_suffix(".dat")
    data.write_bytes(data.read_bytes()[:100])
    with pytest.raises(DataError, match=r"r5 \(named by a.mat\): is no WFDB record, or damaged"):
        read_wfdb(str(record), "a.mat")
