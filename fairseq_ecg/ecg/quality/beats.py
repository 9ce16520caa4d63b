"""Beats: where they are, whether they are alike, and what a typical one looks like."""

from functools import cached_property

import numpy as np
from scipy.ndimage import binary_closing, gaussian_filter1d, uniform_filter1d

from fairseq_ecg.ecg.quality.chunk import RATE, Spectrum

QRS_BAND = (8.0, 25.0)
"""In Hz. Between them the QRS complex is farthest above P and T waves, drift and muscle noise."""
SHAPE_BAND = (0.5, 40.0)
"""In Hz; of what beats are compared by."""
REFRACTORY = 0.2
"""Seconds in which there is no second QRS complex."""
PEAK = 0.35
"""Of the way from the median of the QRS energy to its highest peaks: from there on, a beat."""
ALIKE = 0.7
"""Correlation with the most typical beat from which on a beat is one of its kind."""


def find_peaks(signal: np.ndarray, height: float, distance: int) -> np.ndarray:
    """Find local maxima as ``scipy.signal.find_peaks``, which takes half a second to import.

    Args:
        signal: ``(n_samples,)``.
        height: that a peak has at least.
        distance: in samples; of two peaks that are nearer, the lower one is none.

    Returns:
        ``(N,)`` the samples of the peaks in order; of a plateau its middle.
    """
    changes = np.flatnonzero(signal[1:] != signal[:-1])
    first, last = np.append(0, changes + 1), np.append(changes, len(signal) - 1)
    levels = signal[first]
    tops = 1 + np.flatnonzero((levels[1:-1] > levels[:-2]) & (levels[1:-1] > levels[2:]))
    peaks = (first[tops] + last[tops]) // 2
    peaks = peaks[signal[peaks] >= height]
    kept = np.ones(len(peaks), dtype=bool)
    for highest in np.argsort(signal[peaks])[::-1]:
        if kept[highest]:
            kept[np.abs(peaks - peaks[highest]) < distance] = False
            kept[highest] = True
    return peaks[kept]


class Beats:
    """The beats of a chunk.

    The QRS energy of every lead is scaled by its own peaks, so that no lead outvotes the others,
    and averaged over leads; beats are its peaks. Each beat is compared with each other, lead by
    lead, so that two kinds of beats (ectopic ones, alternating conduction) may each be alike.

    Args:
        spectrum: of leads that move.

    Attributes:
        peaks: samples of the beats at `RATE`, ``(N,)``.
        contrast: highest QRS energy over the median. Sharp complexes have 5 and more, noise 1.5.
    """

    def __init__(self, spectrum: Spectrum):
        self._shape = spectrum.band(*SHAPE_BAND)
        envelope = uniform_filter1d(np.abs(spectrum.band(*QRS_BAND)), int(0.1 * RATE), axis=1)
        peak = np.quantile(envelope, 0.98, axis=1, keepdims=True)
        energy = np.minimum(envelope / np.maximum(peak, 1e-12), 1.5).mean(axis=0)
        middle, top = np.median(energy), np.quantile(energy, 0.98)
        self.contrast = float(top / max(middle, 1e-9))
        self.peaks = find_peaks(energy, middle + PEAK * (top - middle), int(REFRACTORY * RATE))

    @property
    def interval(self) -> float:
        """Median RR interval in seconds; NaN where there are less than two beats."""
        return float(np.median(np.diff(self.peaks)) / RATE) if len(self.peaks) > 1 else np.nan

    @cached_property
    def _correlations(self) -> tuple[np.ndarray, np.ndarray]:
        """Positions of whole beats, and the correlation of each with each, ``(n_leads, N, N)``."""
        half = int(np.clip(0.45 * self.interval, 0.12, 0.3) * RATE)
        whole = (self.peaks >= half) & (self.peaks < self._shape.shape[1] - half)
        positions = self.peaks[whole]
        windows = positions[:, None] + np.arange(-half, half)
        beats = self._shape[:, windows]
        beats = beats - beats.mean(axis=2, keepdims=True)
        beats /= np.maximum(np.linalg.norm(beats, axis=2, keepdims=True), 1e-12)
        return positions, beats @ beats.transpose(0, 2, 1)

    @cached_property
    def likeness(self) -> np.ndarray:
        """Of each lead how well its beats match others of their kind, -1 to 1; NaN if unknown.

        The median over beats of the correlation with the beat that is most alike.
        """
        _, correlations = self._correlations
        n_leads, n_beats, _ = correlations.shape
        if n_beats < 2:
            return np.full(n_leads, np.nan)
        others = correlations - 3 * np.eye(n_beats)
        return np.median(others.max(axis=2), axis=1)

    @cached_property
    def agreement(self) -> float:
        """The same of all leads together, by the median over leads of each correlation."""
        _, correlations = self._correlations
        n_beats = correlations.shape[1]
        if n_beats < 2:
            return np.nan
        others = np.median(correlations, axis=0) - 3 * np.eye(n_beats)
        return float(np.median(others.max(axis=1)))

    @cached_property
    def typical(self) -> "Beat":
        """The mean of the beats of the commonest kind; a mean, since it keeps sums of leads."""
        positions, correlations = self._correlations
        alike = np.median(correlations, axis=0)
        positions = positions[alike[np.median(alike, axis=1).argmax()] >= ALIKE]
        order = np.searchsorted(self.peaks, positions)
        intervals = np.diff(self.peaks)
        before = intervals[order[order > 0] - 1]
        after = intervals[order[order < len(intervals)]]
        known = len(before) and len(after)
        prematurity = float(np.median(before) / np.median(after)) if known else 1.0
        reach = int(min(0.65 * self.interval, 0.65) * RATE)
        whole = positions[(positions >= reach) & (positions < self._shape.shape[1] - reach)]
        shape = self._shape
        if not len(whole):
            shape, whole = np.pad(shape, ((0, 0), (reach, reach))), positions + reach
        beat = shape[:, whole[:, None] + np.arange(-reach, reach)].mean(axis=1)
        return Beat(beat, reach, self.interval, prematurity)


class Beat:
    """A typical beat.

    Args:
        samples: ``(n_leads, 2 * centre)`` at `RATE`; each lead's median becomes zero.
        centre: sample of the QRS complex.
        interval: RR interval in seconds.
        prematurity: interval before such beats over that after them; of premature ones below 1.

    Attributes:
        samples: as given, without the median.
        interval: as given.
        prematurity: as given.
        onset: first sample of the QRS complex.
        offset: last sample of it.
    """

    def __init__(self, samples: np.ndarray, centre: int, interval: float, prematurity: float):
        self.samples = samples - np.median(samples, axis=1, keepdims=True)
        self.interval, self.prematurity = interval, prematurity
        self._at = centre
        speed = np.sqrt((np.diff(self.samples, axis=1) ** 2).sum(axis=0))
        speed = uniform_filter1d(speed, 3)
        near = slice(max(centre - 20, 0), centre + 20)
        fastest = near.start + int(speed[near].argmax())
        # The complex is where the signal moves fast, notches and all.
        fast = binary_closing(speed > 0.2 * speed[fastest], np.ones(6))
        fast[fastest] = True
        slow = np.flatnonzero(~fast)
        before, after = slow[slow < fastest], slow[slow > fastest]
        self.onset = int(before[-1]) + 1 if len(before) else 0
        self.offset = int(after[0]) - 1 if len(after) else len(fast) - 1

    def around_mean(self, rows: list[int]) -> np.ndarray:
        """Return some leads without their means; unlike medians they keep sums of leads."""
        samples = self.samples[rows]
        return samples - samples.mean(axis=1, keepdims=True)

    @property
    def duration(self) -> float:
        """Length of the QRS complex in seconds, without its slow ends."""
        return (self.offset - self.onset + 1) / RATE

    @property
    def span(self) -> np.ndarray:
        """Of each lead the span of the QRS complex and 60 ms around it."""
        around = self.samples[:, max(self.onset - 12, 0) : self.offset + 13]
        return np.ptp(around, axis=1)

    def qrs(self) -> np.ndarray:
        """Return the middle 120 ms of the QRS complex, ``(n_leads, n)``."""
        return self.samples[:, max(self._at - 12, 0) : self._at + 12]

    def part(self, start: float, stop: float) -> np.ndarray:
        """Return a part of the beat, ``(n_leads, n)``, between two times after R in seconds."""
        first, last = (self._at + int(time * RATE) for time in (start, stop))
        return self.samples[:, max(first, 0) : max(last, 0)]

    @property
    def frequency(self) -> float:
        """Centre of gravity of the spectrum of the QRS complex in Hz."""
        around = self.samples[:, max(self._at - 24, 0) : self._at + 24]
        power = np.abs(np.fft.rfft(around * np.hanning(around.shape[1]), 256, axis=1)) ** 2
        power = power.sum(axis=0)[3:]
        frequency = np.fft.rfftfreq(256, 1 / RATE)[3:]
        return float((frequency * power).sum() / max(power.sum(), 1e-300))

    def sides(self) -> tuple[np.ndarray, np.ndarray, float]:
        """Return what precedes and what follows the QRS complex, both away from it.

        Returns:
            Two arrays ``(n_leads, n)``, smoothed, and the seconds from the middle of the complex
            to the first sample of both.
        """
        smooth = gaussian_filter1d(self.samples, 0.015 * RATE, axis=1)
        middle = (self.onset + self.offset) // 2
        guard = max((self.offset - self.onset) // 2 + int(0.03 * RATE), int(0.08 * RATE))
        reach = int(min(0.5 * self.interval, 0.45 * np.sqrt(self.interval)) * RATE)
        after = smooth[:, middle + guard : middle + reach]
        before = smooth[:, max(middle - reach, 0) : max(middle - guard, 0)][:, ::-1]
        length = min(after.shape[1], before.shape[1])
        return before[:, :length], after[:, :length], guard / RATE
