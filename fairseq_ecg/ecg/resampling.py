"""Change of the sampling rate, by the formulas of fairseq_signals or a polyphase filter; gaps."""

from fractions import Fraction

import numpy as np

from fairseq_ecg.ecg.blocks import Signal
from fairseq_ecg.limits import check_limit

RESAMPLERS = ("linear", "polyphase")

_LARGEST_TERM = 2**20
"""Of the ratio of two rates, for which `_Polyphase` makes a filter 20 times as long."""


def resample(
    ecg: Signal, sample_rate: float, desired_rate: float, resampler: str = "linear"
) -> Signal:
    """Change the sampling rate.

    ``linear`` interpolates between samples, as fairseq_signals does: ``n`` of them become
    ``n' = int(n * (desired_rate / sample_rate))``, and the ``n`` are placed at
    ``linspace(0, n' - 1, n)``. Both ends are thereby kept, which lengthens time by less than one
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
    kinds: dict[str, type[_Linear | _Polyphase]] = {"linear": _Linear, "polyphase": _Polyphase}
    lazy = kinds[resampler](ecg, sample_rate, desired_rate)
    return lazy[:, : lazy.shape[1]] if isinstance(ecg, np.ndarray) else lazy


def resample_by_spline(ecg: np.ndarray, sample_rate: float, desired_rate: float) -> np.ndarray:
    """Change the sampling rate by a cubic spline through all samples of a lead.

    Times are exact: sample ``i`` of the result is the spline's value at sample
    ``i * sample_rate / desired_rate``. What is above half of a lower rate is let through. It is how
    recordings are resampled whose annotated samples are to stay where they are.

    Args:
        ecg: ``(n_leads, n)``, two samples or more, all of them finite.
        sample_rate: of ``ecg`` in Hz.
        desired_rate: in Hz.

    Returns:
        ``(n_leads, int(n * desired_rate / sample_rate))`` float64; ``ecg`` itself when the rates
        are equal.

    Raises:
        DataError: more samples would come out than are plausible.
    """
    if sample_rate == desired_rate:
        return ecg
    from scipy.interpolate import CubicSpline  # costs a third of a second to import

    n_samples = ecg.shape[1]
    n_desired = int(n_samples * desired_rate / sample_rate)
    check_limit(f"resampled from {sample_rate:g} to {desired_rate:g} Hz", "samples", n_desired)
    return CubicSpline(np.arange(n_samples), ecg, axis=1)(
        np.arange(n_desired) * sample_rate / desired_rate
    )


def interpolated(signal: np.ndarray, known: np.ndarray) -> np.ndarray:
    """Fill samples without a value: linearly between others, at the ends with the nearest value.

    Args:
        signal: ``(n_leads, n_samples)``.
        known: ``(n_leads, n_samples)`` bool, whether a sample has a value; in each lead one has.

    Returns:
        ``(n_leads, n_samples)`` float64.
    """
    filled = np.array(signal, dtype=np.float64)
    positions = np.arange(signal.shape[1])
    for row, has_value in zip(filled, known, strict=True):
        row[~has_value] = np.interp(positions[~has_value], positions[has_value], row[has_value])
    return filled


class _Linear:
    """Linear interpolation, a chunk at a time with the same bits."""

    dtype = np.dtype(np.float64)

    def __init__(self, ecg: Signal, sample_rate: float, desired_rate: float):
        self.ecg = ecg
        n_leads, self.n_given = ecg.shape
        self.shape = (n_leads, int(self.n_given * (desired_rate / sample_rate)))

    def __getitem__(self, key: tuple[slice, slice]) -> np.ndarray:
        from scipy.interpolate import interp1d  # costs a third of a second to import

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
    """Polyphase filtering, a chunk at a time."""

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
        # A chunk has to begin where a given sample and a desired one coincide.
        first = max(start * self.down // self.up - self.reach, 0) // self.down * self.down
        last = min(-(-stop * self.down // self.up) + self.reach, self.ecg.shape[1])
        given = self.ecg[:, first:last] - self.offset
        resampled = resample_poly(given, self.up, self.down, axis=1, padtype="edge")
        before = first * self.up // self.down
        return resampled[:, start - before : stop - before] + self.offset
