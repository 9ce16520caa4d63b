"""What is done to a signal before training: resampling, standardisation, segmentation.

The formulas are those of fairseq_signals' preprocessing, so that what is prepared here fits its
checkpoints.
"""

from dataclasses import dataclass

import numpy as np
from scipy.interpolate import interp1d


@dataclass(frozen=True, eq=False)
class Segments:
    """A recording as the network sees it.

    Attributes:
        ecg: standardised segments, ``(n_segments, n_leads, n_samples)`` float64, without unit.
        mean: of each lead of the resampled recording, ``(n_leads, 1)`` in mV.
        std: population standard deviation likewise, ``(n_leads, 1)`` in mV.
    """

    ecg: np.ndarray
    mean: np.ndarray
    std: np.ndarray


def segments_of(
    ecg: np.ndarray, sample_rate: int, desired_rate: int, segment_samples: int
) -> Segments:
    """Resample, standardise over the whole recording, then cut into segments.

    Args:
        ecg: ``(n_leads, n_samples)`` in mV.
        sample_rate: of ``ecg`` in Hz.
        desired_rate: of the segments in Hz.
        segment_samples: length of a segment in samples at ``desired_rate``.

    Returns:
        The segments; none when the recording is shorter than one.
    """
    standardised, mean, std = standardise(resample_linear(ecg, sample_rate, desired_rate))
    return Segments(segment(standardised, segment_samples), mean, std)


def resample_linear(ecg: np.ndarray, sample_rate: float, desired_rate: float) -> np.ndarray:
    """Change the number of samples by linear interpolation between the first and the last one.

    ``n`` samples become ``n' = int(n * (desired_rate / sample_rate))``, and the ``n`` are placed at
    ``linspace(0, n' - 1, n)``. Both ends are thereby kept, which stretches time by less than one
    sample over the recording (fairseq_signals).

    Args:
        ecg: ``(n_leads, n_samples)``.
        sample_rate: of ``ecg`` in Hz.
        desired_rate: in Hz.

    Returns:
        ``(n_leads, n')`` float64; ``ecg`` itself when the rates are equal.
    """
    if sample_rate == desired_rate:
        return ecg
    n_samples = ecg.shape[1]
    n_desired = int(n_samples * (desired_rate / sample_rate))
    positions = np.linspace(0, n_desired - 1, n_samples)
    # Not np.interp: for float32 leads it rounds differently from fairseq_signals (6e-8).
    return interp1d(positions, ecg)(np.arange(n_desired))


def standardise(ecg: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Give every lead mean 0 and population standard deviation 1; a flat lead becomes 0.

    Args:
        ecg: ``(n_leads, n_samples)``. A lead with a NaN becomes NaN.

    Returns:
        The standardised leads, ``(n_leads, n_samples)``, and the mean and the standard deviation
        of ``ecg``, ``(n_leads, 1)`` each.
    """
    mean = ecg.mean(axis=1, keepdims=True)
    centred = ecg - mean
    std = centred.std(axis=1, keepdims=True)
    flat = std == 0
    return np.where(flat, 0.0, centred / np.where(flat, 1.0, std)), mean, std


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
