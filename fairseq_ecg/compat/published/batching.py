"""Batches and masks, by fairseq_signals' arguments."""

from collections.abc import Callable, Sequence

import numpy as np
import torch
from fairseq.data.data_utils_fast import batch_by_size_fn, batch_by_size_vec

from fairseq_ecg.ops.masking import SpanMasking
from fairseq_ecg.ops.masking import compute_mask_indices as draw_mask


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
) -> np.ndarray:
    """Draw masked spans from NumPy's global stream.

    Args:
        shape: rows and frames.
        padding_mask: ``(B, T)`` bool, True in frames that are padding, or None.
        mask_prob: share of frames that spans would cover if they did not overlap.
        mask_length: frames of a span.
        mask_type: distribution of the length: static, uniform, normal or poisson.
        mask_other: second parameter of that distribution.
        min_masks: least number of spans in a row.
        no_overlap: keep spans apart.
        min_space: least distance between spans that are kept apart.

    Returns:
        ``(B, T)`` bool, as many True in each row.
    """
    options = mask_type, mask_other, min_masks, no_overlap, min_space
    return draw_mask(shape, padding_mask, SpanMasking(mask_prob, mask_length, *options))


def batch_by_size(
    indices: Sequence[int] | np.ndarray,
    num_tokens_fn: Callable[[int], int] | None,
    num_tokens_vec: Sequence[int] | np.ndarray | None = None,
    max_tokens: int | None = None,
    max_signals: int | None = None,
    required_batch_size_multiple: int = 1,
) -> list[np.ndarray]:
    """Cut ordered items into batches, all of them: stock fairseq leaves out an odd last batch.

    Args:
        indices: of the items, in order.
        num_tokens_fn: returns the size of an item.
        num_tokens_vec: sizes of the items, in place of ``num_tokens_fn``.
        max_tokens: most of the largest size times the number of items; None: any.
        max_signals: most items; None: any.
        required_batch_size_multiple: batches are smaller than this or a multiple of it.

    Returns:
        Indices of each batch.
    """
    indices = np.asarray(indices, dtype=np.int64)
    limits = [-1 if most is None else int(most) for most in (max_tokens, max_signals)]
    if num_tokens_vec is None:
        return batch_by_size_fn(indices, num_tokens_fn, *limits, required_batch_size_multiple)
    sizes = np.asarray(num_tokens_vec, dtype=np.int64)
    return batch_by_size_vec(indices, sizes, *limits, required_batch_size_multiple)


def get_buckets(sizes: Sequence[int] | np.ndarray, num_buckets: int) -> np.ndarray:
    """Choose sizes to pad to, so that each serves about as many items.

    Args:
        sizes: of the items.
        num_buckets: most sizes to pad to.

    Returns:
        Sizes in ascending order; fairseq's function fails with NumPy 2.4.
    """
    percentages = np.linspace(0, 100, num_buckets + 1)
    return np.unique(np.percentile(sizes, percentages, method="lower")[1:])
