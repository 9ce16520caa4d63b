"""Pooling of frames in plain torch: the definition, with fairseq_signals' arithmetic."""

from torch import Tensor


def zero_padding(x: Tensor, frame_mask: Tensor | None) -> Tensor:
    """Set the padded frames of ``(B, T, D)`` to zero; ``frame_mask`` is ``(B, T)`` or None."""
    return x if frame_mask is None else x.masked_fill(frame_mask.unsqueeze(-1), 0)


def mean_of_nonzero(x: Tensor, frame_mask: Tensor | None) -> Tensor:
    """Average each channel over the frames in which it is not zero.

    Args:
        x: ``(B, T, D)`` floating point.
        frame_mask: ``(B, T)`` bool, True where a frame is padding, or None.

    Returns:
        ``(B, D)``; autograd differentiates the sum, not the count.
    """
    x = zero_padding(x, frame_mask)
    return x.sum(dim=1) / (x != 0).sum(dim=1)


def mean_of_frames(x: Tensor, frame_mask: Tensor | None = None) -> Tensor:
    """Average each channel over the frames that are not padding, whatever their values.

    Args:
        x: ``(B, T, D)`` floating point.
        frame_mask: ``(B, T)`` bool, True where a frame is padding, or None.

    Returns:
        ``(B, D)``; NaN of a row of padding alone.
    """
    if frame_mask is None:
        return x.mean(dim=1)
    return zero_padding(x, frame_mask).sum(dim=1) / (~frame_mask).sum(dim=1, keepdim=True)
