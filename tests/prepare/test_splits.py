import pytest

from fairseq_ecg.data.errors import DataError
from fairseq_ecg.prepare.splits import split_by_patient


def test_every_patient_has_one_split_in_the_wanted_proportion():
    patients = [f"p{i % 50}" for i in range(120)]
    splits = split_by_patient(patients, (0.7, 0.1, 0.2), seed=1)
    assert set(splits) == set(patients)
    counts = [list(splits.values()).count(split) for split in ("train", "valid", "test")]
    assert counts == [35, 5, 10]


def test_split_depends_on_the_seed_and_on_nothing_else():
    patients = [f"p{i}" for i in range(30)]
    drawn = split_by_patient(patients, (0.5, 0.25, 0.25), seed=1)
    assert split_by_patient(patients[::-1] * 2, (0.5, 0.25, 0.25), seed=1) == drawn
    assert split_by_patient(patients, (0.5, 0.25, 0.25), seed=2) != drawn


@pytest.mark.parametrize("fractions", [(0.8, 0.2), (0.8, 0.2, 0.0), (0.8, 0.2, 0.2)])
def test_fractions_must_be_fractions(fractions):
    with pytest.raises(DataError, match="three positive numbers with sum 1"):
        split_by_patient(["a", "b", "c"], fractions, seed=1)


def test_a_split_without_patients_is_refused():
    with pytest.raises(DataError, match="3 patients are too few"):
        split_by_patient(["a", "b", "c", "c"], (0.9, 0.05, 0.05), seed=1)
