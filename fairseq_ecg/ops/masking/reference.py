"""Span masking in NumPy, draw for draw as fairseq_signals does it."""

from types import ModuleType

import numpy as np
import torch

RandomSource = np.random.RandomState | ModuleType
"""A legacy NumPy stream: a ``RandomState``, or ``numpy.random`` itself for the global one."""


def compute_mask_indices(
    shape: tuple[int, int],
    padding_mask: torch.Tensor | None,
    mask_prob: float,
    mask_length: int,
    mask_type: str = "static",
    mask_other: float = 0.0,
    min_masks: int = 0,
    no_overlap: bool = False,
    min_space: int = 0,
    rng: RandomSource = np.random,
) -> np.ndarray:
    """Draw the frames to mask, the same number in every row.

    Spans are drawn per row, overlaps count once, and rows with more masked frames than the poorest
    row are thinned at random (wav2vec 2.0, https://arxiv.org/abs/2006.11477, section 3.1). Unlike
    fairseq's function of the same name it draws from a seedable stream, spends the draws of
    fairseq_signals in their order, and allows a row to be masked whole.

    Args:
        shape: ``(B, S)``, rows and frames.
        padding_mask: ``(B, S)`` bool, True where a frame is padding; masks stay before it.
        mask_prob: share of the frames that spans would cover if they did not overlap.
        mask_length: length of a span in frames; the mean where lengths are drawn.
        mask_type: ``static``, ``uniform`` (``mask_other`` to ``2 * mask_length``), ``normal``
            (standard deviation ``mask_other``) or ``poisson``.
        mask_other: second parameter of the length distribution.
        min_masks: least number of spans in a row.
        no_overlap: keep spans apart.
        min_space: least number of unmasked frames between two spans when ``no_overlap``.
        rng: where the numbers come from.

    Returns:
        ``(B, S)`` bool array, True where masked.

    Raises:
        ValueError: the mask type is unknown.
    """
    rows, frames = shape
    mask = np.zeros(shape, dtype=bool)
    spans_of_a_full_row = _number_of_spans(mask_prob, frames, mask_length, min_masks, rng)

    masked_frames = []
    for row in range(rows):
        if padding_mask is None:
            valid, spans = frames, spans_of_a_full_row
        else:
            valid = frames - int(padding_mask[row].long().sum())
            spans = _number_of_spans(mask_prob, valid, mask_length, min_masks, rng)
        lengths = _span_lengths(spans, mask_length, mask_type, mask_other, rng)
        if sum(lengths) == 0 and len(lengths):
            lengths[0] = min(mask_length, valid - 1)
        if no_overlap:
            positions = _place_apart(valid, lengths, min_space, rng)
        else:
            positions = _place_anywhere(valid, lengths, rng)
        masked_frames.append(np.unique(positions[positions < valid]))

    fewest = min((len(positions) for positions in masked_frames), default=0)
    for row, positions in enumerate(masked_frames):
        if len(positions) > fewest:
            positions = rng.choice(positions, fewest, replace=False)
        mask[row, positions] = True
    return mask


def _number_of_spans(
    mask_prob: float, frames: int, mask_length: int, min_masks: int, rng: RandomSource
) -> int:
    # The random fraction makes the expectation exact although the number is whole.
    return max(min_masks, int(mask_prob * frames / float(mask_length) + rng.rand()))


def _span_lengths(
    spans: int, mask_length: int, mask_type: str, mask_other: float, rng: RandomSource
) -> list[int]:
    if mask_type == "static":
        return [mask_length] * spans
    if mask_type == "uniform":
        return rng.randint(int(mask_other), mask_length * 2 + 1, size=spans).tolist()
    if mask_type == "normal":
        drawn = rng.normal(mask_length, mask_other, size=spans)
        return [max(1, round(length)) for length in drawn.tolist()]
    if mask_type == "poisson":
        return [round(length) for length in rng.poisson(mask_length, size=spans).tolist()]
    raise ValueError(
        f"mask type {mask_type!r} is not one of static, uniform, normal, poisson "
        "(model.mask_selection, model.mask_channel_selection)"
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
        rooms = np.array([end - begin - length + 1 for begin, end in gaps]).clip(min=0)
        if rooms.sum() == 0:
            break
        begin, end = gaps.pop(rng.choice(len(gaps), p=rooms / rooms.sum()))
        start = rng.randint(begin, end - length + 1)
        masked.append(np.arange(start, start + length))
        gaps += [(begin, start - min_space), (start + length + min_space, end)]
        gaps = [(left, right) for left, right in gaps if right > left]
    return np.concatenate(masked)
