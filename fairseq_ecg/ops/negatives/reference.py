"""Sampling of negatives and the logits over them, in plain torch.

The contrastive task of wav2vec 2.0 (https://arxiv.org/abs/2006.11477, equation 3): find the true
latent of a masked frame among those of other masked frames.
"""

from typing import NamedTuple

import torch
from torch.nn import functional as F

from fairseq_ecg.ops.philox import COMMON_LANE, Stream, random_words
from fairseq_ecg.ops.philox.reference import below


class DrawnNegatives(NamedTuple):
    """Negatives of the own row that are still to be drawn, by :func:`drawn_indices` or a kernel.

    Attributes:
        origins: ``(B, 4)`` int64, where the random numbers of each row start, see
            :func:`fairseq_ecg.ops.philox.origin`.
        number: N, negatives of a frame.
    """

    origins: torch.Tensor
    number: int


def drawn_indices(
    origins: torch.Tensor,
    frames: int,
    number: int,
    cross_sample_negatives: int = 0,
    pool_frames: int | None = None,
) -> torch.Tensor:
    """Draw for every masked frame the indices of its negatives from its row's random numbers.

    Negative n of frame i is word ``i * number + n`` of ``Stream.NEGATIVES``, turned into one of the
    other frames of the row: what a row's negatives are depends on no other row. Those from the
    whole batch come from ``Stream.CROSS_SAMPLE_NEGATIVES`` likewise; which frames they mean depends
    by nature on what else is in the batch, and on its size.

    Args:
        origins: ``(B, 4)`` int64, see :class:`DrawnNegatives`.
        frames: M, masked frames of a row.
        number: negatives from the same row.
        cross_sample_negatives: negatives from the whole batch.
        pool_frames: P, frames of a row that may be negatives; M, the masked ones, if None.

    Returns:
        ``(B, M * (number + cross_sample_negatives))`` int64 on the device of ``origins``, indices
        into the ``B * P`` frames of the batch in row order; those of a frame stand together.

    Raises:
        ValueError: there is only one frame, hence no other to be a negative.
    """
    pool_frames = frames if pool_frames is None else pool_frames
    if number + cross_sample_negatives > 0:
        check_others(pool_frames)
    rows = len(origins)
    first = torch.arange(rows, device=origins.device).view(-1, 1, 1) * pool_frames
    own = torch.arange(frames, device=origins.device).view(-1, 1)

    def others(stream: Stream, number: int, own: torch.Tensor, count: int) -> torch.Tensor:
        words = random_words(origins, stream, COMMON_LANE, frames * number)
        other = below(words.view(rows, frames, number), count - 1)
        return other + (other >= own)

    within = others(Stream.NEGATIVES, number, own, pool_frames) + first
    across = others(
        Stream.CROSS_SAMPLE_NEGATIVES, cross_sample_negatives, first + own, rows * pool_frames
    )
    return torch.cat([within, across], dim=2).flatten(1)


def check_others(pool_frames: int) -> None:
    """Refuse rows of a single frame.

    Raises:
        ValueError: a row has fewer than two frames that may be negatives.
    """
    if pool_frames <= 1:
        raise ValueError(
            f"{pool_frames} masked frame(s) in a row leave no negatives; raise model.mask_prob "
            "or use longer recordings"
        )


def sample_negatives(
    rows: int,
    frames: int,
    num_negatives: int,
    cross_sample_negatives: int = 0,
    pool_frames: int | None = None,
) -> torch.Tensor:
    """Draw for every masked frame the indices of its negatives.

    Drawn by torch's default CPU generator in fairseq_signals' order, so that a seed gives its
    negatives. A frame is never its own negative within its row. As in fairseq_signals the
    cross-sample negatives stand behind the others of the *row*, so that with both kinds
    in use the split over frames follows the flat order and not the kind.

    Args:
        rows: B, recordings of the batch.
        frames: M, masked frames of a row.
        num_negatives: negatives from the same row.
        cross_sample_negatives: negatives from the whole batch.
        pool_frames: P, frames of a row that may be negatives; M, the masked ones, if None.

    Returns:
        ``(B, M * (num_negatives + cross_sample_negatives))`` int64, indices into the ``B * P``
        frames of the batch in row order.

    Raises:
        ValueError: there is only one masked frame, hence no other to be a negative.
    """
    if num_negatives == 0 and cross_sample_negatives == 0:
        return torch.empty(rows, 0, dtype=torch.long)
    pool_frames = frames if pool_frames is None else pool_frames
    check_others(pool_frames)
    drawn = []
    if num_negatives > 0:
        own = torch.arange(frames).repeat_interleave(num_negatives)
        within = torch.randint(0, pool_frames - 1, (rows, num_negatives * frames))
        first = torch.arange(rows).unsqueeze(1) * pool_frames
        drawn.append(within + (within >= own) + first)
    if cross_sample_negatives > 0:
        own = torch.arange(frames).repeat_interleave(cross_sample_negatives)
        across = torch.randint(0, rows * pool_frames - 1, (rows, cross_sample_negatives * frames))
        drawn.append(across + (across >= own))
    return torch.cat(drawn, dim=1)


def gather_negatives(pool: torch.Tensor, indices: torch.Tensor, frames: int) -> torch.Tensor:
    """Look the negatives up.

    Args:
        pool: ``(..., C)`` latents that may be negatives.
        indices: ``(B, M * N)`` into all of them, as drawn by :func:`sample_negatives`.
        frames: M, masked frames of a row.

    Returns:
        ``(N, B, M, C)``.
    """
    rows, drawn = indices.shape
    negatives = pool.flatten(0, -2)[indices.to(pool.device)]
    return negatives.view(rows, frames, drawn // frames, pool.shape[-1]).permute(2, 0, 1, 3)


def contrastive_logits(
    predictions: torch.Tensor, targets: torch.Tensor, negatives: torch.Tensor, temperature: float
) -> torch.Tensor:
    """Cosine similarity of predictions to the positive and to each negative, over a temperature.

    Args:
        predictions: ``(B, M, C)``.
        targets: ``(B, M, C)``, the positives.
        negatives: ``(N, B, M, C)``.
        temperature: what the similarities are divided by.

    Returns:
        ``(1 + N, B, M)`` in the dtype of ``predictions``, the positive first. A negative that
        equals its positive in every channel is no negative: its logit is minus infinity.
    """
    is_positive = (negatives == targets).all(dim=-1)
    candidates = torch.cat([targets.unsqueeze(0), negatives])
    similarity = F.cosine_similarity(predictions.float(), candidates.float(), dim=-1)
    logits = similarity.to(predictions.dtype) / temperature
    never = is_positive.new_zeros(1, *targets.shape[:-1])
    excluded = torch.cat([never, is_positive])
    return logits.masked_fill(excluded, float("-inf"))
