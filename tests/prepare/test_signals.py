import numpy as np
import pytest
from scipy.io import loadmat

from fairseq_ecg.prepare.signals import resample_linear, segment, segments_of, standardise


@pytest.mark.parametrize(
    ("n_samples", "rate", "desired", "expected"),
    [
        (2934, 400, 500, 3667),
        (4096, 400, 500, 5120),
        (5140, 257, 500, 10000),
        (4999, 500, 250, 2499),
        (1000, 360, 500, 1388),
    ],
)
def test_number_of_resampled_samples(n_samples, rate, desired, expected):
    assert resample_linear(np.zeros((2, n_samples)), rate, desired).shape == (2, expected)


def test_resampling_keeps_both_ends_and_straight_lines():
    line = np.linspace(-1.0, 3.0, 101)[None]
    resampled = resample_linear(line, 100, 250)
    np.testing.assert_allclose(resampled[0], np.linspace(-1.0, 3.0, 252), atol=1e-14)


def test_equal_rates_leave_the_signal_alone():
    ecg = np.random.default_rng(0).normal(size=(2, 7))
    assert resample_linear(ecg, 500, 500) is ecg


def test_standardise_has_mean_0_and_population_std_1():
    ecg = np.random.default_rng(0).normal(3.0, 0.2, size=(3, 50))
    standardised, mean, std = standardise(ecg)
    np.testing.assert_allclose(standardised.mean(axis=1), 0.0, atol=1e-14)
    np.testing.assert_allclose(standardised.std(axis=1), 1.0, atol=1e-14)
    np.testing.assert_allclose(standardised * std + mean, ecg, atol=1e-14)
    assert mean.shape == std.shape == (3, 1)


def test_flat_lead_becomes_zero_and_nan_stays_in_its_lead():
    ecg = np.stack([np.full(8, 0.125), np.arange(8.0), np.arange(8.0)])
    ecg[2, 3] = np.nan
    standardised, _, std = standardise(ecg)
    assert (standardised[0] == 0).all()
    assert std[0] == 0
    assert np.isfinite(standardised[1]).all()
    assert np.isnan(standardised[2]).all()


def test_segments_follow_each_other_and_the_rest_is_dropped():
    ecg = np.arange(2 * 11.0).reshape(2, 11)
    segments = segment(ecg, 4)
    assert segments.shape == (2, 2, 4)
    np.testing.assert_array_equal(segments[1], [[4, 5, 6, 7], [15, 16, 17, 18]])
    assert segment(ecg, 12).shape == (0, 2, 12)


def test_code_15_recordings_become_the_published_files(shared):
    root = shared / "ecg" / "code_15"
    originals = sorted((root / "org").glob("*.mat"))
    assert len(originals) == 10
    for original in originals:
        source = loadmat(original)
        resampled = resample_linear(source["feats"], source["curr_sample_rate"].item(), 500)
        standardised, mean, std = standardise(resampled)
        published = loadmat(root / "preprocessed" / original.name)
        np.testing.assert_allclose(standardised, published["feats"], rtol=0, atol=5e-15)
        np.testing.assert_allclose(mean, published["mean"], rtol=0, atol=5e-15)
        np.testing.assert_allclose(std, published["std"], rtol=0, atol=5e-15)


def test_code_15_segments_are_the_published_ones(shared):
    root = shared / "ecg" / "code_15"
    count = 0
    for preprocessed in sorted((root / "preprocessed").glob("*.mat")):
        for i, ecg in enumerate(segment(loadmat(preprocessed)["feats"], 2500)):
            published = loadmat(root / "segmented" / f"{preprocessed.stem}_{i}.mat")
            np.testing.assert_array_equal(ecg, published["feats"])
            assert published["segment_i"].item() == i
            count += 1
    assert count == len(list((root / "segmented").glob("*.mat")))


def test_segments_of_standardises_over_the_whole_recording():
    ecg = np.random.default_rng(0).normal(size=(2, 900))
    segments = segments_of(ecg, 100, 50, 200)
    assert segments.ecg.shape == (2, 2, 200)
    whole = standardise(resample_linear(ecg, 100, 50))[0]
    np.testing.assert_array_equal(segments.ecg[1], whole[:, 200:400])
