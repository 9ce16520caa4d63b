"""Division of recordings into training, validation and test, no patient in two of them."""

from collections.abc import Sequence

import numpy as np

from fairseq_ecg.data.errors import DataError

SPLITS = ("train", "valid", "test")


def split_by_patient(
    patients: Sequence[str], fractions: Sequence[float], seed: int
) -> dict[str, str]:
    """Draw a split for every patient.

    Args:
        patients: the patient of each recording; the order does not matter.
        fractions: of the patients, one for each of ``SPLITS``; positive, their sum is 1.
        seed: of the drawing.

    Returns:
        The split of each patient.

    Raises:
        DataError: The fractions are no fractions, or the patients are too few for them.
    """
    if len(fractions) != len(SPLITS) or min(fractions) <= 0 or not np.isclose(sum(fractions), 1):
        raise DataError(
            f"fractions {list(fractions)}: give three positive numbers with sum 1, "
            "for train, valid and test"
        )
    distinct = sorted(set(patients))
    bounds = np.round(np.cumsum([0, *fractions]) * len(distinct)).astype(int)
    if min(np.diff(bounds)) == 0:
        raise DataError(f"{len(distinct)} patients are too few for fractions {list(fractions)}")
    drawn = np.random.default_rng(seed).permutation(len(distinct))
    return {
        distinct[i]: split
        for split, first, last in zip(SPLITS, bounds, bounds[1:], strict=False)
        for i in drawn[first:last]
    }
