"""Span masking in NumPy, draw for draw as fairseq_signals does it."""

from collections.abc import Sequence
from dataclasses import dataclass
from types import ModuleType
from typing import Literal, get_args

import numpy as np
import torch

RandomSource = np.random.RandomState | ModuleType
"""A legacy NumPy stream: a ``RandomState``, or ``numpy.random`` itself for the global one."""

MaskType = Literal["static", "uniform", "normal", "poisson"]
MASK_TYPES: tuple[str, ...] = get_args(MaskType)
"""Distributions of the length of a span."""


@dataclass(frozen=True)
class SpanMasking:
    """How spans along one axis, frames or channels, are drawn.

    Args:
        mask_prob: share of the axis that spans would cover if they did not overlap.
        mask_length: length of a span; the mean where lengths are drawn.
        mask_type: ``static``, ``uniform`` (``mask_other`` to ``2 * mask_length``), ``normal``
            (standard deviation ``mask_other``) or ``poisson``.
        mask_other: second parameter of the length distribution.
        min_masks: least number of spans in a row.
        no_overlap: keep spans apart.
        min_space: least distance between two spans when ``no_overlap``.

    Raises:
        ValueError: the mask type is unknown.
    """

    mask_prob: float
    mask_length: int
    mask_type: str = "static"
    mask_other: float = 0.0
    min_masks: int = 0
    no_overlap: bool = False
    min_space: int = 0

    def __post_init__(self) -> None:
        if self.mask_type not in MASK_TYPES:
            raise ValueError(
                f"mask type {self.mask_type!r} is not one of {', '.join(MASK_TYPES)} "
                "(model.mask_selection, model.mask_channel_selection)"
            )

    def number_of_spans(self, valid: int, rng: RandomSource) -> int:
        """Draw how many spans a row of ``valid`` positions gets."""
        # The random fraction makes the expectation exact although the number is whole.
        share = self.mask_prob * valid / float(self.mask_length)
        return max(self.min_masks, int(share + rng.rand()))

    def positions(self, valid: int, spans: int, rng: RandomSource) -> np.ndarray:
        """Draw the masked positions of one row.

        Args:
            valid: positions that may be masked, the first of the row.
            spans: number of spans.
            rng: where the numbers come from.

        Returns:
            ``(K,)`` int64, ascending.
        """
        lengths = self._span_lengths(spans, rng)
        if sum(lengths) == 0 and len(lengths):
            lengths[0] = min(self.mask_length, valid - 1)
        if self.no_overlap:
            positions = _place_apart(valid, lengths, self.min_space, rng)
        else:
            positions = _place_anywhere(valid, lengths, rng)
        return np.unique(positions[positions < valid])

    def _span_lengths(self, spans: int, rng: RandomSource) -> list[int]:
        if self.mask_type == "static":
            return [self.mask_length] * spans
        if self.mask_type == "uniform":
            return rng.randint(int(self.mask_other), self.mask_length * 2 + 1, size=spans).tolist()
        if self.mask_type == "normal":
            drawn = rng.normal(self.mask_length, self.mask_other, size=spans)
            return [max(1, round(length)) for length in drawn.tolist()]
        drawn = rng.poisson(self.mask_length, size=spans)
        return [round(length) for length in drawn.tolist()]


def compute_mask_indices(
    shape: tuple[int, int],
    padding_mask: torch.Tensor | None,
    masking: SpanMasking,
    rng: RandomSource = np.random,
) -> np.ndarray:
    """Draw the frames to mask, the same number in every row, from one stream for the batch.

    Spans are drawn per row, overlaps count once, and rows with more masked frames than the poorest
    row are thinned at random (wav2vec 2.0, https://arxiv.org/abs/2006.11477, section 3.1). Unlike
    fairseq's function of the same name it draws from a seedable stream, spends the draws of
    fairseq_signals in their order, and allows a row to be masked whole.

    Args:
        shape: ``(B, S)``, rows and frames.
        padding_mask: ``(B, S)`` bool, True where a frame is padding; masks stay before it.
        masking: how spans are drawn.
        rng: where the numbers come from.

    Returns:
        ``(B, S)`` bool array, True where masked.
    """
    rows, frames = shape
    mask = np.zeros(shape, dtype=bool)
    spans_of_a_full_row = masking.number_of_spans(frames, rng)

    masked_frames = []
    for row in range(rows):
        if padding_mask is None:
            valid, spans = frames, spans_of_a_full_row
        else:
            valid = frames - int(padding_mask[row].long().sum())
            spans = masking.number_of_spans(valid, rng)
        masked_frames.append(masking.positions(valid, spans, rng))

    fewest = min((len(positions) for positions in masked_frames), default=0)
    for row, positions in enumerate(masked_frames):
        if len(positions) > fewest:
            positions = rng.choice(positions, fewest, replace=False)
        mask[row, positions] = True
    return mask


def draw_masked(
    valid: Sequence[int],
    masking: SpanMasking,
    rngs: Sequence[np.random.RandomState],
    number: int | None = None,
) -> torch.Tensor:
    """Draw the frames to mask, each row from a stream of its own.

    What is masked in a row depends on its stream and, once, on the other rows: all rows have as
    many masked frames as the poorest. Each row ranks its frames at random, the masked ones before
    the others, and has the first of them masked: whatever the batch, a row that must do with
    fewer masked frames has some of the same. Every row draws its own number of spans, as rows of
    padded batches do in :func:`compute_mask_indices`; the distribution is otherwise the same.

    Args:
        valid: frames before the padding of each row.
        masking: how spans are drawn.
        rngs: one stream for each row.
        number: masked frames of a row; a row whose spans cover fewer has further ones of its
            valid frames masked. None: as many as the poorest row.

    Returns:
        ``(B, M)`` int64, ascending in each row.

    Raises:
        ValueError: a row has fewer than ``number`` valid frames.
    """
    ranked, counts = [], []
    for frames, rng in zip(valid, rngs, strict=True):
        masked = masking.positions(frames, masking.number_of_spans(frames, rng), rng)
        ranks = rng.rand(frames) + 1
        ranks[masked] -= 1
        ranked.append(np.argsort(ranks))
        counts.append(len(masked))
    check_number(valid, number)
    number = min(counts, default=0) if number is None else number
    chosen = [np.sort(frames[:number]) for frames in ranked]
    return torch.from_numpy(np.stack(chosen)) if chosen else torch.zeros(0, 0, dtype=torch.long)


def check_number(valid: Sequence[int], number: int | None) -> None:
    """Raise ValueError where a row has fewer than ``number`` valid frames."""
    if number is not None and any(frames < number for frames in valid):
        raise ValueError(
            f"{number} masked frames in each row are asked for (task.masked_frames), but a "
            f"recording has {min(valid)} frames"
        )


def _place_anywhere(valid: int, lengths: list[int], rng: RandomSource) -> np.ndarray:
    if not lengths:
        return np.zeros(0, dtype=np.int64)
    shortest = min(lengths)
    if valid - shortest <= len(lengths):
        shortest = valid - len(lengths) - 1
    starts = rng.choice(valid - shortest, len(lengths), replace=False)
    return np.concatenate(
        [start + np.arange(length) for start, length in zip(starts, lengths, strict=True)]
    ).astype(np.int64)


def _place_apart(valid: int, lengths: list[int], min_space: int, rng: RandomSource) -> np.ndarray:
    gaps = [(0, valid)]
    masked: list[np.ndarray] = [np.zeros(0, dtype=np.int64)]
    for length in sorted(lengths, reverse=True):
        n_starts = np.array([end - begin - length + 1 for begin, end in gaps]).clip(min=0)
        if n_starts.sum() == 0:
            break
        begin, end = gaps.pop(rng.choice(len(gaps), p=n_starts / n_starts.sum()))
        start = rng.randint(begin, end - length + 1)
        masked.append(np.arange(start, start + length))
        gaps += [(begin, start - min_space), (start + length + min_space, end)]
        gaps = [(left, right) for left, right in gaps if right > left]
    return np.concatenate(masked)
