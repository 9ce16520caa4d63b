"""Signals that need not fit in memory, worked on in blocks.

A signal is ``(n_leads, n_samples)``: an array, or for recordings that should not be in memory as a
whole anything that has ``shape`` and ``dtype`` and yields samples by ``[:, start:stop]``. Those
longer than two blocks of ``BLOCK_SAMPLES`` are worked on in blocks; of all others every number is
that of NumPy's ``mean`` and ``std`` to the last bit.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np

BLOCK_SAMPLES = 2**19
"""Samples of a long recording that are in memory at a time: 17 minutes at 500 Hz, of 12 leads
50 MB."""


class Signal(Protocol):
    """``(n_leads, n_samples)`` real, of which a chunk can be had at a time."""

    @property
    def shape(self) -> tuple[int, int]:
        """Leads and samples."""

    @property
    def dtype(self) -> np.dtype:
        """Of the samples."""

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


def blocks_of(signal: Signal) -> Iterator[np.ndarray]:
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


def in_pieces(signal: Signal, n_samples: float | None = None) -> Signal:
    """Have what is long worked on in blocks, also where it is an array.

    Args:
        signal: ``(n_leads, n)``.
        n_samples: length from which to judge, where it becomes longer than it is.
    """
    if not is_long(signal.shape[1] if n_samples is None else n_samples):
        return signal
    return _Mapped(signal, np.asarray, signal.shape, signal.dtype)
