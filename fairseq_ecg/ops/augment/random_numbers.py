"""The random numbers of one augmentation in all recordings of a batch."""

from dataclasses import dataclass
from functools import cached_property

from torch import Tensor

from fairseq_ecg.ops import philox

ROW_LANES = 128
"""Lane of the first row's parameters; the lanes from 0 are those of noise at every sample."""


@dataclass(frozen=True)
class RandomNumbers:
    """Blocks of four random numbers: some of a recording, then one of each of its L rows.

    Args:
        counters: ``(B, n + L, 4)`` int64 of the blocks.
        seeds: ``(B,)`` int64.
        words: ``(B, n + L, 4)`` int64.
        uniforms: ``(B, n + L, 4)`` float64 in [0, 1), of the same words.
        n_rows: L.
        lengths: ``(B,)`` float64, of the recordings in samples.
        backend: what computes the normal numbers; their bits are the same for all.
    """

    counters: Tensor
    seeds: Tensor
    words: Tensor
    uniforms: Tensor
    n_rows: int
    lengths: Tensor
    backend: str

    @property
    def of_recording(self) -> Tensor:
        """Uniform numbers ``(B, n, 4)``; the very first decides about the application."""
        return self.uniforms[:, : -self.n_rows]

    @property
    def of_rows(self) -> Tensor:
        """Uniform numbers ``(B, L, 4)``."""
        return self.uniforms[:, -self.n_rows :]

    @property
    def words_of_rows(self) -> Tensor:
        """Words ``(B, L, 4)``."""
        return self.words[:, -self.n_rows :]

    @cached_property
    def normals_of_recording(self) -> Tensor:
        """First normal number of the recording's blocks but the very first, ``(B, n - 1)``."""
        return self._normals(self.counters[:, 1 : -self.n_rows])

    @cached_property
    def normals_of_rows(self) -> Tensor:
        """First normal number of each row's block, ``(B, L)``."""
        return self._normals(self.counters[:, -self.n_rows :])

    def _normals(self, counters: Tensor) -> Tensor:
        seeds = self.seeds.repeat_interleave(counters.shape[1])
        drawn = philox.random_numbers(counters.flatten(0, 1), seeds, "normals", self.backend)
        return drawn[:, 0].double().view(counters.shape[:2])
