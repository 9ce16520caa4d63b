"""Cutting of a signal into segments."""

from collections.abc import Iterator

import numpy as np

from fairseq_ecg.ecg import blocks
from fairseq_ecg.ecg.blocks import Signal


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
    at_a_time = max(blocks.BLOCK_SAMPLES // segment_samples, 1) * segment_samples
    for start in range(0, whole, at_a_time):
        yield from segment(ecg[:, start : min(start + at_a_time, whole)], segment_samples)
