"""Pooling of frames."""

import torch


def mean_of_nonzero(x: torch.Tensor) -> torch.Tensor:
    """Average each channel over the frames in which it is not zero.

    fairseq_signals pools this way, and published checkpoints were trained with it: padded frames,
    which are zero, do not count, but neither does an entry that dropout or chance made zero, and
    a channel that is zero in every frame gives NaN.

    Args:
        x: ``(B, T, D)``.

    Returns:
        ``(B, D)``.
    """
    return x.sum(dim=1) / (x != 0).sum(dim=1)


def zero_padding(x: torch.Tensor, frame_mask: torch.Tensor | None) -> torch.Tensor:
    """Set the padded frames of ``(B, T, D)`` to zero; ``frame_mask`` is ``(B, T)`` or None."""
    return x if frame_mask is None else x.masked_fill(frame_mask.unsqueeze(-1), 0)
