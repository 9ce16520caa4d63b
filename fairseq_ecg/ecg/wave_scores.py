"""How well onsets and offsets of waves are found: sensitivity, precision and error in time.

The protocol is that of the publications on LUDB. An onset or offset of the reference is found
(true positive) if one of the same wave is found at most 150 ms from it, the neighbourhood of the
standard ANSI/AAMI EC57; otherwise it is missed (false negative). A point that is found without one
of the reference near it is a false positive. Points are matched one to one, and leads that are
annotated one by one are scored one by one. Cardiologists have annotated a part of each recording,
so that outside of it nothing that is found counts as false.

Sources:
    A. I. Kalyakulina, I. I. Yusipov, V. A. Moskalenko, A. V. Nikolskiy, K. A. Kosonogov,
    G. V. Osipov, N. Yu. Zolotykh, M. V. Ivanchenko, "LUDB: a new open-access validation tool for
    electrocardiogram delineation algorithms", IEEE Access 8 (2020) 186181-186190.
    V. Moskalenko, N. Zolotykh, G. Osipov, "Deep learning for ECG segmentation", Advances in Neural
    Computation, Machine Learning, and Cognitive Research III (2019) 246-254, arXiv:2001.04689.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import astuple, dataclass

import numpy as np

from fairseq_ecg.ecg.delineation import CLASSES, delineate, waves_of

TOLERANCE = 0.15
"""Seconds from a point of the reference within which it is found."""


@dataclass(frozen=True)
class PointScore:
    """How often points of one kind were found, and how far off; scores add up.

    Attributes:
        found: true positives, points of the reference that were found.
        missed: false negatives, those that were not.
        extra: false positives, what was found where the reference has no point.
        error: sum of found minus reference over the true positives, in ms: positive where late.
        squared_error: sum of its squares, in ms^2.
    """

    found: float = 0
    missed: float = 0
    extra: float = 0
    error: float = 0
    squared_error: float = 0

    def __add__(self, other: "PointScore") -> "PointScore":
        return PointScore(*map(sum, zip(astuple(self), astuple(other), strict=True)))

    @property
    def se(self) -> float:
        """Sensitivity, TP / (TP + FN); NaN without a reference."""
        return _ratio(self.found, self.found + self.missed)

    @property
    def ppv(self) -> float:
        """Positive predictive value or precision, TP / (TP + FP); NaN where nothing is found."""
        return _ratio(self.found, self.found + self.extra)

    @property
    def f1(self) -> float:
        """2 TP / (2 TP + FP + FN); NaN where there is neither reference nor found."""
        return _ratio(2 * self.found, 2 * self.found + self.missed + self.extra)

    @property
    def mean_ms(self) -> float:
        """Mean error in ms."""
        return _ratio(self.error, self.found)

    @property
    def std_ms(self) -> float:
        """Standard deviation of the error in ms, with TP as the divisor."""
        return math.sqrt(max(_ratio(self.squared_error, self.found) - self.mean_ms**2, 0))


MEASURES = {"se": 5, "ppv": 5, "f1": 5, "mean_ms": 3, "std_ms": 3}
"""Properties of `PointScore` that are reported, with their decimals."""


def _ratio(numerator: float, denominator: float) -> float:
    return numerator / denominator if denominator else math.nan


def points_of(label_idx: Mapping[str, int] = CLASSES) -> list[str]:
    """Name the kinds of points: ``p_onset``, ``p_offset``, ``qrs_onset`` and so on."""
    return [f"{wave}_{end}" for wave in waves_of(label_idx) for end in ("onset", "offset")]


def match(
    reference: Sequence[float] | np.ndarray, found: Sequence[float] | np.ndarray, tolerance: float
) -> tuple[np.ndarray, np.ndarray]:
    """Match points one to one: as many as possible, and of such matches the closest.

    Args:
        reference: ``(N,)`` times.
        found: ``(M,)`` times.
        tolerance: largest distance of a pair.

    Returns:
        Indices ``(K,)`` in either of the pairs.
    """
    from scipy.optimize import linear_sum_assignment  # costs a third of a second to import

    distances = np.abs(np.subtract.outer(np.asarray(reference, float), np.asarray(found, float)))
    # One pair more outweighs whatever all distances could gain.
    far = (tolerance + 1) * (min(distances.shape) + 1)
    rows, columns = linear_sum_assignment(np.where(distances <= tolerance, distances, far))
    are_near = distances[rows, columns] <= tolerance
    return rows[are_near], columns[are_near]


def score_waves(
    reference: np.ndarray,
    found: np.ndarray,
    ignored: np.ndarray | None = None,
    *,
    sample_rate: float,
    label_idx: Mapping[str, int] = CLASSES,
    tolerance: float = TOLERANCE,
) -> dict[str, PointScore]:
    """Score the classes of the samples of one recording, or of one lead.

    Points in samples that are ignored are neither missed nor extra, though one that is found there
    may be the match of one next to it; so is where a recording's first or last sample cuts a wave.

    Args:
        reference: ``(T,)`` integer, annotated class of each sample.
        found: ``(T,)`` integer, class that a network gives it.
        ignored: ``(T,)`` bool, True where there is no annotation. None: nowhere.
        sample_rate: in Hz.
        label_idx: index of each class by its name.
        tolerance: in seconds.

    Returns:
        The score of each of `points_of`.
    """
    counts = np.ones(len(reference), bool) if ignored is None else ~np.asarray(ignored, bool)
    points, others = delineate(reference, label_idx), delineate(found, label_idx)
    scores = {}
    for point in points_of(label_idx):
        is_inside = counts.copy()
        is_inside[0 if point.endswith("_onset") else -1] = False
        of_reference = np.array(points[f"{point}s"], int)
        of_found = np.array(others[f"{point}s"], int)
        rows, columns = match(of_reference, of_found, tolerance * sample_rate)
        count = is_inside[of_reference]
        pairs = count[rows]
        errors = (of_found[columns] - of_reference[rows])[pairs] * (1000 / sample_rate)
        unmatched = np.delete(of_found, columns)
        scores[point] = PointScore(
            found=int(pairs.sum()),
            missed=int(count.sum() - pairs.sum()),
            extra=int(is_inside[unmatched].sum()),
            error=float(errors.sum()),
            squared_error=float((errors**2).sum()),
        )
    return scores


def score_batch(
    reference: np.ndarray,
    found: np.ndarray,
    ignored: np.ndarray,
    *,
    lengths: Sequence[int],
    sample_rates: Sequence[float],
    label_idx: Mapping[str, int] = CLASSES,
) -> dict[str, PointScore]:
    """Add up the scores of recordings, see `score_waves`.

    Args:
        reference: ``(B, T)`` integer.
        found: ``(B, T)`` integer.
        ignored: ``(B, T)`` bool.
        lengths: of the recordings in samples; what follows is padding.
        sample_rates: of the recordings in Hz.
        label_idx: index of each class by its name.

    Returns:
        The score of each of `points_of`.
    """
    sums = {point: PointScore() for point in points_of(label_idx)}
    for row, (length, rate) in enumerate(zip(lengths, sample_rates, strict=True)):
        arrays = (array[row, :length] for array in (reference, found, ignored))
        scores = score_waves(*arrays, sample_rate=rate, label_idx=label_idx)
        sums = {point: sums[point] + score for point, score in scores.items()}
    return sums
