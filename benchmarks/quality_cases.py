"""Nonsense made of recordings, and what recordings of patients may be like besides."""

from collections.abc import Callable, Mapping
from dataclasses import replace

import numpy as np
from numpy.random import Generator
from scipy.signal import butter, resample, sosfilt

from fairseq_ecg.formats import ECG

Make = Callable[[ECG, Generator], ECG]
"""Makes another recording of one with twelve leads in standard order."""


def _signal(change: Callable[[np.ndarray, Generator], np.ndarray]) -> Make:
    """Make it by changing the samples, of which a float64 copy is given."""
    return lambda ecg, rng: replace(ecg, signal=change(np.array(ecg.signal, float), rng))


def _scaled(factor: float, rows: int | slice = slice(None)) -> Make:
    def change(signal: np.ndarray, _: Generator) -> np.ndarray:
        signal[rows] *= factor
        return signal

    return _signal(change)


def _order(rows: list[int], signs: Mapping[int, float] | None = None) -> Make:
    """Give the leads the signals of others."""

    def change(signal: np.ndarray, _: Generator) -> np.ndarray:
        signal = signal[rows]
        for row, sign in (signs or {}).items():
            signal[row] *= sign
        return signal

    return _signal(change)


def _rate(factor: float) -> Make:
    return lambda ecg, _: replace(ecg, sample_rate=ecg.sample_rate * factor)


def _rate_said(rate: float) -> Make:
    return lambda ecg, _: replace(ecg, sample_rate=rate)


def _tiled(ecg: ECG, _: Generator) -> ECG:
    return replace(ecg, signal=np.tile(ecg.signal, 20), sample_rate=20 * ecg.sample_rate)


def _cut(seconds: float) -> Make:
    return lambda ecg, _: replace(ecg, signal=ecg.signal[:, : int(seconds * ecg.sample_rate)])


def _values_left(count: int) -> Callable[[np.ndarray, Generator], np.ndarray]:
    """Leave some samples, and interpolate the others between them."""

    def change(signal: np.ndarray, rng: Generator) -> np.ndarray:
        positions = np.arange(signal.shape[1])
        kept = np.sort(rng.choice(positions, count, replace=False))
        return np.stack([np.interp(positions, kept, row[kept]) for row in signal])

    return change


def _gaps(ecg: ECG, rng: Generator) -> ECG:
    signal = np.full(ecg.signal.shape, np.nan)
    kept = rng.choice(ecg.n_samples, 100, replace=False)
    signal[:, kept] = ecg.signal[:, kept]
    return replace(ecg, signal=signal)


def _of_time(shape: Callable[[np.ndarray], np.ndarray]) -> Make:
    """Give all leads the same function of time in seconds, each of a size of its own."""

    def make(ecg: ECG, rng: Generator) -> ECG:
        values = shape(np.arange(ecg.n_samples) / ecg.sample_rate)
        return replace(ecg, signal=np.outer(rng.uniform(0.5, 1.5, len(ecg.leads)), values))

    return make


def _noise(colour: Callable[[np.ndarray, float], np.ndarray]) -> Make:
    def make(ecg: ECG, rng: Generator) -> ECG:
        noise = colour(rng.normal(size=ecg.signal.shape), ecg.sample_rate)
        return replace(ecg, signal=noise / noise.std(axis=1, keepdims=True))

    return make


def _in_muscle(noise: np.ndarray, rate: float) -> np.ndarray:
    return sosfilt(butter(2, [5, 40], "bandpass", fs=rate, output="sos"), noise, axis=1)


def _only(row: int) -> Callable[[np.ndarray, Generator], np.ndarray]:
    return lambda signal, _: np.where(np.arange(len(signal))[:, None] == row, signal, 0.0)


def _flat_until(share: float) -> Callable[[np.ndarray, Generator], np.ndarray]:
    def change(signal: np.ndarray, _: Generator) -> np.ndarray:
        signal[:, : int(share * signal.shape[1])] = 0
        return signal

    return change


def _with_spike(signal: np.ndarray, rng: Generator) -> np.ndarray:
    flat = np.zeros_like(signal)
    start = rng.integers(signal.shape[1])
    flat[:, start : start + 3] = 5.0
    return flat


def _one_bit(signal: np.ndarray, _: Generator) -> np.ndarray:
    return np.where(signal > np.median(signal, axis=1, keepdims=True), 1.0, -1.0)


def _toggled(signal: np.ndarray, rng: Generator) -> np.ndarray:
    return 0.02 * rng.integers(0, 2, signal.shape)


def _third_random(signal: np.ndarray, rng: Generator) -> np.ndarray:
    signal[2] = rng.normal(size=signal.shape[1]) * signal[2].std()
    return signal


def _arms(signal: np.ndarray, _: Generator) -> np.ndarray:
    """Swap the electrodes of the arms, in all limb leads."""
    signal[0] *= -1
    signal[[1, 2]] = signal[[2, 1]]
    signal[[3, 4]] = signal[[4, 3]]
    return signal


def _half_precision(signal: np.ndarray, _: Generator) -> np.ndarray:
    """Let the large values overflow."""
    with np.errstate(over="ignore"):
        scaled = (signal * 65504 / np.quantile(np.abs(signal), 0.9)).astype(np.float16)
    return scaled.astype(float) / 3e4


TWELVE = list(range(12))

NONSENSE: dict[str, Make] = {
    "x10": _scaled(10),
    "x20": _scaled(20),
    "/10": _scaled(0.1),
    "/50": _scaled(0.02),
    "one lead x1000": _scaled(1000, 4),
    "half of the leads x1000": _scaled(1000, slice(0, 6)),
    "five leads 1e300": _scaled(1e300, slice(0, 5)),
    "I and II swapped": _order([1, 0, *TWELVE[2:]]),
    "V1 and V6 swapped": _order([*TWELVE[:6], 11, 7, 8, 9, 10, 6]),
    "electrodes of the arms swapped": _signal(_arms),
    "I inverted": _order(TWELVE, {0: -1.0}),
    "all inverted": _scaled(-1),
    "all leads are I": _order([0] * 12),
    "reversed in time": _signal(lambda signal, _: signal[:, ::-1]),
    "rate a tenth": _rate(0.1),
    "rate a fifth": _rate(0.2),
    "rate half": _rate(0.5),
    "rate double": _rate(2),
    "rate 20-fold, tiled": _tiled,
    "rate said 1": _rate_said(1),
    "rate said 5": _rate_said(5),
    "rate said 20": _rate_said(20),
    "rate said 25": _rate_said(25),
    "0.2 s": _cut(0.2),
    "100 samples, others missing": _gaps,
    "100 samples, others interpolated": _signal(_values_left(100)),
    "two samples, others interpolated": _signal(_values_left(2)),
    "11 leads of zeros": _signal(_only(0)),
    "clipped at 0.1 mV": _signal(lambda signal, _: np.clip(signal, -0.1, 0.1)),
    "one bit": _signal(_one_bit),
    "white noise": _noise(lambda noise, _: noise),
    "noise that wanders": _noise(lambda noise, _: np.cumsum(noise, axis=1)),
    "noise of muscles": _noise(_in_muscle),
    "hum of 50 Hz": _of_time(lambda time: np.sin(2 * np.pi * 50 * time)),
    "hum of 60 Hz": _of_time(lambda time: np.sin(2 * np.pi * 60 * time)),
    "sine of 1.2 Hz": _of_time(lambda time: np.sin(2 * np.pi * 1.2 * time)),
    "ramp": _of_time(lambda time: time),
    "one spike of 5 mV": _signal(_with_spike),
    "least bit toggles": _signal(_toggled),
    "90 % flat": _signal(_flat_until(0.9)),
    "offset of 1e6 mV": _signal(lambda signal, _: signal + 1e6),
    "III random": _signal(_third_random),
    "leads shifted by one name": _order([11, *TWELVE[:-1]]),
    "leads shifted by one name, back": _order([*TWELVE[1:], 0]),
    "leads in reversed order": _order(TWELVE[::-1]),
    "half precision overflows": _signal(_half_precision),
}
"""What makes nonsense, by its name."""


def _resampled(rate: float) -> Make:
    def make(ecg: ECG, _: Generator) -> ECG:
        n_samples = round(ecg.n_samples * rate / ecg.sample_rate)
        # A Fourier transform takes the ends for neighbours: what they differ by is added again.
        drift = np.linspace(ecg.signal[:, 0], ecg.signal[:, -1], ecg.n_samples, axis=1)
        new_drift = np.linspace(ecg.signal[:, 0], ecg.signal[:, -1], n_samples, axis=1)
        signal = resample(ecg.signal - drift, n_samples, axis=1) + new_drift
        return replace(ecg, signal=signal, sample_rate=n_samples / ecg.n_samples * ecg.sample_rate)

    return make


def _linearly(ecg: ECG, _: Generator) -> ECG:
    """Bring it to 100 Hz and back, linearly, as who prepares data sets may have done."""
    fine = np.arange(ecg.n_samples) / ecg.sample_rate
    coarse = np.arange(0, fine[-1], 0.01)
    rows = [np.interp(fine, coarse, np.interp(coarse, fine, row)) for row in ecg.signal]
    return replace(ecg, signal=np.stack(rows))


def _leads(*rows: int) -> Make:
    return lambda ecg, _: replace(
        ecg, signal=ecg.signal[list(rows)], leads=tuple(ecg.leads[row] for row in rows)
    )


def _electrodes(disturb: Callable[[np.ndarray, float, Generator], np.ndarray]) -> Make:
    """Disturb the nine electrodes, each by itself: the laws of the leads go on holding.

    ``disturb`` makes what electrodes pick up in mV of white noise ``(9, n_samples)`` and a rate.
    """

    def make(ecg: ECG, rng: Generator) -> ECG:
        noise = rng.normal(size=(9, ecg.n_samples))
        right, left, foot, *chest = disturb(noise, ecg.sample_rate, rng)
        middle = (right + left + foot) / 3
        i, ii, iii = left - right, foot - right, foot - left
        limbs = [i, ii, iii, -(i + ii) / 2, (i - iii) / 2, (ii + iii) / 2]
        return replace(ecg, signal=ecg.signal + np.stack([*limbs, *(v - middle for v in chest)]))

    return make


def _wander(size: float) -> Callable[[np.ndarray, float, Generator], np.ndarray]:
    def disturb(noise: np.ndarray, rate: float, rng: Generator) -> np.ndarray:
        time = np.arange(noise.shape[1]) / rate
        breath = rng.uniform(0.15, 0.4)
        phases = rng.uniform(0, 2 * np.pi, (len(noise), 1))
        return size * rng.uniform(0.3, 1, phases.shape) * np.sin(2 * np.pi * breath * time + phases)

    return disturb


def _muscles(size: float) -> Callable[[np.ndarray, float, Generator], np.ndarray]:
    def disturb(noise: np.ndarray, rate: float, _: Generator) -> np.ndarray:
        band = butter(2, [20, min(150, 0.45 * rate)], "bandpass", fs=rate, output="sos")
        noise = sosfilt(band, noise, axis=1)
        return size * noise / noise.std(axis=1, keepdims=True)

    return disturb


def _mains(size: float) -> Callable[[np.ndarray, float, Generator], np.ndarray]:
    def disturb(noise: np.ndarray, rate: float, rng: Generator) -> np.ndarray:
        time = np.arange(noise.shape[1]) / rate
        wave = np.sin(2 * np.pi * rng.choice([50, 60]) * time)
        return size * rng.uniform(-1, 1, (len(noise), 1)) * wave

    return disturb


def _rounded(step: float) -> Make:
    return _signal(lambda signal, _: np.round(signal / step) * step)


def _each_filtered(signal: np.ndarray, rng: Generator) -> np.ndarray:
    """Take off each lead's own drift: a line between its ends, and a little noise on top."""
    line = np.linspace(signal[:, 0], signal[:, -1], signal.shape[1], axis=1)
    return signal - line + rng.normal(0, 0.01, signal.shape)


def _padded(ecg: ECG, _: Generator) -> ECG:
    zeros = np.zeros((len(ecg.leads), ecg.n_samples // 5))
    return replace(ecg, signal=np.concatenate([zeros, ecg.signal, zeros], axis=1))


def _without(row: int) -> Callable[[np.ndarray, Generator], np.ndarray]:
    def change(signal: np.ndarray, _: Generator) -> np.ndarray:
        signal[row] = 0
        return signal

    return change


def _paced(ecg: ECG, rng: Generator) -> ECG:
    """Add spikes of a pacemaker of 2 ms at a fixed rate, of a size of its own in each lead."""
    signal = np.array(ecg.signal, float)
    width = max(round(0.002 * ecg.sample_rate), 1)
    sizes = rng.uniform(-2, 2, len(signal))
    sizes[2:6] = [sizes[1] - sizes[0], -(sizes[0] + sizes[1]) / 2, *(np.nan, np.nan)]
    sizes[4], sizes[5] = sizes[0] - sizes[1] / 2, sizes[1] - sizes[0] / 2
    for time in np.arange(0.3, ecg.seconds - 0.1, 60 / 70):
        first = int(time * ecg.sample_rate)
        signal[:, first : first + width] += sizes[:, None]
    return replace(ecg, signal=signal)


VARIANTS: dict[str, Make] = {
    "as it is": lambda ecg, _: ecg,
    "first 5 s": _cut(5),
    "at 100 Hz": _resampled(100),
    "at 250 Hz": _resampled(250),
    "at 1000 Hz": _resampled(1000),
    "through 100 Hz, linearly": _linearly,
    "only I": _leads(0),
    "only II": _leads(1),
    "only V1": _leads(6),
    "only V5": _leads(10),
    "I and II": _leads(0, 1),
    "II, V1, V5": _leads(1, 6, 10),
    "limb leads": _leads(*range(6)),
    "chest leads": _leads(*range(6, 12)),
    "I, II, V1 to V6": _leads(0, 1, *range(6, 12)),
    "wander of 1 mV": _electrodes(_wander(1.0)),
    "muscles of 0.03 mV": _electrodes(_muscles(0.03)),
    "muscles of 0.06 mV": _electrodes(_muscles(0.06)),
    "mains of 0.05 mV": _electrodes(_mains(0.05)),
    "half the size": _scaled(0.5),
    "1.5 times the size": _scaled(1.5),
    "rounded to 5 uV": _rounded(0.005),
    "rounded to 25 uV": _rounded(0.025),
    "each lead filtered": _signal(_each_filtered),
    "offset of 200 mV": _signal(lambda signal, _: signal + 200.0),
    "V3 flat": _signal(_without(8)),
    "padded with zeros": _padded,
    "paced": _paced,
}
"""What recordings of patients may be like, too: none of these is a reason for doubt."""
