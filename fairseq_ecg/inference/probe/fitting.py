"""Fitting a probe: L-BFGS, which finds the one optimum, or stochastic gradient descent."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from scipy.optimize import minimize
from scipy.special import expit

from fairseq_ecg.errors import DataError
from fairseq_ecg.inference.aggregation import aggregate, aggregation_of
from fairseq_ecg.inference.calibration import calibrate
from fairseq_ecg.inference.metrics import Ranking, mean_of_defined
from fairseq_ecg.inference.probe.embedding import Features
from fairseq_ecg.inference.probe.linear import LinearProbe
from fairseq_ecg.jobs.progress import progress_bar

SOLVERS = ("lbfgs", "sgd")
PENALTIES = (1.0, 0.1, 0.01, 1e-3, 1e-4, 1e-5)
"""Of the squared weights, relative to the mean loss of the rows; from strong to weak."""

ROWS_AT_ONCE = 2**15
MOMENTUM = 0.9


@dataclass(frozen=True)
class Fitting:
    """How a probe is fitted.

    Args:
        solver: one of :data:`SOLVERS`.
        penalties: of which the one is chosen that has the largest macro AUROC on the recordings of
            valid, or the smallest loss if no label has an AUROC there.
        calibration: see :func:`fairseq_ecg.inference.calibration.calibrate`.
        sensitivity: of one of the thresholds.
        aggregation: ``mean`` or ``max`` of the probabilities of segments, of all labels or by
            label.
        seeds: of which ``sgd`` draws its batches, and the best on valid is kept; ``lbfgs`` draws
            nothing.
        epochs: of ``sgd``; the best one on valid is kept.
        learning_rate: of ``sgd``, at the start; it falls to 0 by a cosine.
        batch_size: of ``sgd``, in segments.
    """

    solver: str = "lbfgs"
    penalties: tuple[float, ...] = PENALTIES
    calibration: str = "none"
    sensitivity: float = 0.9
    aggregation: Mapping[str, str] | str = "mean"
    seeds: tuple[int, ...] = (1,)
    epochs: int = 30
    learning_rate: float = 0.1
    batch_size: int = 256

    def __post_init__(self) -> None:
        if self.solver not in SOLVERS:
            raise DataError(f"solver {self.solver!r}: choose from {', '.join(SOLVERS)}")
        if not self.penalties or min(self.penalties) < 0:
            raise DataError(f"penalties {self.penalties}: give one or more, none of them negative")
        if not self.seeds or self.epochs < 1 or self.batch_size < 1 or self.learning_rate <= 0:
            raise DataError("seeds, epochs, batch size and learning rate must be positive")
        if not 0 < self.sensitivity <= 1:
            raise DataError(f"sensitivity {self.sensitivity}: above 0, at most 1")


@dataclass(frozen=True)
class Trial:
    """One fit, of which the best is kept.

    Attributes:
        penalty: of it.
        seed: of it.
        epoch: of ``sgd``, the one kept; else 0.
        macro_auroc: on the recordings of valid, NaN if no label has one.
        loss: mean cross-entropy on the segments of valid.
    """

    penalty: float
    seed: int
    epoch: int
    macro_auroc: float
    loss: float

    @property
    def rank(self) -> tuple[float, float]:
        """Larger is better."""
        return (-np.inf if np.isnan(self.macro_auroc) else self.macro_auroc, -self.loss)


@dataclass(frozen=True, eq=False)
class Coefficients:
    """Weights ``(C, D)`` and biases ``(C,)`` of standardised embeddings, float64."""

    weight: np.ndarray
    bias: np.ndarray

    def logits(self, x: np.ndarray) -> np.ndarray:
        """Return ``(N, C)`` of standardised embeddings ``(N, D)``."""
        return x @ self.weight.T + self.bias


def fit_probe(
    train: Features,
    valid: Features,
    labels: Sequence[str],
    fitting: Fitting,
    model: str = "",
) -> tuple[LinearProbe, list[Trial]]:
    """Fit a probe to the segments of train, and choose everything else on valid.

    A label that holds in all rows of train, or in none, gets no weights; its probability is its
    frequency, with one row of either kind added.

    Args:
        train: segments with labels.
        valid: likewise.
        labels: names of the labels.
        fitting: how.
        model: fingerprint of the network.

    Returns:
        The probe, and what was tried.

    Raises:
        DataError: there is nothing to learn, or labels and names do not agree.
    """
    truth = train.segment_labels
    for name, features in (("train", train), ("valid", valid)):
        if features.labels.shape[1] != len(labels):
            raise DataError(
                f"{name} has {features.labels.shape[1]} labels, but {len(labels)} are named"
            )
        if not len(features.embeddings):
            raise DataError(f"{name} has no segments")
    rules = aggregation_of(labels, fitting.aggregation)
    holds, lacks = (truth == 1).sum(axis=0), (truth == 0).sum(axis=0)
    learnt = (holds > 0) & (lacks > 0)
    if not learnt.any():
        raise DataError(
            "no label holds in some recordings of train and not in others: there is nothing to "
            f"learn of {', '.join(labels)}"
        )
    mean = train.embeddings.mean(axis=0, dtype=np.float64)
    std = train.embeddings.std(axis=0, dtype=np.float64)
    std[std == 0] = 1  # a channel that is constant says nothing
    x = ((train.embeddings - mean) / std).astype(np.float32)
    x_valid = ((valid.embeddings - mean) / std).astype(np.float32)
    best: tuple[Trial, Coefficients] | None = None
    trials = []
    for penalty, seed, epoch, lines in _candidates(x, truth[:, learnt], fitting):
        scores = _scores(lines.logits(x_valid), valid, np.array(list(rules.values())), learnt)
        trial = Trial(penalty, seed, epoch, *scores)
        trials.append(trial)
        if best is None or trial.rank > best[0].rank:
            best = trial, lines
    lines = best[1]
    weight = np.zeros((len(labels), x.shape[1]))
    bias = np.log((holds + 1) / (lacks + 1))
    weight[learnt] = lines.weight / std
    bias[learnt] = lines.bias - weight[learnt] @ mean
    line = weight.astype(np.float32), bias.astype(np.float32)
    uncalibrated = np.ones(len(labels)), np.zeros(len(labels))
    probe = LinearProbe(tuple(labels), *line, *uncalibrated, rules, model=model)
    logits = probe.logits(valid.embeddings)
    slope, offset = calibrate(valid.segment_labels, logits, fitting.calibration)
    return replace(probe, slope=slope, offset=offset), trials


def _scores(
    logits: np.ndarray, valid: Features, rules: np.ndarray, learnt: np.ndarray
) -> tuple[float, float]:
    """Return macro AUROC and loss of a candidate on valid, see `Trial`."""
    of_recordings = aggregate(expit(logits), valid.recording_of, list(rules[learnt]))
    aurocs = [
        Ranking(truth, scores).areas().auroc[0]
        for truth, scores in zip(valid.labels[:, learnt].T, of_recordings.T, strict=True)
    ]
    truth = valid.segment_labels[:, learnt]
    known = ~np.isnan(truth)
    losses = np.logaddexp(0, logits[known]) - truth[known] * logits[known]
    loss = float(losses.mean()) if len(losses) else np.inf
    return float(mean_of_defined(np.array(aurocs))), loss


def _candidates(
    x: np.ndarray, truth: np.ndarray, fitting: Fitting
) -> Iterator[tuple[float, int, int, Coefficients]]:
    """Yield fits with their penalty, seed and epoch."""
    if fitting.solver == "lbfgs":
        lines = None
        for penalty in progress_bar(fitting.penalties, "fit", "penalty"):
            lines = fit_lines(x, truth, penalty, lines)
            yield penalty, 0, 0, lines
        return
    for seed in fitting.seeds:
        for penalty in progress_bar(fitting.penalties, f"seed {seed}", "penalty"):
            for epoch, lines in enumerate(descend(x, truth, penalty, seed, fitting), 1):
                yield penalty, seed, epoch, lines


def fit_lines(
    x: np.ndarray, truth: np.ndarray, penalty: float, start: Coefficients | None = None
) -> Coefficients:
    """Minimise ``mean cross-entropy + penalty / 2 * |weights|^2`` of every label by L-BFGS.

    Labels are independent, and are fitted together because they share the products with ``x``.
    scikit-learn's ``LogisticRegression`` has the same optimum with ``C = 1 / (penalty * N)``.

    Args:
        x: ``(N, D)`` float32, standardised.
        truth: 0, 1 or NaN, ``(N, C)``.
        penalty: not on the bias.
        start: where to start; None: at 0.

    Returns:
        The optimum.
    """
    n_labels, n_channels = truth.shape[1], x.shape[1]
    known = ~np.isnan(truth)
    rows = known.sum(axis=0)
    targets = np.where(known, truth, 0)
    if start is None:
        start = Coefficients(np.zeros((n_labels, n_channels)), np.zeros(n_labels))

    def objective(flat: np.ndarray) -> tuple[float, np.ndarray]:
        weight = flat[: n_labels * n_channels].reshape(n_labels, n_channels)
        bias = flat[n_labels * n_channels :]
        value = penalty / 2 * float((weight**2).sum())
        of_weight, of_bias = penalty * weight, np.zeros(n_labels)
        for first in range(0, len(x), ROWS_AT_ONCE):
            part = slice(first, first + ROWS_AT_ONCE)
            features = x[part].astype(np.float64)
            logits = features @ weight.T + bias
            share = known[part] / rows
            value += float(((np.logaddexp(0, logits) - targets[part] * logits) * share).sum())
            errors = (expit(logits) - targets[part]) * share
            of_weight += errors.T @ features
            of_bias += errors.sum(axis=0)
        return value, np.concatenate([of_weight.ravel(), of_bias])

    fitted = minimize(
        objective,
        np.concatenate([start.weight.ravel(), start.bias]),
        jac=True,
        method="L-BFGS-B",
        options={"maxiter": 1000, "gtol": 1e-6, "ftol": 1e-12},
    )
    weight = fitted.x[: n_labels * n_channels].reshape(n_labels, n_channels)
    return Coefficients(weight, fitted.x[n_labels * n_channels :])


def descend(
    x: np.ndarray, truth: np.ndarray, penalty: float, seed: int, fitting: Fitting
) -> Iterator[Coefficients]:
    """Minimise the same by stochastic gradient descent with momentum.

    Args:
        x: ``(N, D)`` float32, standardised.
        truth: 0, 1 or NaN, ``(N, C)``.
        penalty: not on the bias.
        seed: of the order of the rows.
        fitting: epochs, learning rate and batch size.

    Yields:
        What there is after each epoch.
    """
    generator = torch.Generator().manual_seed(seed)
    features, known = torch.from_numpy(x), torch.from_numpy(~np.isnan(truth)).float()
    targets = torch.from_numpy(np.nan_to_num(truth)).float()
    weight = torch.zeros(truth.shape[1], x.shape[1], requires_grad=True)
    bias = torch.zeros(truth.shape[1], requires_grad=True)
    groups = [{"params": [weight], "weight_decay": penalty}, {"params": [bias]}]
    optimizer = torch.optim.SGD(groups, lr=fitting.learning_rate, momentum=MOMENTUM)
    batches = -(-len(x) // fitting.batch_size)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, batches * fitting.epochs)
    for _ in range(fitting.epochs):
        for rows in torch.randperm(len(x), generator=generator).split(fitting.batch_size):
            logits = torch.addmm(bias, features[rows], weight.T)
            losses = torch.nn.functional.binary_cross_entropy_with_logits(
                logits, targets[rows], known[rows], reduction="none"
            )
            optimizer.zero_grad()
            (losses.sum() / len(rows)).backward()
            optimizer.step()
            schedule.step()
        yield Coefficients(
            weight.detach().double().numpy().copy(), bias.detach().double().numpy().copy()
        )
