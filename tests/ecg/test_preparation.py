import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.io import loadmat

from fairseq_ecg.ecg import blocks
from fairseq_ecg.ecg.blocks import blocks_of, mapped
from fairseq_ecg.ecg.resampling import resample
from fairseq_ecg.ecg.segmentation import segment, segments_in
from fairseq_ecg.ecg.standardisation import standardisation, statistics


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
    assert resample(np.zeros((2, n_samples)), rate, desired).shape == (2, expected)


def test_resampling_keeps_both_ends_and_straight_lines():
    line = np.linspace(-1.0, 3.0, 101)[None]
    resampled = resample(line, 100, 250)
    np.testing.assert_allclose(resampled[0], np.linspace(-1.0, 3.0, 252), atol=1e-14)


def test_equal_rates_leave_the_signal_alone():
    ecg = np.random.default_rng(0).normal(size=(2, 7))
    assert resample(ecg, 500, 500) is ecg


def test_standardised_leads_have_mean_0_and_population_std_1():
    ecg = np.random.default_rng(0).normal(3.0, 0.2, size=(3, 50))
    found = standardisation(ecg)
    standardised, mean, std = found(ecg), found.mean, found.std
    np.testing.assert_allclose(standardised.mean(axis=1), 0.0, atol=1e-14)
    np.testing.assert_allclose(standardised.std(axis=1), 1.0, atol=1e-14)
    np.testing.assert_allclose(standardised * std + mean, ecg, atol=1e-14)
    assert mean.shape == std.shape == (3, 1)


def test_flat_lead_becomes_zero_and_nan_stays_in_its_lead():
    ecg = np.stack([np.full(8, 0.125), np.arange(8.0), np.arange(8.0)])
    ecg[2, 3] = np.nan
    found = standardisation(ecg)
    standardised = found(ecg)
    assert (standardised[0] == 0).all()
    assert found.std[0] == 0
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
        resampled = resample(source["feats"], source["curr_sample_rate"].item(), 500)
        found = standardisation(resampled)
        published = loadmat(root / "preprocessed" / original.name)
        np.testing.assert_allclose(found(resampled), published["feats"], rtol=0, atol=5e-15)
        np.testing.assert_allclose(found.mean, published["mean"], rtol=0, atol=5e-15)
        np.testing.assert_allclose(found.std, published["std"], rtol=0, atol=5e-15)


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


def test_polyphase_lets_nothing_through_above_half_of_the_lower_rate():
    t = np.arange(4000) / 1000
    slow, fast = np.sin(2 * np.pi * 10 * t), np.sin(2 * np.pi * 180 * t)
    inside = np.s_[:, 30:-30]
    expected = np.sin(2 * np.pi * 10 * np.arange(1000) / 250)[None]
    polyphase = resample((slow + fast)[None], 1000, 250, "polyphase")
    assert polyphase.shape == (1, 1000)
    np.testing.assert_allclose(polyphase[inside], expected[inside], atol=0.01)
    linear = resample((slow + fast)[None], 1000, 250)
    assert np.abs(linear[:, :990] - expected[:, :990]).max() > 0.5


@pytest.mark.parametrize("rate", [257, 500.5, 99.9])
def test_polyphase_keeps_time_and_baseline(rate):
    n_samples = round(20 * rate)
    line = 3 + np.sin(2 * np.pi * np.arange(n_samples) / rate)[None]
    resampled = resample(line, rate, 500, "polyphase")
    assert resampled.shape[1] == np.ceil(n_samples * 500 / rate)
    expected = 3 + np.sin(2 * np.pi * np.arange(resampled.shape[1]) / 500)
    np.testing.assert_allclose(resampled[0, 50:-80], expected[50:-80], atol=4e-3)
    assert np.abs(resampled - expected).max() < 0.1  # no step to 0 at the ends


class InPieces:
    """An array that is no array, as recordings are that do not fit in memory."""

    def __init__(self, array):
        self.array, self.shape, self.dtype = array, array.shape, array.dtype

    def __getitem__(self, key):
        assert key[0] == slice(None)
        return self.array[key]


@given(
    n_samples=st.integers(3, 400),
    rates=st.sampled_from([(100, 250), (257, 500), (500, 500), (1000, 360), (400, 100)]),
    resampler=st.sampled_from(["linear", "polyphase"]),
    block=st.integers(5, 90),
)
@settings(deadline=None, max_examples=60)
def test_in_blocks_the_numbers_are_the_same(n_samples, rates, resampler, block):
    ecg = np.random.default_rng(n_samples).normal(size=(3, n_samples))
    ecg[1] = 0.1
    whole = resample(ecg, *rates, resampler)
    of_whole = standardisation(whole)
    size = blocks.BLOCK_SAMPLES
    blocks.BLOCK_SAMPLES = block
    try:
        pieces = resample(InPieces(ecg), *rates, resampler)
        found = np.concatenate(list(blocks_of(pieces)), axis=1)
        in_blocks = standardisation(pieces)
        cut = list(segments_in(mapped(pieces, in_blocks, 3, pieces.dtype), 20))
        flat = statistics(InPieces(ecg)).flat
    finally:
        blocks.BLOCK_SAMPLES = size
    np.testing.assert_allclose(found, whole, rtol=0, atol=0 if resampler == "linear" else 1e-12)
    np.testing.assert_allclose(in_blocks.mean, of_whole.mean, rtol=0, atol=1e-12)
    np.testing.assert_allclose(in_blocks.std, of_whole.std, rtol=0, atol=1e-12)
    assert flat.tolist() == [False, True, False]
    np.testing.assert_allclose(
        np.array(cut).reshape(-1, 3, 20), segment(of_whole(whole), 20), rtol=0, atol=1e-11
    )


def test_up_to_two_blocks_the_numbers_are_those_of_numpy(monkeypatch):
    monkeypatch.setattr(blocks, "BLOCK_SAMPLES", 500)
    ecg = np.asfortranarray(np.random.default_rng(0).normal(size=(12, 1000)))
    found = standardisation(ecg)
    centred = ecg - ecg.mean(axis=1, keepdims=True)
    np.testing.assert_array_equal(found.mean, ecg.mean(axis=1, keepdims=True))
    np.testing.assert_array_equal(found.std, centred.std(axis=1, keepdims=True))
    assert len(list(blocks_of(ecg))) == 1
    assert [block.shape[1] for block in blocks_of(np.zeros((12, 1001)))] == [500, 500, 1]


def test_statistics_of_one_block_are_those_of_numpy():
    ecg = np.random.default_rng(0).normal(size=(12, 5000)).astype(np.float32)
    found = statistics(ecg)
    np.testing.assert_array_equal(found.mean, ecg.mean(axis=1))
    np.testing.assert_array_equal(found.std, ecg.std(axis=1))


def test_statistics_without_the_missing_samples():
    ecg = np.random.default_rng(0).normal(size=(3, 100))
    ecg[0, 10:20] = np.nan
    ecg[2] = np.nan
    size = blocks.BLOCK_SAMPLES
    try:
        for blocks.BLOCK_SAMPLES in (size, 7):
            found = standardisation(ecg, skip_missing=True)
            np.testing.assert_allclose(found.mean[:2, 0], np.nanmean(ecg[:2], axis=1))
            np.testing.assert_allclose(found.std[:2, 0], np.nanstd(ecg[:2], axis=1))
            assert found.mean[2] == found.std[2] == 0
    finally:
        blocks.BLOCK_SAMPLES = size


@pytest.mark.parametrize("rates", [(333.3333333333, 500), (500, 333.3333333333), (499.999999, 500)])
def test_rates_of_any_ratio_are_resampled_soon(rates):
    given, desired = rates
    n_samples = 5000
    wave = np.sin(2 * np.pi * 3 * np.arange(n_samples) / given)[None]
    found = resample(wave, given, desired, "polyphase")
    expected = np.sin(2 * np.pi * 3 * np.arange(found.shape[1]) / desired)
    inner = slice(100, -100)
    np.testing.assert_allclose(found[0, inner], expected[inner], atol=2e-3)
