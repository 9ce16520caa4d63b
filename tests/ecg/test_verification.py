"""Error rates of verification, against counts and against scikit-learn."""

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from fairseq_ecg.ecg.verification import verification


def made(seed: int, ties: bool = False):
    rng = np.random.default_rng(seed)
    probes, gallery = rng.integers(0, 6, 30), rng.integers(0, 6, 20)
    same = probes[:, None] == gallery
    similarity = rng.normal(size=same.shape) + 1.5 * same
    return np.round(similarity, 1) if ties else similarity, probes, gallery


@pytest.mark.parametrize("ties", [False, True])
def test_rates_are_what_counting_gives(ties):
    similarity, probes, gallery = made(0, ties)
    same = probes[:, None] == gallery
    measured = verification(similarity, probes, gallery)
    assert (measured.genuine, measured.impostors) == (same.sum(), (~same).sum())
    assert measured.thresholds[1:].tolist() == sorted(np.unique(similarity), reverse=True)
    for threshold, accepted, rejected in zip(
        measured.thresholds, measured.false_accepts, measured.false_rejects, strict=True
    ):
        assert accepted == pytest.approx((similarity[~same] >= threshold).mean())
        assert rejected == pytest.approx((similarity[same] < threshold).mean())
    assert measured.auroc == pytest.approx(roc_auc_score(same.ravel(), similarity.ravel()))


def test_the_error_rates_are_equal_at_the_threshold():
    similarity, probes, gallery = made(1)
    same = probes[:, None] == gallery
    measured = verification(similarity, probes, gallery)
    accepted = (similarity[~same] >= measured.threshold).mean()
    rejected = (similarity[same] < measured.threshold).mean()
    assert measured.equal_error_rate == pytest.approx(accepted, abs=1 / same.sum())
    assert measured.equal_error_rate == pytest.approx(rejected, abs=1 / same.sum())
    assert 0.1 < measured.equal_error_rate < 0.4


def test_what_is_told_apart_has_no_errors():
    similarity = np.array([[0.9, 0.1, 0.2], [0.1, 0.8, 0.3]])
    measured = verification(similarity, [7, 8], [7, 8, 9])
    assert (measured.equal_error_rate, measured.auroc) == (0, 1)
    assert 0.3 <= measured.threshold <= 0.8
    swapped = verification(-similarity, [7, 8], [7, 8, 9])
    assert (swapped.equal_error_rate, swapped.auroc) == (1, 0)


def test_equal_similarities_are_chance():
    measured = verification(np.zeros((4, 4)), range(4), range(4))
    assert measured.equal_error_rate == pytest.approx(0.5)
    assert measured.auroc == pytest.approx(0.5)
    assert measured.threshold == 0


@pytest.mark.parametrize(("probes", "gallery"), [([1], [1]), ([1], [2]), ([], [])])
def test_pairs_of_one_kind_alone_say_nothing(probes, gallery):
    measured = verification(np.zeros((len(probes), len(gallery))), probes, gallery)
    assert np.isnan([measured.equal_error_rate, measured.threshold, measured.auroc]).all()


def test_mistakes():
    with pytest.raises(ValueError, match="there are 2 probes and 1 recordings"):
        verification(np.zeros((2, 2)), [1, 2], [1])
    with pytest.raises(ValueError, match="is NaN"):
        verification(np.full((1, 1), np.nan), [1], [1])
