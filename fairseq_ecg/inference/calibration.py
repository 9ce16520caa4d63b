"""Probabilities that mean what they say, and thresholds to decide by; both are fitted on valid."""

from collections.abc import Callable, Mapping

import numpy as np
from scipy.optimize import minimize
from scipy.special import expit

from fairseq_ecg.errors import DataError
from fairseq_ecg.inference.metrics import Curve, curve

CALIBRATIONS = ("none", "temperature", "platt")
SENSITIVITY = 0.9

RULES: dict[str, Callable[[Curve, float], int]] = {
    "youden": lambda found, _: int(np.argmax(found.sensitivity + found.specificity)),
    "f1": lambda found, _: int(
        np.argmax(2 * found.true_positives / (found.positives + _found_rows(found)))
    ),
    # The highest threshold that reaches it; all are found at the lowest.
    "sensitivity": lambda found, wanted: int(np.argmax(found.sensitivity >= wanted)),
}
"""Which threshold is taken: with the largest sum of sensitivity and specificity (Youden's index),
with the largest F1, or the highest one of a given sensitivity."""


def _found_rows(found: Curve) -> np.ndarray:
    return found.true_positives + found.false_positives


def calibrate(truth: np.ndarray, logits: np.ndarray, method: str) -> tuple[np.ndarray, np.ndarray]:
    """Fit ``slope * logit + offset`` to labels by their likelihood.

    ``temperature`` (Guo et al., ICML 2017) fits one positive slope for all labels, which changes
    no ranking; ``platt`` (Platt 1999, with his targets, which are not quite 0 and 1) slope and
    offset of each label, and leaves a label as it is that holds in all rows or in none or would be
    turned round.

    Args:
        truth: 0, 1 or NaN, ``(N, C)``.
        logits: ``(N, C)``.
        method: one of :data:`CALIBRATIONS`.

    Returns:
        Slopes and offsets, ``(C,)``.

    Raises:
        DataError: there is no such method.
    """
    if method not in CALIBRATIONS:
        raise DataError(f"calibration {method!r}: choose from {', '.join(CALIBRATIONS)}")
    n_labels = truth.shape[1]
    slopes, offsets = np.ones(n_labels), np.zeros(n_labels)
    if method == "temperature" and (known := ~np.isnan(truth)).any():
        fitted = minimize(
            lambda x: _loss(np.exp(x[0]) * logits[known], truth[known]), [0.0], method="L-BFGS-B",
            bounds=[(-5, 5)],
        )  # fmt: skip
        slopes[:] = np.exp(fitted.x[0])
    if method == "platt":
        for label in range(n_labels):
            known = ~np.isnan(truth[:, label])
            holds, values = truth[known, label] > 0, logits[known, label]
            positives, negatives = holds.sum(), (~holds).sum()
            if not (positives and negatives):
                continue
            targets = np.where(holds, (positives + 1) / (positives + 2), 1 / (negatives + 2))
            fitted = minimize(
                lambda x, values=values, targets=targets: _loss(x[0] * values + x[1], targets),
                [1.0, 0.0],
                method="L-BFGS-B",
            )
            if fitted.x[0] > 0:
                slopes[label], offsets[label] = fitted.x
    return slopes, offsets


def _loss(logits: np.ndarray, targets: np.ndarray) -> float:
    return float(np.mean(np.logaddexp(0, logits) - targets * logits))


def choose_thresholds(
    truth: np.ndarray, probabilities: np.ndarray, sensitivity: float = SENSITIVITY
) -> Mapping[str, np.ndarray]:
    """Choose a threshold of each label by each of :data:`RULES`.

    Args:
        truth: 0, 1 or NaN, ``(N, C)``.
        probabilities: ``(N, C)``.
        sensitivity: the one that ``sensitivity`` reaches.

    Returns:
        ``(C,)`` by rule; a label holds from there on. NaN where it holds in all rows or in none.
    """
    chosen = {rule: np.full(truth.shape[1], np.nan) for rule in RULES}
    for label in range(truth.shape[1]):
        found = curve(truth[:, label], probabilities[:, label])
        if found.positives and found.negatives:
            for rule, index_of in RULES.items():
                chosen[rule][label] = found.thresholds[index_of(found, sensitivity)]
    return chosen


def decisions(truth: np.ndarray, probabilities: np.ndarray, threshold: float) -> dict[str, float]:
    """Score the decisions that a threshold makes for one label.

    Args:
        truth: 0, 1 or NaN, ``(N,)``.
        probabilities: ``(N,)``.
        threshold: the label is said to hold from there on; NaN gives NaN.

    Returns:
        ``sensitivity``, ``specificity``, ``precision``, ``npv`` (negative predictive value) and
        ``f1``; NaN where there is nothing to divide by.
    """
    known = ~np.isnan(truth)
    holds, said = truth[known] > 0, probabilities[known] >= threshold
    true, false = float((holds & said).sum()), float((~holds & said).sum())
    missed, spared = float((holds & ~said).sum()), float((~holds & ~said).sum())
    shares = {
        "sensitivity": (true, true + missed),
        "specificity": (spared, spared + false),
        "precision": (true, true + false),
        "npv": (spared, spared + missed),
        "f1": (2 * true, 2 * true + false + missed),
    }
    undefined = bool(np.isnan(threshold))
    return {
        name: np.nan if undefined or not whole else part / whole
        for name, (part, whole) in shares.items()
    }


def probabilities_of(logits: np.ndarray, slopes: np.ndarray, offsets: np.ndarray) -> np.ndarray:
    """Turn logits ``(N, C)`` into calibrated probabilities."""
    return expit(logits * slopes + offsets)
