"""What is done to a signal before training: resampling, standardisation, segmentation.

The formulas are those of fairseq_signals' preprocessing, so that what is prepared here fits its
checkpoints. A signal is ``(n_leads, n_samples)``: an array, or for recordings that should not be in
memory as a whole anything that has ``shape`` and ``dtype`` and yields samples by
``[:, start:stop]``. Those longer than two blocks of ``BLOCK_SAMPLES`` are worked on in blocks; of
all others every number is that of NumPy's ``mean`` and ``std`` to the last bit.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import Protocol

import numpy as np
from scipy.interpolate import interp1d

from fairseq_ecg.data.limits import check_limit

BLOCK_SAMPLES = 2**19
"""Samples of a long recording that are in memory at a time: 17 minutes at 500 Hz, of 12 leads
50 MB."""

FLAT_MV = 1e-6
"""A lead that spans no more than this, in mV, is flat: no converter's step is as small, rounding
errors of a constant are far smaller."""

_LARGEST_TERM = 2**20
"""Of the ratio of two rates, for which `_Polyphase` makes a filter 20 times as long."""

RESAMPLERS = ("linear", "polyphase")
CONSTANT_LEAD_STRATEGIES = ("zero", "nan", "constant")


class Signal(Protocol):
    """``(n_leads, n_samples)`` real, of which a stretch can be had at a time."""

    shape: tuple[int, int]
    dtype: np.dtype

    def __getitem__(self, key: tuple[slice, slice]) -> np.ndarray:
        """Return ``[:, start:stop]``."""


def at_once() -> int:
    """Length in samples of a signal that is just not worked on in blocks: more than half an hour.

    The longest recordings of the archives are no longer, and have fairseq_signals' last bits.
    """
    return 2 * BLOCK_SAMPLES


def is_long(n_samples: float) -> bool:
    """Say whether a signal is worked on in blocks."""
    return n_samples > at_once()


def blocks(signal: Signal) -> Iterator[np.ndarray]:
    """Go through a signal.

    Args:
        signal: ``(n_leads, n_samples)``.

    Yields:
        Its samples in order, of a long one ``BLOCK_SAMPLES`` at a time; at least one array.
    """
    n_samples = signal.shape[1]
    at_a_time = BLOCK_SAMPLES if is_long(n_samples) else max(n_samples, 1)
    for start in range(0, max(n_samples, 1), at_a_time):
        yield signal[:, start : min(start + at_a_time, n_samples)]


def mapped(
    signal: Signal, function: Callable[[np.ndarray], np.ndarray], n_leads: int, dtype: np.dtype
) -> Signal:
    """Apply a function that works sample by sample; in memory only if ``signal`` is.

    Args:
        signal: ``(n_leads, n_samples)``.
        function: of ``(n_leads, n)``.
        n_leads: of what it returns.
        dtype: of what it returns.
    """
    if isinstance(signal, np.ndarray):
        return function(signal)
    return _Mapped(signal, function, (n_leads, signal.shape[1]), dtype)


@dataclass(frozen=True)
class _Mapped:
    signal: Signal
    function: Callable[[np.ndarray], np.ndarray]
    shape: tuple[int, int]
    dtype: np.dtype

    def __getitem__(self, key: tuple[slice, slice]) -> np.ndarray:
        return self.function(self.signal[key])


def in_pieces(signal: Signal) -> Signal:
    """Have what is long worked on in blocks, also where it is an array."""
    return _Pieces(signal) if is_long(signal.shape[1]) else signal


class _Pieces:
    def __init__(self, signal: Signal):
        self._signal, self.shape, self.dtype = signal, signal.shape, signal.dtype

    def __getitem__(self, key: tuple[slice, slice]) -> np.ndarray:
        return self._signal[key]


def resample(
    ecg: Signal, sample_rate: float, desired_rate: float, resampler: str = "linear"
) -> Signal:
    """Change the sampling rate.

    ``linear`` interpolates between samples, as fairseq_signals does: ``n`` of them become
    ``n' = int(n * (desired_rate / sample_rate))``, and the ``n`` are placed at
    ``linspace(0, n' - 1, n)``. Both ends are thereby kept, which stretches time by less than one
    sample over the recording. What is above half of a lower rate is let through.

    ``polyphase`` applies a linear-phase low-pass filter at the lower half of the rates. Their ratio
    is exact, and so is the time of every sample: ``n' = ceil(n * desired_rate / sample_rate)``. Of
    rates whose ratio has terms above a million, such as 333.3333333 and 500 Hz, the nearest ratio
    is taken that has not: over 14 days that is less than a thousandth of a second.
    Beyond its ends the signal is taken to keep its value. A sample without a value makes those
    within ten samples of the lower rate NaN.

    Args:
        ecg: ``(n_leads, n_samples)``.
        sample_rate: of ``ecg`` in Hz.
        desired_rate: in Hz.
        resampler: one of `RESAMPLERS`.

    Returns:
        ``(n_leads, n')`` float64, in memory only if ``ecg`` is; ``ecg`` itself when the rates are
        equal.

    Raises:
        DataError: more samples would come out than are plausible.
    """
    if sample_rate == desired_rate:
        return ecg
    n_desired = ecg.shape[1] * (desired_rate / sample_rate)
    check_limit(f"resampled from {sample_rate:g} to {desired_rate:g} Hz", "samples", n_desired)
    lazy = {"linear": _Linear, "polyphase": _Polyphase}[resampler](ecg, sample_rate, desired_rate)
    return lazy[:, : lazy.shape[1]] if isinstance(ecg, np.ndarray) else lazy


class _Linear:
    """Linear interpolation, a stretch at a time with the same bits."""

    dtype = np.dtype(np.float64)

    def __init__(self, ecg: Signal, sample_rate: float, desired_rate: float):
        self.ecg = ecg
        n_leads, self.n_given = ecg.shape
        self.shape = (n_leads, int(self.n_given * (desired_rate / sample_rate)))

    def __getitem__(self, key: tuple[slice, slice]) -> np.ndarray:
        start, stop = key[1].start or 0, key[1].stop
        n_samples = self.shape[1]
        if n_samples < 2 or self.n_given < 2:
            return np.asarray(self.ecg[:, start:stop], dtype=np.float64)
        step = (n_samples - 1) / (self.n_given - 1)
        first = max(int(start / step) - 2, 0)
        last = min(int(stop / step) + 3, self.n_given)
        # Pieces of linspace(0, n_samples - 1, n_given).
        positions = np.arange(first, last) * step
        if last == self.n_given:
            positions[-1] = n_samples - 1
        # Not np.interp: for float32 leads it rounds differently from fairseq_signals (6e-8).
        return interp1d(positions, self.ecg[:, first:last])(np.arange(start, stop))


class _Polyphase:
    """Polyphase filtering, a stretch at a time."""

    dtype = np.dtype(np.float64)

    def __init__(self, ecg: Signal, sample_rate: float, desired_rate: float):
        # What a rate of 257.3 Hz means is its decimals, not its nearest binary fraction.
        ratio = Fraction(str(desired_rate)) / Fraction(str(sample_rate))
        if ratio > 1:
            ratio = 1 / (1 / ratio).limit_denominator(_LARGEST_TERM)
        else:
            ratio = ratio.limit_denominator(_LARGEST_TERM)
        self.up, self.down = ratio.numerator, ratio.denominator
        # scipy's filter reaches over ten samples of the lower rate.
        self.reach = -(-10 * max(self.up, self.down) // self.up) + 1
        self.ecg = ecg
        # The filter's gain at 0 Hz is 1 to 5e-4 only: what is constant does not go through it.
        self.offset = np.nan_to_num(np.asarray(ecg[:, :1], dtype=np.float64))
        self.shape = (ecg.shape[0], -(-ecg.shape[1] * self.up // self.down))

    def __getitem__(self, key: tuple[slice, slice]) -> np.ndarray:
        from scipy.signal import resample_poly  # costs half a second to import

        start, stop = key[1].start or 0, key[1].stop
        # A stretch has to begin where a given sample and a desired one coincide.
        first = max(start * self.down // self.up - self.reach, 0) // self.down * self.down
        last = min(-(-stop * self.down // self.up) + self.reach, self.ecg.shape[1])
        given = self.ecg[:, first:last] - self.offset
        resampled = resample_poly(given, self.up, self.down, axis=1, padtype="edge")
        before = first * self.up // self.down
        return resampled[:, start - before : stop - before] + self.offset


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

    The mean and variance of the first block are NumPy's own; how those of two parts combine is told
    by Chan, Golub and LeVeque, "Algorithms for computing the sample variance" (1983).

    Returns:
        Mean, population variance (NaN without ``variance``, which saves time), whether it is flat
        (without ``offset``), and number of samples without a value of each lead.
    """
    # fmin and fmax pass over NaN.
    smaller, larger = (np.fmin, np.fmax) if skip_missing else (np.minimum, np.maximum)
    total = None
    mean, var, n_missing = 0.0, 0.0, 0
    low, high = np.inf, -np.inf
    for block in blocks(signal):
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


def segment(ecg: np.ndarray, segment_samples: int) -> np.ndarray:
    """Cut into segments from the first sample on, without overlap; what remains is dropped.

    Args:
        ecg: ``(n_leads, n_samples)``.
        segment_samples: length of a segment in samples.

    Returns:
        ``(n_segments, n_leads, segment_samples)``.
    """
    n_leads, n_samples = ecg.shape
    n_segments = n_samples // segment_samples
    whole = ecg[:, : n_segments * segment_samples]
    return whole.reshape(n_leads, n_segments, segment_samples).swapaxes(0, 1)


def segments_in(ecg: Signal, segment_samples: int) -> Iterator[np.ndarray]:
    """Cut into segments as `segment`, one after the other.

    Args:
        ecg: ``(n_leads, n_samples)``.
        segment_samples: length of a segment in samples.

    Yields:
        ``(n_leads, segment_samples)``.
    """
    whole = ecg.shape[1] // segment_samples * segment_samples
    at_a_time = max(BLOCK_SAMPLES // segment_samples, 1) * segment_samples
    for start in range(0, whole, at_a_time):
        yield from segment(ecg[:, start : min(start + at_a_time, whole)], segment_samples)
