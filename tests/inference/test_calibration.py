import numpy as np
import pytest
from scipy.special import expit

from fairseq_ecg.errors import DataError
from fairseq_ecg.inference.calibration import calibrate, choose_thresholds, decisions
from fairseq_ecg.inference.metrics import reliability


@pytest.fixture
def overconfident():
    """Labels drawn with probability ``expit(x / 3 - 1)``, and logits ``x``."""
    rng = np.random.default_rng(0)
    logits = rng.normal(scale=4, size=(20000, 1))
    return (rng.random(logits.shape) < expit(logits / 3 - 1)).astype(float), logits


def test_platt_finds_slope_and_offset(overconfident):
    slope, offset = calibrate(*overconfident, "platt")
    assert slope[0] == pytest.approx(1 / 3, abs=0.02)
    assert offset[0] == pytest.approx(-1, abs=0.05)


def test_calibration_lowers_the_calibration_error(overconfident):
    truth, logits = overconfident

    def error(method):
        slope, offset = calibrate(truth, logits, method)
        probabilities = expit(slope * logits + offset)
        return reliability(truth[:, 0], probabilities[:, 0]).expected_calibration_error

    assert error("platt") < 0.02 < error("temperature") < error("none")


def test_labels_that_never_vary_or_would_be_turned_round_are_left_alone():
    logits = np.linspace(-1, 1, 20)[:, None] * np.ones((1, 3))
    truth = np.c_[np.zeros(20), np.ones(20), (logits[:, 0] < 0).astype(float)]
    slope, offset = calibrate(truth, logits, "platt")
    np.testing.assert_array_equal(slope, 1)
    np.testing.assert_array_equal(offset, 0)
    with pytest.raises(DataError, match="choose from none, temperature, platt"):
        calibrate(truth, logits, "isotonic")


def test_thresholds():
    truth = np.array([0, 0, 1, 0, 1, 1, 1, 1, 1, 1, 1, 1], float)[:, None]
    probabilities = np.arange(12)[:, None] / 12
    chosen = choose_thresholds(truth, probabilities, sensitivity=0.8)
    assert chosen["youden"][0] == pytest.approx(4 / 12)
    assert chosen["f1"][0] in (pytest.approx(4 / 12), pytest.approx(2 / 12))
    assert chosen["sensitivity"][0] == pytest.approx(4 / 12)  # 8 of 9
    assert choose_thresholds(truth, probabilities, 1.0)["sensitivity"][0] == pytest.approx(2 / 12)
    assert np.isnan(choose_thresholds(0 * truth, probabilities)["f1"]).all()
    found = decisions(truth[:, 0], probabilities[:, 0], 4 / 12)
    assert found["sensitivity"] == pytest.approx(8 / 9)
    assert found["specificity"] == 1
    assert found["precision"] == 1
    assert found["npv"] == pytest.approx(3 / 4)
    assert found["f1"] == pytest.approx(16 / 17)
    assert all(np.isnan(value) for value in decisions(truth[:, 0], truth[:, 0], np.nan).values())
