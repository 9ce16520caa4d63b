"""From the probabilities of segments to those of a recording."""

from collections.abc import Mapping, Sequence

import numpy as np

from fairseq_ecg.errors import DataError

ECG_FM_LABELS = (
    "Poor data quality",
    "Sinus rhythm",
    "Premature ventricular contraction",
    "Tachycardia",
    "Ventricular tachycardia",
    "Supraventricular tachycardia with aberrancy",
    "Atrial fibrillation",
    "Atrial flutter",
    "Bradycardia",
    "Accessory pathway conduction",
    "Atrioventricular block",
    "1st degree atrioventricular block",
    "Bifascicular block",
    "Right bundle branch block",
    "Left bundle branch block",
    "Infarction",
    "Electronic pacemaker",
)
"""Labels of the published ``mimic_iv_ecg_finetuned.pt``, in its order."""

BY_MAXIMUM = frozenset(
    {
        "Poor data quality",
        "Premature ventricular contraction",
        "Ventricular tachycardia",
        "Supraventricular tachycardia with aberrancy",
        "Electronic pacemaker",
    }
)
"""Labels of ECG-FM that hold if they hold somewhere in the recording. Its quick start takes the
largest probability of them, and the mean of all others."""

RULES = {"max": np.max, "mean": np.mean}


def aggregation_of(
    labels: Sequence[str], rules: Mapping[str, str] | str | None = None
) -> dict[str, str]:
    """Decide how the probabilities of each label are aggregated.

    Args:
        labels: names of all labels.
        rules: ``max`` or ``mean`` by label, of some labels, or for all of them. Others are
            aggregated as in ECG-FM's quick start: ``max`` those in :data:`BY_MAXIMUM`, ``mean`` the
            rest.

    Returns:
        ``max`` or ``mean`` by label, of all labels in their order.

    Raises:
        DataError: an unknown label or rule.
    """
    if isinstance(rules, str):
        rules = dict.fromkeys(labels, rules)
    rules = rules or {}
    for label, rule in rules.items():
        if label not in labels:
            raise DataError(f"unknown label {label!r}; the labels are {', '.join(labels)}")
        if rule not in RULES:
            raise DataError(f"{label}: {rule!r} is no aggregation; choose from {', '.join(RULES)}")
    return {label: rules.get(label, "max" if label in BY_MAXIMUM else "mean") for label in labels}


def aggregate(values: np.ndarray, recording_of: np.ndarray, rules: Sequence[str]) -> np.ndarray:
    """Aggregate over the segments of each recording.

    Args:
        values: of segments, ``(N, C)``.
        recording_of: number of the recording of each segment, ``(N,)``, from 0 to R - 1.
        rules: ``max`` or ``mean`` for each of the C columns.

    Returns:
        ``(R, C)``.
    """
    n_recordings = int(recording_of.max()) + 1 if len(recording_of) else 0
    counts = np.bincount(recording_of, minlength=n_recordings)
    sums = np.zeros((n_recordings, values.shape[1]))
    np.add.at(sums, recording_of, values)
    largest = np.full_like(sums, -np.inf)
    np.maximum.at(largest, recording_of, values)
    return np.where([rule == "max" for rule in rules], largest, sums / counts[:, None])
