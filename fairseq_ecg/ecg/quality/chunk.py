"""A chunk of a recording as numbers, before anything is known of beats."""

from collections.abc import Sequence

import numpy as np
import scipy.fft

from fairseq_ecg.ecg.resampling import interpolated

RATE = 200.0
"""Samples per second at which beats are looked for and compared."""

ENOUGH_RATE = 500.0
"""Higher rates are brought down to between this one and its double by averaging neighbours."""

FLAT_SECONDS = 1.0
"""A lead that does not move for so long is flat there. In 10 s of the recordings of CODE-15,
PTB-XL, CPSC, Georgia and Chapman no lead that moves at all rests for half of this."""

STRAIGHT_SECONDS = 0.06
"""A slope that does not change for so long was drawn between two samples: three times as long as
in a recording at 50 Hz that was resampled linearly."""

WILD_MILLIVOLTS = 1e4
"""No amplifier of ECGs reaches so far from its middle: such leads are set aside."""


class Chunk:
    """Some seconds of all leads.

    Args:
        signal: ``(n_leads, n_samples)`` real, in mV or standardised.
        leads: name of each row.
        rate: in Hz.

    Attributes:
        leads: names of the leads that have samples at all.
        empty: names of the others.
        rate: of ``samples`` in Hz.
        seconds: length.
        missing: of each lead the share of samples without a value.
        infinite: share of samples of all leads that are infinite.
        straight: of each lead the share of samples that lie on a line between others.
        flat: of each lead the share of samples in which it does not move, missing ones not
            counted.
        clipped: of each lead the share of samples that are its largest or its least value, flat
            ones not counted.
        steps: of each lead the number of different values, as far as there are less than
            ``FEW_VALUES``.
        offset: of each lead the median.
        wild: of each lead whether it has values that nothing records.
        samples: ``(n_leads, n_samples)`` float64: gaps interpolated, the median taken off, rates
            far above ``ENOUGH_RATE`` brought down; zeros where ``wild``.
    """

    FEW_VALUES = 10

    def __init__(self, signal: np.ndarray, leads: Sequence[str], rate: float):
        signal = np.asarray(signal, dtype=np.float64)
        self.seconds = signal.shape[1] / rate
        valid = np.isfinite(signal)
        has = valid.any(axis=1)
        self.leads = tuple(lead for lead, one in zip(leads, has, strict=True) if one)
        self.empty = tuple(lead for lead, one in zip(leads, has, strict=True) if not one)
        signal, valid = signal[has], valid[has]
        self.missing = 1 - valid.mean(axis=1)
        self.infinite = float(np.isinf(signal).mean()) if len(signal) else 0.0
        if not valid.all():
            signal = interpolated(signal, valid)
        self.offset = np.median(signal, axis=1)
        with np.errstate(over="ignore"):
            samples = signal - self.offset[:, None]
        least, largest = samples.min(axis=1), samples.max(axis=1)
        self.wild = ~(np.maximum(largest, -least) <= WILD_MILLIVOLTS)
        samples[self.wild] = 0
        # Rounding moves what is far from zero, and nothing that is recorded moves so little.
        least_step = 1e-6 * np.ptp(samples, axis=1, keepdims=True)
        steps = np.diff(samples, axis=1)
        moves = np.abs(steps) > least_step
        resting = _in_runs(moves, max(int(FLAT_SECONDS * rate), 2)) & valid
        self.flat = resting.mean(axis=1)
        bends = (np.abs(np.diff(steps, axis=1)) > least_step) | ~moves[:, 1:]
        self.straight = _in_runs(bends, max(int(STRAIGHT_SECONDS * rate), 4)).mean(axis=1)
        at_an_end = (samples == least[:, None]) | (samples == largest[:, None])
        self.clipped = (at_an_end & ~resting & valid).mean(axis=1)
        self.steps = np.array([self._different(row) for row in samples], dtype=int)
        whole = int(rate // ENOUGH_RATE)
        if whole > 1:
            kept = samples.shape[1] // whole * whole
            samples = samples[:, :kept].reshape(len(samples), kept // whole, whole).mean(axis=2)
            rate = rate / whole
        self.samples, self.rate = samples, rate

    @classmethod
    def _different(cls, row: np.ndarray) -> int:
        """Count the values of a lead as far as there are few of them."""
        some = len(set(row[:500].tolist()))
        return some if some >= cls.FEW_VALUES else len(np.unique(row))

    @property
    def moving(self) -> np.ndarray:
        """Of each lead whether there is something to look at: neither wild nor flat throughout."""
        return ~self.wild & (self.flat < 1)


def _in_runs(breaks: np.ndarray, least: int) -> np.ndarray:
    """Return which samples are in a run that nothing breaks.

    Args:
        breaks: ``(n_leads, n - 1)`` bool, whether one is before each sample but the first.
        least: length in samples from which on a run counts.

    Returns:
        ``(n_leads, n)`` bool.
    """
    inside = np.zeros((len(breaks), breaks.shape[1] + 1), dtype=bool)
    for row, broken in zip(inside, breaks, strict=True):
        bounds = np.concatenate([[0], np.flatnonzero(broken) + 1, [len(row)]])
        for run in np.flatnonzero(np.diff(bounds) >= least):
            row[bounds[run] : bounds[run + 1]] = True
    return inside


class Spectrum:
    """Frequencies of a chunk.

    Args:
        samples: ``(n_leads, n_samples)``.
        rate: in Hz.
    """

    def __init__(self, samples: np.ndarray, rate: float):
        n_samples = samples.shape[1]
        # What the ends differ by would be a step: a period follows the next in a Fourier transform.
        at_end = max(int(0.2 * rate), 1)
        first = samples[:, :at_end].mean(axis=1, keepdims=True)
        last = samples[:, -at_end:].mean(axis=1, keepdims=True)
        level = samples - first - (last - first) * np.linspace(0, 1, n_samples)
        self._transform = scipy.fft.rfft(level, axis=1)
        self._power = np.abs(self._transform) ** 2
        self.frequency = np.arange(self._power.shape[1]) * (rate / n_samples)
        self.n_samples = round(n_samples * RATE / rate)
        self._scale = self.n_samples / n_samples

    def energy(self, low: float, high: float) -> np.ndarray:
        """Return the energy of each lead from one frequency up to another."""
        first, last = np.searchsorted(self.frequency, [low, high])
        return self._power[:, first:last].sum(axis=1)

    def band(self, low: float, high: float) -> np.ndarray:
        """Return what lies between two frequencies, ``(n_leads, n)`` at `RATE`."""
        kept = min(self.n_samples // 2 + 1, self._transform.shape[1])
        frequency = self.frequency[:kept]
        gain = 1 + np.tanh((frequency - low) / (0.25 * low))
        gain *= 1 - np.tanh((frequency - high) / (0.125 * high))
        transform = self._transform[:, :kept] * (0.25 * gain * self._scale)
        return scipy.fft.irfft(transform, self.n_samples, axis=1)
