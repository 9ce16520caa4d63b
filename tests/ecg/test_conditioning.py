import sys
import types

import numpy as np
import pytest
import torch

from fairseq_ecg.data import DataError
from fairseq_ecg.ecg.conditioning import Conditioning, LeadStatistics
from fairseq_ecg.ecg.recording import Recording

ALL = list(range(12))
MEAN, STD = np.arange(12) + 0.1, np.arange(12) + 0.7


@pytest.fixture
def recording():
    feats = np.random.RandomState(0).standard_normal((12, 30))
    return Recording("a.mat (m.tsv, line 2)", np.asfortranarray(feats), 500.0)


def test_leads_are_taken_in_the_order_given(recording):
    ecg = Conditioning()(recording, [7, 0])
    assert ecg.dtype == torch.float32
    np.testing.assert_array_equal(ecg, recording.feats[[7, 0]].astype(np.float32))


def test_padded_leads_are_zero(recording):
    ecg = Conditioning(pad_leads=True)(recording, [7, 0])
    assert ecg.shape == (12, 30)
    np.testing.assert_array_equal(ecg[[7, 0]], recording.feats[[7, 0]].astype(np.float32))
    assert not ecg[[1, 2, 3, 4, 5, 6, 8, 9, 10, 11]].any()


def test_a_lead_that_is_missing_is_named(recording):
    short = Recording(recording.where, recording.feats[:2], 500.0)
    with pytest.raises(DataError, match=r"line 2\): has 2 leads, without III, V1. Name the leads"):
        Conditioning()(short, [0, 2, 6])
    assert Conditioning()(short, [1]).shape == (1, 30)


def test_another_sampling_rate_is_refused(recording):
    with pytest.raises(DataError, match=r"is sampled at 500 Hz, but task.sample_rate is 250"):
        Conditioning(sample_rate=250)(recording, ALL)
    for rate in (500, 0, None):
        assert Conditioning(sample_rate=rate)(recording, ALL).shape == (12, 30)


@pytest.mark.parametrize("pad_leads", [False, True])
@pytest.mark.parametrize("leads", [ALL, [1, 6], [11, 0, 3]])
def test_every_lead_is_normalised_by_its_own_statistics(recording, leads, pad_leads):
    conditioning = Conditioning(pad_leads=pad_leads, statistics=LeadStatistics(MEAN, STD))
    ecg = conditioning(recording, leads)
    rows = ecg[leads] if pad_leads else ecg
    # float32 signal, float64 statistics, rounded once.
    signal = recording.feats[leads].astype(np.float32).astype(np.float64)
    expected = (signal - MEAN[leads][:, None]) / STD[leads][:, None]
    np.testing.assert_array_equal(rows, expected.astype(np.float32))
    assert rows.count_nonzero() == ecg.count_nonzero()


def test_statistics_are_read(tmp_path):
    for name, values in (("mean.txt", MEAN), ("std.txt", STD)):
        (tmp_path / name).write_text("".join(f"{value!r}\n" for value in values.tolist()))
    statistics = LeadStatistics.read(tmp_path / "mean.txt", tmp_path / "std.txt")
    np.testing.assert_array_equal(statistics.mean, MEAN)
    np.testing.assert_array_equal(statistics.std, STD)


@pytest.mark.parametrize(
    ("std", "message"),
    [
        (None, "std.txt: no such file. Check task.mean_path and task.std_path"),
        ("1\n" * 11, "std.txt: expected 12 finite numbers, .* found 11"),
        ("1\n" * 11 + "nan\n", "std.txt: expected 12 finite numbers"),
        ("1\n" * 11 + "one\n", "std.txt: expected one number in each line"),
        ("1\n0\n" + "1\n" * 10, "std.txt: the standard deviation of II is not positive"),
    ],
)
def test_bad_statistics_are_refused(tmp_path, std, message):
    (tmp_path / "mean.txt").write_text("0\n" * 12)
    if std is not None:
        (tmp_path / "std.txt").write_text(std)
    with pytest.raises(DataError, match=message):
        LeadStatistics.read(tmp_path / "mean.txt", tmp_path / "std.txt")


@pytest.fixture
def spoiled(recording):
    recording.feats[1, 3:5] = np.nan
    recording.feats[6, 0] = -np.inf
    return recording


def test_nan_is_an_error_by_default(spoiled):
    message = r"line 2\): of 30 samples, NaN or infinite are 2 in II, 1 in V1\. Leave the file out"
    with pytest.raises(DataError, match=message):
        Conditioning()(spoiled, ALL)


def test_nan_in_leads_that_are_not_loaded_is_no_error(spoiled):
    assert Conditioning()(spoiled, [0, 2]).isfinite().all()


def test_a_value_too_large_for_float32_is_an_error(recording):
    recording.feats[0, 0] = 1e300
    with pytest.raises(DataError, match="1 in I"):
        Conditioning()(recording, ALL)


def test_nan_can_be_made_zero(spoiled):
    ecg = Conditioning(nan_policy="zero")(spoiled, ALL)
    finite = np.isfinite(spoiled.feats)
    assert not ecg[~torch.from_numpy(finite)].any()
    np.testing.assert_array_equal(ecg.numpy()[finite], spoiled.feats[finite].astype(np.float32))


def test_nan_can_be_kept(spoiled):
    ecg = Conditioning(nan_policy="keep")(spoiled, ALL)
    np.testing.assert_array_equal(ecg, spoiled.feats.astype(np.float32))


def test_an_unknown_nan_policy_is_refused():
    with pytest.raises(ValueError, match="nan_policy='drop': choose from error, zero, keep"):
        Conditioning(nan_policy="drop")


@pytest.fixture
def neurokit(monkeypatch):
    """Stands in for neurokit2, whose filters are not what is tested."""
    module = types.ModuleType("neurokit2")
    module.rates = []

    def ecg_clean(row, sampling_rate):
        module.rates.append(sampling_rate)
        return row.astype(np.float64) / 3

    module.ecg_clean = ecg_clean
    monkeypatch.setitem(sys.modules, "neurokit2", module)
    return module


def test_every_row_is_cleaned_at_500_hz_before_normalisation(recording, neurokit):
    slow = Recording(recording.where, recording.feats, 250.0)
    ecg = Conditioning(filter=True, statistics=LeadStatistics(MEAN, STD))(slow, [4, 2])
    cleaned = slow.feats[[4, 2]].astype(np.float32).astype(np.float64) / 3
    expected = (cleaned - MEAN[[4, 2]][:, None]) / STD[[4, 2]][:, None]
    np.testing.assert_array_equal(ecg, expected)
    assert neurokit.rates == [500, 500]


def test_filtering_without_neurokit_names_the_package(monkeypatch):
    monkeypatch.setitem(sys.modules, "neurokit2", None)
    with pytest.raises(ImportError, match="pip install neurokit2"):
        Conditioning(filter=True)
