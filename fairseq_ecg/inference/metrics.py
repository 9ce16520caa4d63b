"""How well probabilities predict labels: areas under curves, bootstrap intervals, calibration.

Labels, ``truth`` ``(N,)``, are 0, 1 or NaN where unknown; rows of the latter do not count.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from fairseq_ecg.jobs.progress import progress_bar

RESAMPLES = 1000
CONFIDENCE = 0.95
CALIBRATION_BINS = 15

BLOCK_WEIGHTS = 2**20
"""Weights of rows that are in memory together, 4 bytes each."""


class Ranking:
    """Rows of one label in the order of their scores, from which every area follows.

    Whatever weights rows have, areas only depend on the sums of weights between the scores of
    positive rows. A resample of the bootstrap is such weights: how often each row was drawn. So one
    sort serves all resamples, and each costs one pass over the rows.

    Args:
        truth: 0, 1 or NaN, ``(N,)``.
        scores: ``(N,)``, larger where the label is thought to hold.
    """

    def __init__(self, truth: np.ndarray, scores: np.ndarray):
        known = np.flatnonzero(~np.isnan(truth))
        holds = truth[known] > 0
        # From high to low; of equal scores the positive rows first.
        order = np.lexsort([~holds, -scores[known]])
        self.rows = known[order]
        holds, values = holds[order], scores[self.rows]
        self.positives = int(holds.sum())
        self.negatives = len(holds) - self.positives
        # Steps are the distinct scores of positive rows. Rows lie, step by step, in three groups:
        # positive, negative with the score of the step, negative below it. Before them lie the
        # negative rows above all steps.
        first_of_step = holds & _differs_from_previous(values)
        step = np.cumsum(first_of_step) - 1
        self.steps = int(first_of_step.sum())
        tied = np.zeros(len(holds), bool)
        if self.steps:
            reached = step >= 0
            tied[reached] = values[reached] == values[first_of_step][step[reached]]
        group = np.where(holds, 1, np.where(tied, 2, 3)) + 3 * step
        group[step < 0] = 0
        self._starts = np.flatnonzero(_differs_from_previous(group))
        self._groups = group[self._starts]

    @property
    def is_defined(self) -> bool:
        """Whether the label holds somewhere and does not hold everywhere."""
        return self.positives > 0 and self.negatives > 0

    def areas(self, weights: np.ndarray | None = None) -> "Areas":
        """Compute all areas.

        Args:
            weights: of all N rows, ``(B, N)`` not negative; None: 1.

        Returns:
            An array ``(B,)`` of each area, B = 1 without weights; NaN where there are no positive
            or no negative rows of positive weight.
        """
        if weights is None:
            sums = np.diff(np.r_[self._starts, len(self.rows)])[None].astype(float)
        elif len(self.rows) == 0:
            sums = np.zeros((len(weights), 0))
        else:
            sums = np.add.reduceat(weights[:, self.rows], self._starts, axis=1).astype(float)
        placed = np.zeros((len(sums), 3 * self.steps + 1))
        placed[:, self._groups] = sums
        positive, tied, below = placed[:, 1::3], placed[:, 2::3], placed[:, 3::3]
        true = np.cumsum(positive, axis=1)
        above = placed[:, :1] + np.cumsum(tied + below, axis=1) - tied - below
        n_positive = positive.sum(axis=1)
        n_negative = placed.sum(axis=1) - n_positive
        with np.errstate(invalid="ignore", divide="ignore"):
            wrong = (positive * (above + tied / 2)).sum(axis=1)
            auroc = 1 - wrong / (n_positive * n_negative)
            precision = np.where(positive > 0, true / (true + above + tied), 0)
            average = (positive * precision).sum(axis=1) / n_positive
            before = true - positive
            # The curve starts at precision 1; rows above the first positive one bring it to 0.
            precision_before = np.where(before + above > 0, before / (before + above), 1)
            trapezoids = positive * (precision + precision_before) / 2
            trapezoidal = trapezoids.sum(axis=1) / n_positive
        undefined = (n_positive == 0) | (n_negative == 0)
        return Areas(*(np.where(undefined, np.nan, area) for area in (auroc, average, trapezoidal)))


@dataclass(frozen=True, eq=False)
class Areas:
    """Areas under curves, ``(B,)`` each.

    Attributes:
        auroc: under the ROC curve; ties count half.
        auprc: average precision, the step-wise area under the curve of precision and recall.
        trapezoidal_auprc: the area under the same curve with its points joined by lines, as
            fairseq_signals' ``linear.py`` takes it; it is too large (Davis and Goadrich, ICML
            2006).
    """

    auroc: np.ndarray
    auprc: np.ndarray
    trapezoidal_auprc: np.ndarray


@dataclass(frozen=True, eq=False)
class Curve:
    """What is right and wrong at every distinct score as the threshold, from high to low.

    Attributes:
        thresholds: ``(K,)``; a row counts as positive from there on.
        true_positives: ``(K,)``.
        false_positives: ``(K,)``.
        positives: of all rows.
        negatives: of all rows.
    """

    thresholds: np.ndarray
    true_positives: np.ndarray
    false_positives: np.ndarray
    positives: int
    negatives: int

    @property
    def sensitivity(self) -> np.ndarray:
        """Share of the positive rows that are found, ``(K,)``."""
        return self.true_positives / self.positives

    @property
    def specificity(self) -> np.ndarray:
        """Share of the negative rows that are left alone, ``(K,)``."""
        return 1 - self.false_positives / self.negatives

    @property
    def precision(self) -> np.ndarray:
        """Share of the found rows that are positive, ``(K,)``."""
        return self.true_positives / (self.true_positives + self.false_positives)


def curve(truth: np.ndarray, scores: np.ndarray) -> Curve:
    """Count what is right and wrong at every threshold of scores ``(N,)``."""
    known = ~np.isnan(truth)
    holds, values = truth[known] > 0, scores[known]
    order = np.argsort(-values, kind="stable")
    holds, values = holds[order], values[order]
    last = np.r_[values[1:] != values[:-1], True][: len(values)]
    true = np.cumsum(holds)[last]
    found = np.flatnonzero(last) + 1
    positives = int(holds.sum())
    return Curve(values[last], true, found - true, positives, len(holds) - positives)


@dataclass(frozen=True, eq=False)
class Bootstrap:
    """Areas of resamples.

    Attributes:
        auroc: ``(n_resamples, C)``, NaN where the label holds in all drawn rows or in none.
        auprc: likewise, average precision.
    """

    auroc: np.ndarray
    auprc: np.ndarray


def bootstrap(
    rankings: Sequence[Ranking],
    unit_of: np.ndarray,
    *,
    n_resamples: int = RESAMPLES,
    seed: int = 1,
) -> Bootstrap:
    """Draw units with replacement, as many as there are, and compute the areas of each draw.

    All labels are scored on the same draws, so that intervals of their mean are right.

    Args:
        rankings: of the C labels.
        unit_of: number of the recording (or patient) of each row, ``(N,)`` from 0: its rows are
            drawn together.
        n_resamples: number of draws.
        seed: of the draws, which do not depend on the memory that is used.

    Returns:
        The areas.
    """
    n_units = int(unit_of.max()) + 1 if len(unit_of) else 0
    one_row_each = np.array_equal(unit_of, np.arange(n_units))
    rng = np.random.default_rng(seed)
    auroc = np.full((n_resamples, len(rankings)), np.nan)
    auprc = auroc.copy()
    block = max(1, BLOCK_WEIGHTS // max(1, len(unit_of)))
    with progress_bar(n_resamples, "bootstrap", "resample") as bar:
        for start in range(0, n_resamples, block):
            rows = slice(start, min(start + block, n_resamples))
            drawn = np.zeros((rows.stop - start, n_units), np.int32)
            for counts in drawn:
                counts[:] = np.bincount(rng.integers(0, n_units, n_units), minlength=n_units)
            weights = drawn if one_row_each else drawn[:, unit_of]
            for label, ranking in enumerate(rankings):
                if ranking.is_defined:
                    areas = ranking.areas(weights)
                    auroc[rows, label], auprc[rows, label] = areas.auroc, areas.auprc
            bar.update(rows.stop - start)
    return Bootstrap(auroc, auprc)


def interval(values: np.ndarray) -> tuple[float, float, int]:
    """Return the percentile interval of the resamples that have a value, and their number.

    Args:
        values: of the resamples, ``(n_resamples,)``, of which `CONFIDENCE` is inside.
    """
    defined = values[~np.isnan(values)]
    if not len(defined):
        return np.nan, np.nan, 0
    tail = (1 - CONFIDENCE) / 2
    low, high = np.quantile(defined, [tail, 1 - tail])
    return float(low), float(high), len(defined)


def mean_of_defined(values: np.ndarray) -> np.ndarray:
    """Mean over the last axis of what is not NaN; NaN where nothing is."""
    defined = ~np.isnan(values)
    with np.errstate(invalid="ignore"):
        return np.where(defined, values, 0).sum(axis=-1) / defined.sum(axis=-1)


def brier(truth: np.ndarray, probabilities: np.ndarray) -> float:
    """Mean squared distance of probabilities ``(N,)`` from labels; NaN where no row counts."""
    return float(mean_of_defined((probabilities - truth) ** 2))


@dataclass(frozen=True, eq=False)
class Reliability:
    """How often a label holds where it is given a certain probability, in bins of equal width.

    Attributes:
        rows: of each bin, ``(bins,)``.
        probability: mean over the rows of a bin, ``(bins,)``; NaN where it is empty.
        frequency: share of the rows of a bin where the label holds, ``(bins,)``.
    """

    rows: np.ndarray
    probability: np.ndarray
    frequency: np.ndarray

    @property
    def expected_calibration_error(self) -> float:
        """Mean distance of probability and frequency over the rows; NaN where there are none."""
        filled = self.rows > 0
        if not filled.any():
            return np.nan
        distance = np.abs(self.probability - self.frequency)[filled]
        return float(np.average(distance, weights=self.rows[filled]))


def reliability(truth: np.ndarray, probabilities: np.ndarray) -> Reliability:
    """Compare probabilities ``(N,)`` with frequencies, in `CALIBRATION_BINS` bins."""
    bins = CALIBRATION_BINS
    known = ~np.isnan(truth)
    truth, probabilities = truth[known], probabilities[known]
    bin_of = np.minimum((probabilities * bins).astype(int), bins - 1)
    rows = np.bincount(bin_of, minlength=bins)
    with np.errstate(invalid="ignore"):
        probability = np.bincount(bin_of, probabilities, minlength=bins) / rows
        frequency = np.bincount(bin_of, truth, minlength=bins) / rows
    return Reliability(rows, probability, frequency)


def _differs_from_previous(values: np.ndarray) -> np.ndarray:
    """Return where a value is another one than that before it; the first always is."""
    differs = np.ones(len(values), bool)
    differs[1:] = values[1:] != values[:-1]
    return differs
