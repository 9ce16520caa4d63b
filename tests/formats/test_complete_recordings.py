import numpy as np
import pytest
import scipy.io
import wfdb

from fairseq_ecg.ecg.leads import LEADS
from fairseq_ecg.ecg.preprocessing import Preprocessing
from fairseq_ecg.errors import DataError
from fairseq_ecg.formats import arrange, read_ecg


def read_recording(path):
    return arrange(read_ecg(path))


def write_record(folder, signal, *, names=LEADS, units="mV", fs=500, gain=1000.0):
    names = list(names)
    wfdb.wrsamp(
        "rec",
        fs=fs,
        units=[units] * len(names),
        sig_name=names,
        d_signal=signal.T.astype(np.int64),
        fmt=["16"] * len(names),
        adc_gain=[gain] * len(names),
        baseline=[0] * len(names),
        write_dir=str(folder),
    )
    return folder / "rec"


@pytest.fixture
def counts():
    """Digital values that differ from lead to lead."""
    return np.arange(12)[:, None] * 100 + np.arange(20)


def test_reads_millivolts_in_the_standard_order(tmp_path, counts):
    order = [6, 7, 8, 9, 10, 11, 0, 1, 2, 4, 5, 3]
    names = [LEADS[i].upper() for i in order]
    recording = read_recording(write_record(tmp_path, counts[order], names=names))
    np.testing.assert_allclose(recording.signal, counts / 1000, atol=1e-12)
    assert recording.sample_rate == 500


def test_extension_of_the_header_may_be_given(tmp_path, counts):
    path = write_record(tmp_path, counts)
    np.testing.assert_array_equal(
        read_recording(path.with_suffix(".hea")).signal, read_recording(path).signal
    )


def test_microvolts_become_millivolts(tmp_path, counts):
    path = write_record(tmp_path, counts, units="uV", gain=1.0)
    np.testing.assert_allclose(read_recording(path).signal, counts / 1000, atol=1e-12)


def test_other_units_are_refused(tmp_path, counts):
    path = write_record(tmp_path, counts, units="bpm")
    with pytest.raises(DataError, match=r"rec\.hea: lead I is in 'bpm'"):
        read_recording(path)


def test_missing_leads_are_named(tmp_path, counts):
    path = write_record(tmp_path, counts[:10], names=[*LEADS[:9], "resp"])
    with pytest.raises(DataError, match=r"rec\.hea: lacks lead V4, V5, V6 \(it has I, II"):
        read_recording(path)


def test_samples_without_value_are_refused(tmp_path, counts):
    counts[7, 3] = -(2**15)  # what WFDB calls an invalid sample
    path = write_record(tmp_path, counts)
    with pytest.raises(DataError, match=r"rec\.hea: .*NaN or infinite are 1 in V2\. "):
        Preprocessing().segments(read_recording(path))


def test_missing_header_and_missing_signal_are_distinguished(tmp_path, counts):
    with pytest.raises(DataError, match=r"none\.hea: no such WFDB header"):
        read_recording(tmp_path / "none")
    path = write_record(tmp_path, counts)
    path.with_suffix(".dat").unlink()
    with pytest.raises(DataError, match=r"rec\.hea: no such WFDB record \(rec\.dat is missing\)"):
        read_recording(path)


def test_reads_extracted_mat_files(shared):
    path = shared / "ecg" / "code_15" / "org" / "code_15_438277.mat"
    recording = read_recording(path)
    assert recording.sample_rate == 400
    feats = scipy.io.loadmat(path)["feats"]
    assert recording.signal.dtype == feats.dtype
    np.testing.assert_array_equal(recording.signal, feats)


def test_refuses_standardised_and_foreign_mat_files(tmp_path, shared):
    with pytest.raises(DataError, match="already standardised"):
        read_recording(shared / "ecg" / "code_15" / "preprocessed" / "code_15_438277.mat")
    scipy.io.savemat(tmp_path / "a.mat", {"feats": np.zeros((8, 10)), "curr_sample_rate": 500})
    with pytest.raises(DataError, match=r"shape \(8, 10\), not \(12, samples\)"):
        read_recording(tmp_path / "a.mat")
    scipy.io.savemat(tmp_path / "b.mat", {"val": np.zeros((12, 10))})
    with pytest.raises(DataError, match=r"b\.mat: has shape \(12, 10\) and no names of leads"):
        read_recording(tmp_path / "b.mat")
