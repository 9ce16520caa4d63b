"""Statistics of leads, and the standardisation by them, as in fairseq_signals' preparation."""

from dataclasses import dataclass

import numpy as np

from fairseq_ecg.ecg.blocks import Signal, blocks_of

FLAT_MV = 1e-6
"""A lead that spans no more than this, in mV, is flat: no converter's step is as small, rounding
errors of a constant are far smaller."""

EPSILON = 1e-5
"""Of the layer norm, added to the variance: PyTorch's own."""

CONSTANT_LEAD_STRATEGIES = ("zero", "nan", "constant")


@dataclass(frozen=True, eq=False)
class Statistics:
    """Statistics of each lead, ``(n_leads,)`` each, in the unit of the signal.

    Attributes:
        mean: mean.
        std: population standard deviation.
        flat: whether it spans no more than `FLAT_MV`.
        missing: whether it has a sample without a value.
        empty: whether it has none with a value.
    """

    mean: np.ndarray
    std: np.ndarray
    flat: np.ndarray
    missing: np.ndarray
    empty: np.ndarray


def statistics(ecg: Signal) -> Statistics:
    """Compute the statistics of each lead.

    Args:
        ecg: ``(n_leads, n_samples)`` in mV.

    Returns:
        The statistics; a lead with a sample without value (NaN) has NaN for mean and standard
        deviation, and is not flat.
    """
    with np.errstate(over="ignore"):  # of samples that are damaged
        mean, var, flat, n_missing = _scan(ecg, skip_missing=False)
    return Statistics(mean, np.sqrt(var), flat, n_missing > 0, n_missing == ecg.shape[1])


def _scan(
    signal: Signal,
    skip_missing: bool,
    offset: np.ndarray | None = None,
    variance: bool = True,
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Go through ``signal`` (less ``offset``) once.

    The mean and variance of the first block are NumPy's own; how those of two parts combine is
    from Chan, Golub and LeVeque, "Algorithms for computing the sample variance" (1983).

    Returns:
        Mean, population variance (NaN without ``variance``, which saves time), whether it is flat
        (without ``offset``), and number of samples without a value of each lead.
    """
    # fmin and fmax pass over NaN.
    smaller, larger = (np.fmin, np.fmax) if skip_missing else (np.minimum, np.maximum)
    total: np.ndarray | None = None
    mean = var = n_missing = np.zeros(signal.shape[0], int)
    low, high = mean + np.inf, mean - np.inf
    for block in blocks_of(signal):
        # What does not depend on the order in memory is found in a quarter of the time in this one.
        by_lead = np.ascontiguousarray(block)
        block_missing = np.isnan(by_lead).sum(axis=1)
        if offset is None:
            low = smaller(low, smaller.reduce(by_lead, axis=1, initial=np.inf))
            high = larger(high, larger.reduce(by_lead, axis=1, initial=-np.inf))
        else:
            block = block - offset
        count, block_mean, block_var = _moments(
            block, block_missing if skip_missing else None, variance
        )
        n_missing = n_missing + block_missing
        if total is None:
            total, mean, var = count, block_mean, block_var
            continue
        share = count / np.maximum(total + count, 1)
        delta = block_mean - mean
        mean = mean + delta * share
        var = var + (block_var - var) * share + delta**2 * share * (1 - share)
        total = total + count
    return mean, var, high - low <= FLAT_MV, n_missing


def _moments(
    block: np.ndarray, n_missing: np.ndarray | None, variance: bool
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Samples that count, their mean and variance of each lead.

    Args:
        block: ``(n_leads, n)``.
        n_missing: how many samples of each lead have no value, to leave them out; None: do not.
        variance: whether it is wanted.
    """
    none = np.full(len(block), np.nan)
    if n_missing is None or not n_missing.any():
        count = np.full(len(block), block.shape[1])
        return count, block.mean(axis=1), block.var(axis=1) if variance else none
    valid, count = ~np.isnan(block), block.shape[1] - n_missing
    # A lead without any value counts as one zero, which weighs nothing.
    valid[count == 0, :1] = True
    block = np.where(valid, block, 0)
    mean = np.where(count == 0, 0, block.mean(axis=1, where=valid))
    var = np.where(count == 0, 0, block.var(axis=1, where=valid)) if variance else none
    return count, mean, var


@dataclass(frozen=True, eq=False)
class Standardisation:
    """What gives every lead of a recording mean 0 and standard deviation 1.

    Attributes:
        mean: ``(n_leads, 1)`` in mV.
        std: population standard deviation of the centred lead, ``(n_leads, 1)`` in mV; 0 where the
            lead is flat.
        flat: whether it is, ``(n_leads, 1)``.
        fill: value of a flat lead; None for the lead less its mean.
    """

    mean: np.ndarray
    std: np.ndarray
    flat: np.ndarray
    fill: float | None

    def __call__(self, ecg: np.ndarray) -> np.ndarray:
        """Standardise samples of the recording, ``(n_leads, n)``."""
        standardised = (ecg - self.mean) / np.where(self.flat, 1, self.std)
        return standardised if self.fill is None else np.where(self.flat, self.fill, standardised)


def standardisation(
    ecg: Signal, constant_lead_strategy: str = "zero", skip_missing: bool = False
) -> Standardisation:
    """Find what standardises a recording.

    Args:
        ecg: ``(n_leads, n_samples)`` in mV.
        constant_lead_strategy: what becomes of a flat lead: ``zero``; ``nan``; or ``constant``, the
            lead less its mean, which is 0 but for rounding (fairseq_signals).
        skip_missing: leave samples without a value out of the statistics. Otherwise a lead that
            has one becomes NaN as a whole.
    """
    mean, _, flat, _ = _scan(ecg, skip_missing, variance=False)
    mean, flat = mean[:, None], flat[:, None]
    _, var, _, _ = _scan(ecg, skip_missing, mean)
    std = np.where(flat, 0, np.sqrt(var)[:, None])
    return Standardisation(
        mean, std, flat, {"zero": 0, "nan": np.nan, "constant": None}[constant_lead_strategy]
    )


def layer_normalisation(ecg: Signal, together: bool) -> Standardisation:
    """Find what normalises a recording as ``torch.nn.functional.layer_norm`` over all its samples.

    The mean and the biased variance are those of all samples; `EPSILON` is added to the variance.

    Args:
        ecg: ``(n_leads, n_samples)`` without gaps.
        together: over all leads; otherwise each lead by itself.
    """
    mean, var, flat, _ = _scan(ecg, skip_missing=False)
    if together:
        of_all = np.full_like(mean, mean.mean())
        mean, var = of_all, np.full_like(var, (var + (mean - of_all) ** 2).mean())
    std = np.sqrt(var + EPSILON)
    return Standardisation(mean[:, None], std[:, None], np.zeros((len(flat), 1), bool), None)
