import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import auc, average_precision_score, precision_recall_curve, roc_auc_score

from fairseq_ecg.inference.metrics import (
    Ranking,
    bootstrap,
    brier,
    curve,
    interval,
    mean_of_defined,
    reliability,
)

LABELLED = st.lists(
    st.tuples(st.integers(0, 1), st.integers(-3, 3), st.integers(0, 3)), min_size=1, max_size=40
)


def expected(truth, scores):
    precision, recall, _ = precision_recall_curve(truth, scores)
    return [
        roc_auc_score(truth, scores),
        average_precision_score(truth, scores),
        auc(recall, precision),
    ]


def found(areas, row=0):
    return [areas.auroc[row], areas.auprc[row], areas.trapezoidal_auprc[row]]


@settings(deadline=None, max_examples=200)
@given(LABELLED)
def test_areas_are_those_of_scikit_learn(rows):
    truth, scores, counts = np.array(rows, float).T
    ranking = Ranking(truth, scores)
    counts = counts.astype(int)
    weighted = ranking.areas(np.stack([counts, np.ones_like(counts)]))
    if 0 < truth.sum() < len(truth):
        np.testing.assert_allclose(found(ranking.areas()), expected(truth, scores), atol=1e-12)
        np.testing.assert_allclose(found(weighted, 1), expected(truth, scores), atol=1e-12)
    else:
        assert not ranking.is_defined
        assert np.isnan(found(ranking.areas())).all()
    drawn = np.repeat(np.arange(len(truth)), counts)
    if len(set(truth[drawn])) == 2:
        np.testing.assert_allclose(
            found(weighted), expected(truth[drawn], scores[drawn]), atol=1e-12
        )
    else:
        assert np.isnan(found(weighted)).all()


def test_rows_without_a_label_do_not_count():
    truth = np.array([1, np.nan, 0, 1, np.nan, 0])
    scores = np.array([0.9, 1.0, 0.5, 0.4, 0.0, 0.1])
    known = ~np.isnan(truth)
    assert found(Ranking(truth, scores).areas()) == pytest.approx(
        expected(truth[known], scores[known])
    )
    assert brier(truth, scores) == pytest.approx(np.mean((truth - scores)[known] ** 2))
    assert reliability(truth, scores).rows.sum() == 4


def test_the_bootstrap_draws_recordings_and_depends_on_its_seed_alone(monkeypatch):
    rng = np.random.default_rng(0)
    truth = (rng.random((60, 2)) < 0.4).astype(float)
    scores = truth + rng.normal(size=truth.shape)
    unit_of = np.repeat(np.arange(20), 3)
    rankings = [Ranking(*pair) for pair in zip(truth.T, scores.T, strict=True)]
    drawn = bootstrap(rankings, unit_of, n_resamples=30, seed=3)
    monkeypatch.setattr("fairseq_ecg.inference.metrics.BLOCK_WEIGHTS", 100)
    again = bootstrap(rankings, unit_of, n_resamples=30, seed=3)
    np.testing.assert_array_equal(drawn.auroc, again.auroc)
    other = bootstrap(rankings, unit_of, n_resamples=30, seed=4)
    assert (drawn.auroc != other.auroc).any()
    rng = np.random.default_rng(3)
    for resample in range(30):
        units = rng.integers(0, 20, 20)
        rows = np.concatenate([np.flatnonzero(unit_of == unit) for unit in units])
        for label in range(2):
            assert drawn.auroc[resample, label] == pytest.approx(
                roc_auc_score(truth[rows, label], scores[rows, label])
            )


def test_the_interval_covers_what_is_true():
    # Two normal distributions one standard deviation apart: AUROC 0.7602.
    covered = 0
    for seed in range(60):
        rng = np.random.default_rng(seed)
        truth = np.repeat([0.0, 1.0], 40)
        drawn = bootstrap(
            [Ranking(truth, truth + rng.normal(size=80))],
            np.arange(80),
            n_resamples=200,
            seed=seed,
        )
        low, high, defined = interval(drawn.auroc[:, 0])
        assert defined == 200
        covered += low <= 0.7602 <= high
    assert 50 <= covered <= 60


def test_resamples_without_a_positive_row_are_left_out():
    truth = np.r_[1.0, np.zeros(9)]
    drawn = bootstrap(
        [Ranking(truth, truth), Ranking(np.zeros(10), truth)],
        np.arange(10),
        n_resamples=300,
    )
    _, _, defined = interval(drawn.auroc[:, 0])
    assert 150 < defined < 230  # 1 - 0.9 ** 10 of them
    assert interval(drawn.auroc[:, 1])[2] == 0
    np.testing.assert_array_equal(mean_of_defined(drawn.auroc), drawn.auroc[:, 0])


def test_calibration():
    truth, probabilities = np.r_[np.ones(7), np.zeros(3)], np.full(10, 0.5)
    assert reliability(truth, probabilities).expected_calibration_error == pytest.approx(0.2)
    assert brier(truth, probabilities) == pytest.approx(0.25)
    perfect = reliability(np.array([0.0, 1.0]), np.array([0.0, 1.0]))
    assert perfect.expected_calibration_error == 0
    assert np.isnan(reliability(np.zeros(0), np.zeros(0)).expected_calibration_error)


def test_curve_counts_at_every_threshold():
    points = curve(np.array([1.0, 0, 1, 0]), np.array([0.9, 0.5, 0.5, 0.1]))
    np.testing.assert_array_equal(points.thresholds, [0.9, 0.5, 0.1])
    np.testing.assert_array_equal(points.true_positives, [1, 2, 2])
    np.testing.assert_array_equal(points.false_positives, [0, 1, 2])
    np.testing.assert_array_equal(points.sensitivity, [0.5, 1, 1])
    np.testing.assert_array_equal(points.specificity, [1, 0.5, 0])
