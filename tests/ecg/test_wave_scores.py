"""Scores of onsets and offsets, against counts made by hand and against all possible matchings."""

import itertools
import math

import numpy as np
import pytest

from fairseq_ecg.ecg.wave_scores import MEASURES, PointScore, match, points_of, score_waves

P, QRS, T, NONE = range(4)


def classes(n_samples, *waves):
    """Class of each sample, of waves ``(class, first, last)``."""
    found = np.full(n_samples, NONE)
    for wave, first, last in waves:
        found[first : last + 1] = wave
    return found


def test_the_kinds_of_points():
    expected = ["p_onset", "p_offset", "qrs_onset", "qrs_offset", "t_onset", "t_offset"]
    assert points_of() == expected


def test_a_copy_is_perfect():
    reference = classes(1000, (P, 50, 90), (QRS, 120, 170), (T, 260, 340), (P, 550, 590))
    for point, score in score_waves(reference, reference, sample_rate=500).items():
        n_points = 2 if point.startswith("p_") else 1
        assert score == PointScore(found=n_points), point
        assert (score.se, score.ppv, score.f1, score.mean_ms, score.std_ms) == (1, 1, 1, 0, 0)


@pytest.mark.parametrize("sample_rate", [100, 250, 257, 360, 500, 1000])
def test_the_tolerance_is_150_ms_inclusive(sample_rate):
    edge = sample_rate * 3 // 20
    reference = classes(3 * sample_rate, (QRS, sample_rate, 2 * sample_rate))
    for shift, counts in ((edge, (1, 0, 0)), (-edge, (1, 0, 0)), (edge + 1, (0, 1, 1))):
        moved = classes(3 * sample_rate, (QRS, sample_rate + shift, 2 * sample_rate))
        scores = score_waves(reference, moved, sample_rate=sample_rate)
        score = scores["qrs_onset"]
        assert (score.found, score.missed, score.extra) == counts
        assert scores["qrs_offset"].found == 1
        if score.found:
            assert score.mean_ms == pytest.approx(shift * 1000 / sample_rate)


def test_measures_by_hand():
    reference = classes(3000, *((T, start, start + 100) for start in (100, 700, 1300, 1900)))
    # 10 ms late, 20 ms early, one missed, one far off, one that is not there.
    found = classes(3000, *((T, start, start + 100) for start in (105, 690, 2000, 2500)))
    score = score_waves(reference, found, sample_rate=500)["t_onset"]
    assert (score.found, score.missed, score.extra) == (2, 2, 2)
    assert (score.se, score.ppv, score.f1) == (0.5, 0.5, 0.5)
    assert score.mean_ms == pytest.approx(np.mean([10, -20]))
    assert score.std_ms == pytest.approx(np.std([10, -20]))


def test_one_point_is_the_match_of_one_alone():
    reference = classes(1000, (P, 500, 560))
    found = classes(1000, (P, 480, 520), (P, 530, 560))
    onset = score_waves(reference, found, sample_rate=500)["p_onset"]
    assert (onset.found, onset.missed, onset.extra, onset.error) == (1, 0, 1, -40)


def test_waves_are_not_matches_of_other_waves():
    scores = score_waves(
        classes(1000, (P, 500, 560)), classes(1000, (T, 500, 560)), sample_rate=500
    )
    assert scores["p_onset"] == PointScore(missed=1)
    assert scores["t_onset"] == PointScore(extra=1)
    assert scores["qrs_onset"] == PointScore()


def test_only_what_is_annotated_counts():
    reference = classes(2000, (QRS, 500, 550), (QRS, 1000, 1050))
    ignored = np.ones(2000, bool)
    ignored[500:1051] = False
    # A beat before and one after the annotated ones; the first of these is found a bit early.
    found = classes(2000, (QRS, 100, 150), (QRS, 490, 550), (QRS, 1000, 1050), (QRS, 1500, 1550))
    scores = score_waves(reference, found, ignored, sample_rate=500)
    assert scores["qrs_onset"] == PointScore(found=2, error=-20, squared_error=400)
    assert scores["qrs_offset"] == PointScore(found=2)
    everywhere = score_waves(reference, found, sample_rate=500)
    assert everywhere["qrs_onset"].extra == everywhere["qrs_offset"].extra == 2


def test_waves_cut_by_the_recording_have_no_boundary_there():
    cut = classes(600, (T, 0, 80), (P, 560, 599))
    scores = score_waves(cut, cut, sample_rate=500)
    assert scores["t_onset"] == scores["p_offset"] == PointScore()
    assert scores["t_offset"] == scores["p_onset"] == PointScore(found=1)
    late = classes(600, (T, 5, 80), (P, 560, 590))
    scores = score_waves(cut, late, sample_rate=500)
    assert scores["t_onset"] == scores["p_offset"] == PointScore()


def test_nothing_to_find_has_no_sensitivity():
    nothing = classes(100)
    score = score_waves(nothing, nothing, sample_rate=500)["p_onset"]
    assert all(math.isnan(getattr(score, name)) for name in MEASURES)
    assert PointScore(missed=1).se == 0
    assert math.isnan(PointScore(missed=1).ppv)
    assert PointScore(missed=1).f1 == 0


def test_scores_add_up():
    rng = np.random.default_rng(0)
    parts = [PointScore(*rng.integers(1, 9, 5).tolist()) for _ in range(3)]
    total = sum(parts, PointScore())
    assert total.found == sum(part.found for part in parts)
    assert total.squared_error == sum(part.squared_error for part in parts)


def test_matches_are_as_many_and_as_close_as_can_be():
    rng = np.random.default_rng(1)
    for _ in range(200):
        reference = np.sort(rng.integers(0, 40, rng.integers(0, 5)))
        found = np.sort(rng.integers(0, 40, rng.integers(0, 5)))
        rows, columns = match(reference, found, 7)
        assert len(set(rows)) == len(rows) == len(set(columns))
        distances = np.abs(reference[rows] - found[columns])
        assert (distances <= 7).all()
        assert (len(rows), -distances.sum()) == best_of_all(reference, found, 7)


def best_of_all(reference, found, tolerance):
    """Most pairs, and of as many the least total distance, of every possible matching."""
    best = (0, 0)
    short, long = sorted([reference.tolist(), found.tolist()], key=len)
    for chosen in itertools.permutations(long, len(short)):
        distances = [abs(a - b) for a, b in zip(short, chosen, strict=True)]
        near = [distance for distance in distances if distance <= tolerance]
        best = max(best, (len(near), -sum(near)))
    return best


def test_the_order_of_matching_does_not_cost_a_point():
    rows, columns = match([0, 100], [90, 190], 90)
    assert list(zip(rows.tolist(), columns.tolist(), strict=True)) == [(0, 0), (1, 1)]


def test_other_indices_of_classes():
    label_idx = {"none": 0, "qrs": 1, "p": 2, "t": 3}
    reference = np.zeros(500, int)
    reference[200:250] = 1
    scores = score_waves(reference, reference, sample_rate=500, label_idx=label_idx)
    assert scores["qrs_onset"] == PointScore(found=1)
    assert scores["p_onset"] == PointScore()
