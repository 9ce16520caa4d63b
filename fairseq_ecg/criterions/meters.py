"""Meters that gather whole score arrays over a validation, and never enter a checkpoint."""

from collections.abc import Sequence
from typing import Any

import fairseq.logging.meters
import numpy as np
from fairseq.logging import metrics
from fairseq.logging.meters import MetersDict
from sklearn.metrics import average_precision_score, roc_auc_score

from fairseq_ecg.ecg.verification import Verification, verification

# fairseq never resets these aggregators and never reads them: arrays would only pile up in them.
_LASTING_AGGREGATORS = ("default", "valid")


# fairseq's checkpoints hold the state of every meter but the derived ones.
class EvaluationMeter(MetersDict._DerivedMeter):
    """Meter of one evaluation, from which values are derived; left out of checkpoints."""

    _values: dict[str, float] | None

    def __init__(self):
        self.reset()

    def values(self) -> dict[str, float]:
        """Compute the values, by name, once per state of the meter."""
        if self._values is None:
            self._values = self._compute()
        return self._values

    def fn(self, meters: MetersDict) -> float:
        """Value of the meter when it is asked for by its own key: the first one."""
        return next(iter(self.values().values()))

    def _compute(self) -> dict[str, float]:
        raise NotImplementedError

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Ignore the state that an older checkpoint kept of a past evaluation."""


class AUCMeter(EvaluationMeter):
    """Gathers scores and targets; yields the areas under the ROC and precision-recall curves.

    Values are ``auroc`` and ``auprc`` as fairseq_signals defines them: over all entries at once
    (micro), or, where classes were given, the mean over classes (``auroc`` over those with
    positives and negatives, ``auprc`` over all). ``macro_auroc`` and ``macro_auprc``: the mean over
    labels (columns, or classes) that have positives and negatives. NaN where nothing is left to
    average.

    The class carries fairseq_signals' name, under which its checkpoints refer to it.
    """

    def reset(self) -> None:
        """Forget everything."""
        self._scores: list[np.ndarray] = []
        self._targets: list[np.ndarray] = []
        self._classes: list[np.ndarray] = []
        self._values = None

    def update(
        self, scores: np.ndarray, targets: np.ndarray, classes: np.ndarray | None = None
    ) -> None:
        """Add a batch.

        Args:
            scores: ``(N, C)`` or ``(N,)`` float, higher is more probable.
            targets: 0 or 1, shaped as ``scores``.
            classes: ``(N,)`` integer, the class that each entry of ``(N,)`` scores belongs to.
        """
        self._scores.append(scores)
        self._targets.append(targets)
        if classes is not None:
            self._classes.append(classes)
        self._values = None

    def _compute(self) -> dict[str, float]:
        scores, targets = np.concatenate(self._scores), np.concatenate(self._targets)
        if self._classes:
            classes = np.concatenate(self._classes)
            chosen = [classes == c for c in np.unique(classes)]
            labels = [(scores[rows], targets[rows]) for rows in chosen]
        elif scores.ndim == 2:
            labels = list(zip(scores.T, targets.T, strict=True))
        else:
            labels = []
        mixed = [(s, t) for s, t in labels if t.min() < t.max()]
        macro_auroc = _mean([_auroc(s, t) for s, t in mixed])
        macro_auprc = _mean([_auprc(s, t) for s, t in mixed])
        if self._classes:
            auroc, auprc = macro_auroc, _mean([_auprc(s, t) for s, t in labels])
        else:
            auroc = _auroc(scores.ravel(), targets.ravel())
            auprc = _auprc(scores.ravel(), targets.ravel())
        return {
            "auroc": auroc,
            "auprc": auprc,
            "macro_auroc": macro_auroc,
            "macro_auprc": macro_auprc,
        }


class LabelCountsMeter(EvaluationMeter):
    """Sums per-label counts of right and wrong predictions; yields ``macro_f1``.

    That is F1 averaged over the labels that have positives and negatives, NaN if none has.
    """

    def reset(self) -> None:
        """Forget everything."""
        self._counts: np.ndarray | int = 0
        self._values = None

    def update(self, counts: np.ndarray) -> None:
        """Add a batch: ``(4, C)`` integer, true and false positives, false and true negatives."""
        self._counts = self._counts + counts
        self._values = None

    def _compute(self) -> dict[str, float]:
        true_pos, false_pos, false_neg, true_neg = self._counts
        mixed = (true_pos + false_neg > 0) & (false_pos + true_neg > 0)
        doubled = 2 * true_pos[mixed]
        return {"macro_f1": _mean(doubled / (doubled + false_pos[mixed] + false_neg[mixed]))}


class MomentsMeter(EvaluationMeter):
    """Sums moments of targets and estimates; yields errors and correlations of a regression.

    Values are ``mae`` and ``rmse`` (in units of the targets), ``r2`` and ``pearson``, each the mean
    over the targets for which it is defined, NaN if there is none: errors need a recording, ``r2``
    and ``pearson`` targets (and estimates) that differ.
    """

    def reset(self) -> None:
        """Forget everything."""
        self._moments: np.ndarray | int = 0
        self._units: np.ndarray | int = 1
        self._values = None

    def update(self, moments: np.ndarray, units: np.ndarray) -> None:
        """Add a batch.

        Args:
            moments: ``(7, C)`` float64, for each target the sums of 1, y, p, y^2, p^2, y p and
                |y - p| over recordings, of standardised targets y and estimates p.
            units: ``(C,)`` float64, what standardised values are multiplied by.
        """
        self._moments = self._moments + moments
        self._units = units
        self._values = None

    def _compute(self) -> dict[str, float]:
        n, y, p, yy, pp, yp, absolute = (row.astype(float) for row in self._moments)
        with np.errstate(divide="ignore", invalid="ignore"):
            squared = np.maximum(yy + pp - 2 * yp, 0)
            var_y, var_p = np.maximum(yy - y * y / n, 0), np.maximum(pp - p * p / n, 0)
            # Differences below the rounding of the sums are none.
            var_y[var_y <= 1e-12 * yy] = np.nan
            var_p[var_p <= 1e-12 * pp] = np.nan
            of_targets = {
                "mae": self._units * absolute / n,
                "rmse": self._units * np.sqrt(squared / n),
                "r2": 1 - squared / var_y,
                "pearson": (yp - y * p / n) / np.sqrt(var_y * var_p),
            }
        return {name: _mean(values[~np.isnan(values)]) for name, values in of_targets.items()}


class VerificationMeter(EvaluationMeter):
    """Gathers similarities of probes to a gallery; yields error rates of verification.

    Values are ``eer``, the equal error rate, ``eer_threshold``, the similarity at which it is, and
    ``verification_auroc``, see :mod:`fairseq_ecg.ecg.verification`; NaN without pairs of one
    patient and pairs of two.
    """

    def reset(self) -> None:
        """Forget everything."""
        self._probes: dict[int, tuple[int, np.ndarray]] = {}
        self._gallery: np.ndarray = np.empty(0, np.int64)
        self._values = None

    def update(
        self, ids: np.ndarray, patients: np.ndarray, similarity: np.ndarray, gallery: np.ndarray
    ) -> None:
        """Add a batch; probes that are there already are left out.

        Args:
            ids: ``(B,)`` integer, one for each probe.
            patients: ``(B,)`` integer, patient of each.
            similarity: ``(B, G)``.
            gallery: ``(G,)`` integer, patient of each recording of the gallery.
        """
        for probe, patient, row in zip(ids.tolist(), patients.tolist(), similarity, strict=True):
            self._probes.setdefault(probe, (patient, row))
        self._gallery = gallery
        self._values = None

    @property
    def similarity(self) -> np.ndarray:
        """Of each probe to each recording of the gallery, ``(P, G)``, in the order of updates."""
        return np.stack([row for _, row in self._probes.values()])

    def verification(self) -> Verification:
        """Return the error rates of all thresholds."""
        patients = np.array([patient for patient, _ in self._probes.values()])
        return verification(self.similarity, patients, self._gallery)

    def _compute(self) -> dict[str, float]:
        measured = self.verification()
        return {
            "eer": measured.equal_error_rate,
            "eer_threshold": measured.threshold,
            "verification_auroc": measured.auroc,
        }


def log_areas(logging_outputs: Sequence[dict[str, Any]], prefix: str = "") -> None:
    """Log the areas under the curves of the score arrays in ``logging_outputs``, if there are any.

    Args:
        logging_outputs: Of the criterion; arrays stand under ``_<prefix>y_score``, ``..y_true``
            and, optionally, ``..y_class``.
        prefix: Goes before ``auroc``, ``auprc`` and (overall only) their macro averages.
    """
    arrays = [log for log in logging_outputs if f"_{prefix}y_score" in log]
    names = ["auroc", "auprc"]
    if not prefix and any(log["_y_score"].ndim == 2 or "_y_class" in log for log in arrays[:1]):
        names += ["macro_auroc", "macro_auprc"]
    updates = [
        [log.get(f"_{prefix}{array}") for array in ("y_score", "y_true", "y_class")]
        for log in arrays
    ]
    _log(f"_{prefix}auc", AUCMeter, names, updates, prefix)


def log_macro_f1(logging_outputs: Sequence[dict[str, Any]]) -> None:
    """Log ``macro_f1`` from the arrays ``_label_counts`` in ``logging_outputs``, if any."""
    counts = [[log["_label_counts"]] for log in logging_outputs if "_label_counts" in log]
    _log("_label_counts", LabelCountsMeter, ["macro_f1"], counts)


def log_regression(logging_outputs: Sequence[dict[str, Any]]) -> None:
    """Log the measures of the arrays ``_moments`` in ``logging_outputs``, if there are any."""
    updates = [(log["_moments"], log["_units"]) for log in logging_outputs if "_moments" in log]
    _log("_regression", MomentsMeter, ["mae", "rmse", "r2", "pearson"], updates)


VERIFICATION = "_verification"
"""Key of the meter of a verification."""


def log_verification(compared: Sequence[Sequence[np.ndarray]]) -> None:
    """Log the error rates of a verification, if anything was compared.

    Args:
        compared: of batches, what :meth:`VerificationMeter.update` takes.
    """
    names = ["eer", "eer_threshold", "verification_auroc"]
    _log(VERIFICATION, VerificationMeter, names, compared)


def install_meters() -> None:
    """Let fairseq load metrics that name an ``AUCMeter``, as fairseq_signals' checkpoints do.

    fairseq looks meter classes up by name among the globals of ``fairseq.logging.meters``.
    """
    fairseq.logging.meters.AUCMeter = AUCMeter


def _log(
    key: str,
    new_meter: type[EvaluationMeter],
    names: Sequence[str],
    updates: Sequence[Sequence[Any]],
    prefix: str = "",
) -> None:
    """Update a meter, if there is with what, in the aggregator of this evaluation.

    Its values by these names are metrics, with the prefix before their names.

    That is the outermost one that ends with the evaluation. fairseq nests another one for every
    batch and computes all of its values: an area per batch that nobody looks at.
    """
    if not updates:
        return
    for of, aggregator in metrics._active_aggregators.items():
        if of in _LASTING_AGGREGATORS:
            continue
        if key not in aggregator:
            aggregator.add_meter(key, new_meter(), priority=50)
            for name in names:
                value = MetersDict._DerivedMeter(lambda meters, n=name: meters[key].values()[n])
                aggregator.add_meter(f"{prefix}{name}", value, priority=20)
        for update in updates:
            aggregator[key].update(*update)
        return


def _auroc(scores: np.ndarray, targets: np.ndarray) -> float:
    if set(np.unique(targets)) != {0, 1}:
        return float("nan")
    return float(roc_auc_score(targets, scores))


def _auprc(scores: np.ndarray, targets: np.ndarray) -> float:
    values = set(np.unique(targets))
    if not values <= {0, 1}:
        return float("nan")
    if values == {0}:
        return 0.0  # scikit-learn's value, without its warning
    return float(average_precision_score(targets, scores))


def _mean(values: Sequence[float] | np.ndarray) -> float:
    return float(np.mean(values)) if len(values) else float("nan")
