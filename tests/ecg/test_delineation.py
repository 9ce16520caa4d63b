"""Onsets and offsets of waves from the class of every sample."""

import numpy as np
import pytest

from fairseq_ecg.ecg.delineation import CLASSES, delineate, waves_of

P, QRS, T, NONE = (CLASSES[name] for name in ("p", "qrs", "t", "none"))


def by_definition(classes, label_idx) -> dict[str, list[int]]:
    """Go through the samples one by one."""
    found = {f"{wave}_{end}": [] for wave in label_idx for end in ("onsets", "offsets")}
    found = {key: x for key, x in found.items() if not key.startswith("none_")}
    for wave, index in label_idx.items():
        for i, here in enumerate(classes):
            if wave == "none" or here != index:
                continue
            if i == 0 or classes[i - 1] != index:
                found[f"{wave}_onsets"].append(i)
            if i == len(classes) - 1 or classes[i + 1] != index:
                found[f"{wave}_offsets"].append(i)
    return found


@pytest.mark.parametrize("dtype", [np.int8, np.uint8, np.int64])
@pytest.mark.parametrize(
    "label_idx", [CLASSES, {"qrs": 3, "none": 0, "p": 1, "t": 2}, {"p": 0}, CLASSES | {"u": 4}]
)
def test_runs_of_a_class(label_idx, dtype):
    classes = np.random.default_rng(0).integers(0, 5, size=(20, 60)).astype(dtype)
    classes = np.repeat(classes, 3, axis=1)[:, :100]
    assert delineate(classes, label_idx) == [by_definition(row, label_idx) for row in classes]


def test_waves_at_the_ends_and_beside_each_other():
    found = delineate(np.array([P, P, QRS, T, T, NONE, P, NONE, T]))
    assert found == {
        "p_onsets": [0, 6],
        "p_offsets": [1, 6],
        "qrs_onsets": [2],
        "qrs_offsets": [2],
        "t_onsets": [3, 8],
        "t_offsets": [4, 8],
    }
    assert all(type(sample) is int for samples in found.values() for sample in samples)


@pytest.mark.parametrize("classes", [np.array([], np.int64), np.full(7, NONE), np.full(1, NONE)])
def test_no_wave(classes):
    assert delineate(classes) == {
        f"{wave}_{end}": [] for wave in waves_of(CLASSES) for end in ("onsets", "offsets")
    }


@pytest.mark.parametrize("classes", [np.zeros((2, 3, 4), int), np.int64(3), np.zeros(4)])
def test_what_is_no_class_of_samples(classes):
    with pytest.raises(ValueError, match=r"classes must be \(T,\) or \(B, T\) integers"):
        delineate(classes)
