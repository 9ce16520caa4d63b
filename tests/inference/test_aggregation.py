import numpy as np
import pytest

from fairseq_ecg.errors import DataError
from fairseq_ecg.inference.aggregation import aggregate, aggregation_of


def test_means_and_maxima_are_over_the_segments_of_a_recording():
    probabilities = np.array([[0.2, 1.0, 0.2], [0.5, 0.0, 0.5], [0.4, 0.5, 0.4]])
    found = aggregate(probabilities, np.array([1, 0, 1]), ["mean", "mean", "max"])
    np.testing.assert_allclose(found, [[0.5, 0.0, 0.5], [0.3, 0.75, 0.4]])
    nothing = aggregate(np.empty((0, 2)), np.empty(0, dtype=np.int64), ["mean", "max"])
    assert nothing.shape == (0, 2)


def test_labels_of_ecg_fm_are_aggregated_as_in_its_quick_start():
    labels = ("Electronic pacemaker", "Infarction", "something else")
    assert aggregation_of(labels) == dict(zip(labels, ("max", "mean", "mean"), strict=True))
    given = aggregation_of(labels, {"Infarction": "max"})
    assert list(given.values()) == ["max", "max", "mean"]
    assert set(aggregation_of(labels, "mean").values()) == {"mean"}
    with pytest.raises(DataError, match="unknown label 'VT'"):
        aggregation_of(labels, {"VT": "max"})
