from dataclasses import replace

import numpy as np
import pytest

from fairseq_ecg.ecg import blocks
from fairseq_ecg.ecg.conditioning import LeadStatistics
from fairseq_ecg.ecg.leads import LEADS
from fairseq_ecg.errors import DataError
from fairseq_ecg.formats import ECG
from fairseq_ecg.inference import Preprocessing

PREPROCESSING = Preprocessing()


def ecg_of(seconds=6.0, rate=500.0, leads=LEADS, seed=0):
    """Limb leads that agree with one another, and noise in the others."""
    rng = np.random.default_rng(seed)
    signal = rng.normal(size=(12, round(seconds * rate)))
    i, ii = signal[0], signal[1]
    signal[2:6] = ii - i, -(i + ii) / 2, i - ii / 2, ii - i / 2
    return ECG("made", signal[[LEADS.index(lead) for lead in leads]], tuple(leads), rate)


def segments(ecg, preprocessing=PREPROCESSING, **policies):
    return np.stack([x.numpy() for x in preprocessing.segments(ecg, **policies)])


def test_leads_are_found_by_name():
    expected = segments(ecg_of())
    shuffled = LEADS[::-1]
    np.testing.assert_array_equal(segments(ecg_of(leads=shuffled)), expected)


def test_missing_limb_leads_are_derived():
    expected = segments(ecg_of())
    kept = ("aVL", "II", *LEADS[6:])
    ecg = ecg_of(leads=kept)
    prepared = PREPROCESSING.segments(ecg)
    assert prepared.missing_leads == ("I", "III", "aVR", "aVF")
    np.testing.assert_allclose(segments(ecg), expected, atol=1e-5)
    zeros = segments(ecg, missing_leads="zero")
    np.testing.assert_array_equal(zeros[:, [0, 2, 3, 5]], 0)
    np.testing.assert_array_equal(zeros[:, [1, 4, 6]], expected[:, [1, 4, 6]])
    with pytest.raises(DataError, match=r"lacks lead I, III, aVR, aVF \(it has aVL, II"):
        segments(ecg, missing_leads="error")
    one = segments(ecg_of(leads=("V5",)))
    assert (one[:, :10] == 0).all()
    np.testing.assert_array_equal(one[:, 10], expected[:, 10])
    with pytest.raises(DataError, match="missing_leads='guess': choose from derive, zero, error"):
        segments(ecg, missing_leads="guess")


def test_leads_that_the_network_does_not_read_do_not_matter():
    two = replace(PREPROCESSING, leads=("V1", "I"), missing_leads="error")
    expected = segments(ecg_of())[:, [6, 0]]
    np.testing.assert_array_equal(segments(ecg_of(leads=("I", "V1")), two), expected)
    twelve = replace(two, pad_leads=True)
    padded = segments(ecg_of(), twelve)
    np.testing.assert_array_equal(padded[:, [6, 0]], expected)
    assert (padded[:, [1, 2, 11]] == 0).all()
    with pytest.raises(DataError, match="none of the leads that the network reads"):
        segments(ecg_of(leads=("II",)), replace(two, missing_leads="zero"))


def test_a_lead_without_any_value_is_missing():
    ecg = ecg_of()
    signal = ecg.signal.copy()
    signal[2] = np.nan
    prepared = PREPROCESSING.segments(replace(ecg, signal=signal))
    assert prepared.missing_leads == ("III",)
    np.testing.assert_allclose(np.stack(list(prepared)), segments(ecg), atol=1e-5)
    with pytest.raises(DataError, match="no sample has a value"):
        segments(replace(ecg, signal=np.full_like(signal, np.nan)))


def test_samples_without_value_are_refused_or_interpolated():
    ecg = ecg_of()
    signal = ecg.signal.copy()
    signal[7, 100:103] = np.nan, np.inf, np.nan
    broken = replace(ecg, signal=signal)
    with pytest.raises(DataError, match="of 3000 samples, NaN or infinite are 3 in V2"):
        segments(broken)
    line = np.linspace(signal[7, 99], signal[7, 103], 5)[1:-1]
    filled = signal.copy()
    filled[7, 100:103] = line
    expected = segments(replace(ecg, signal=filled))
    np.testing.assert_allclose(segments(broken, nan_policy="interpolate"), expected, atol=1e-6)
    assert np.isnan(signal[7, 100])


def test_flat_leads_become_zero_and_are_reported():
    ecg = ecg_of()
    signal = ecg.signal.copy()
    signal[8] = 0.1
    prepared = PREPROCESSING.segments(replace(ecg, signal=signal))
    assert prepared.flat_leads == ("V3",)
    assert (next(iter(prepared))[8] == 0).all()
    with pytest.raises(DataError, match="made: no signal, all leads are flat"):
        segments(replace(ecg, signal=np.zeros_like(signal)))


@pytest.mark.parametrize(("factor", "units"), [(1000.0, "uV"), (1e-3, "V")])
def test_other_units_than_mv_are_seen_by_their_magnitude(factor, units):
    ecg = ecg_of()
    with pytest.raises(DataError, match=f"give units='{units}'"):
        segments(replace(ecg, signal=ecg.signal * factor))


@pytest.mark.parametrize("shape", [(12, 0), (0, 5), (12,)])
def test_no_samples(shape):
    with pytest.raises(DataError, match="made: no samples"):
        segments(ECG("made", np.zeros(shape), LEADS, 500.0))


@pytest.mark.parametrize("rate", [0.0, -1.0, np.nan, np.inf])
def test_no_rate(rate):
    with pytest.raises(DataError, match="is no sampling rate"):
        segments(replace(ecg_of(), sample_rate=rate))


def test_what_is_left_behind_the_last_segment():
    ecg = ecg_of(seconds=12)
    dropped, overlapping = PREPROCESSING.segments(ecg), PREPROCESSING.segments(ecg, tail="overlap")
    assert dropped.starts == [0, 2500]
    assert overlapping.starts == [0, 2500, 3500]
    assert overlapping.span(2) == (7.0, 12.0)
    whole = np.concatenate(list(overlapping)[:2], axis=1)
    np.testing.assert_array_equal(list(overlapping)[2][:, :1500], whole[:, 3500:])
    assert PREPROCESSING.segments(ecg_of(seconds=10), tail="overlap").starts == [0, 2500]
    with pytest.raises(DataError, match="tail='pad': choose from drop, overlap"):
        PREPROCESSING.segments(ecg, tail="pad")


def test_short_recordings_are_refused_or_padded():
    ecg = ecg_of(seconds=3)
    with pytest.raises(DataError, match="made: 3 s, shorter than one segment of 5 s"):
        segments(ecg)
    padded = PREPROCESSING.segments(ecg, short="pad")
    assert padded.padded == 1000
    assert next(iter(padded)).shape == (12, 2500)


@pytest.mark.parametrize("rate", [250.0, 257.3, 500.0, 1000.0])
def test_long_recordings_are_computed_by_the_chunk(rate, monkeypatch):
    ecg = ecg_of(seconds=16, rate=rate)
    whole = segments(ecg)
    monkeypatch.setattr(blocks, "BLOCK_SAMPLES", 700)
    prepared = PREPROCESSING.segments(ecg)
    assert not isinstance(prepared._signal, np.ndarray)
    assert len(prepared) == 3
    np.testing.assert_allclose(np.stack(list(prepared)), whole, atol=1e-6)


def test_raw_networks_read_millivolts():
    raw = replace(PREPROCESSING, standardise=False)
    ecg = ecg_of()
    np.testing.assert_array_equal(segments(ecg, raw)[0], ecg.signal[:, :2500].astype(np.float32))


def test_statistics_normalise_after_standardisation():
    normal = replace(PREPROCESSING, mean=tuple(range(12)), std=(2.0,) * 12)
    expected = (segments(ecg_of()) - np.arange(12)[:, None]) / 2
    np.testing.assert_allclose(segments(ecg_of(), normal), expected, atol=1e-6)


@pytest.mark.parametrize(
    "values",
    [
        {"sample_rate": 0},
        {"segment_seconds": -1},
        {"segment_seconds": 1e-6},
        {"epsilon": -1},
        {"missing_leads": "guess"},
        {"resampler": "fft"},
        {"leads": ("I", "V7")},
        {"leads": ("I", "I")},
        {"mean": (0.0,) * 12},
    ],
)
def test_values_that_make_no_sense(values):
    with pytest.raises(DataError, match=next(iter(values)).split("_")[0].removesuffix("s")):
        Preprocessing(**values)


@pytest.mark.parametrize("criterion", ["simclr", "3kg"])
def test_contrast_of_whole_recordings_normalises_them_whole(criterion):
    task = {"_name": "ecg_pretraining", "criterion_name": criterion, "normalize": True}
    task |= {"leads_to_load": "[0]", "filter": True, "mean_path": "m.txt", "std_path": "s.txt"}
    found = Preprocessing.of_task(task, n_rows=12)
    assert found == Preprocessing(layer_norm=True)
    assert Preprocessing.of_json(found.to_json()) == found
    statistics = LeadStatistics(np.zeros(12), np.ones(12))
    with pytest.raises(DataError, match="leave out mean_path"):
        Preprocessing.of_task(task, statistics=statistics, n_rows=12)


def test_what_few_have_is_not_in_the_json_of_others():
    assert not {"layer_norm", "each_lead"} & set(Preprocessing().to_json())
    with pytest.raises(DataError, match="each_lead"):
        Preprocessing(each_lead=True, pad_leads=True)
