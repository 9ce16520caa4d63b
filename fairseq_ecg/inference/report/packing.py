"""Signals as text in a page, small."""

import base64
import zlib

import numpy as np

STEP = 0.005
"""Of the samples in mV; the coarsest that IEC 60601-2-25 allows an electrocardiograph."""
NO_VALUE = -32768


def pack_signal(signal: np.ndarray) -> tuple[str, float]:
    """Pack samples: differences in time of int16, low bytes before high bytes, deflate, base64.

    Args:
        signal: ``(n_leads, n_samples)`` in mV; NaN where a sample has no value.

    Returns:
        The text, and the step in mV: ``STEP``, or more where a sample would not fit.
    """
    finite = np.isfinite(signal)
    largest = float(np.abs(signal[finite]).max()) if finite.any() else 0.0
    step = max(STEP, largest / 32767)
    counts = np.full(signal.shape, NO_VALUE, dtype=np.int16)
    counts[finite] = np.round(signal[finite] / step)
    # They wrap around, and so does the sum that undoes it.
    differences = np.diff(counts, axis=1, prepend=np.int16(0)).astype("<i2")
    planes = np.ascontiguousarray(differences).view(np.uint8).reshape(-1, 2).T
    return _text(planes.tobytes()), step


def pack_saliency(values: np.ndarray, least: float, largest: float) -> str:
    """Pack a saliency: 1 to 255 from the least to the largest, 0 where there is none."""
    span = largest - least or 1.0
    levels = np.zeros(len(values), dtype=np.uint8)
    finite = np.isfinite(values)
    levels[finite] = 1 + np.round(254 * np.clip((values[finite] - least) / span, 0, 1))
    return _text(levels.tobytes())


def _text(packed: bytes) -> str:
    return base64.b64encode(zlib.compress(packed, 9)).decode()
