import numpy as np
import pytest
import wfdb

from fairseq_ecg.data.leads import LEADS
from fairseq_ecg.formats import read_ecg


@pytest.fixture
def record(tmp_path):
    """Path of a record of 1000 samples in uV, with one sample without value."""
    counts = np.random.default_rng(0).integers(-2000, 2000, (1000, 12))
    counts[700, 3] = -32768
    wfdb.wrsamp(
        "long",
        fs=257,
        units=["uV"] * 12,
        sig_name=list(LEADS),
        d_signal=counts,
        fmt=["16"] * 12,
        adc_gain=[2.0] * 12,
        baseline=[5] * 12,
        comments=["Age: 60"],
        write_dir=str(tmp_path),
    )
    return tmp_path / "long"


def test_stretches_make_up_the_whole(record):
    whole, long = read_ecg(record), read_ecg(record, at_once=300)
    assert not isinstance(long.signal, np.ndarray)
    assert long.signal.shape == whole.signal.shape
    assert long.signal.dtype == whole.signal.dtype
    assert (long.leads, long.sample_rate) == (whole.leads, whole.sample_rate)
    assert (long.n_samples, long.metadata) == (1000, whole.metadata)
    for start, stop in ((0, 300), (300, 999), (699, 702), (990, 2000), (400, 400), (None, None)):
        for rows in (slice(None), slice(2, 5)):
            found, expected = long.signal[rows, start:stop], whole.signal[rows, start:stop]
            np.testing.assert_array_equal(found, expected)


def test_short_records_are_read_at_once(record):
    assert isinstance(read_ecg(record, at_once=1000).signal, np.ndarray)


def test_several_samples_a_frame_are_read_at_once(tmp_path):
    signals = [np.zeros(1000), np.zeros(1000)]
    wfdb.wrsamp(
        "frames",
        fs=100,
        units=["mV", "mV"],
        sig_name=["I", "II"],
        e_p_signal=signals,
        fmt=["16", "16"],
        samps_per_frame=[2, 2],
        write_dir=str(tmp_path),
    )
    ecg = read_ecg(tmp_path / "frames", at_once=10)
    assert isinstance(ecg.signal, np.ndarray)
    assert (ecg.sample_rate, ecg.n_samples) == (200, 1000)
