"""Two ECGs of one question, behind each other along time."""

import torch

from fairseq_ecg.modules.encoder import ECGReader


def second_frame_mask(
    encoder: ECGReader, padding_mask: torch.Tensor | None, frames: int
) -> torch.Tensor | None:
    """Turn a mask of samples of second ECGs into one of frames; absent ones are masked whole.

    Args:
        encoder: that made the frames.
        padding_mask: ``(B, L, T)`` or ``(B, T)`` bool, True where padded.
        frames: T'.

    Returns:
        ``(B, T')`` bool, or None: see :meth:`ECGReader.frame_padding_mask`.
    """
    mask = encoder.frame_padding_mask(padding_mask, frames)
    if mask is None or padding_mask is None:
        return None
    is_absent = frame_counts(encoder, padding_mask) <= 0
    return mask | is_absent.unsqueeze(1)


def frame_counts(encoder: ECGReader, padding_mask: torch.Tensor) -> torch.Tensor:
    """Count the frames that the valid samples of each row give: ``(B,)``, 0 or less if too few."""
    mask = padding_mask[:, 0] if padding_mask.dim() == 3 else padding_mask
    return encoder.frame_count((~mask).sum(dim=-1))


def longest(encoder: ECGReader, ecg: torch.Tensor, padding_mask: torch.Tensor | None) -> int:
    """Return how many frames the longest ECG of ``(B, L, T)`` gives."""
    if padding_mask is None:
        return encoder.frame_count(ecg.shape[-1])
    return int(frame_counts(encoder, padding_mask).max())


def join_pair(
    first: torch.Tensor,
    separator: torch.Tensor,
    second: torch.Tensor,
    first_mask: torch.Tensor | None,
    second_mask: torch.Tensor | None,
) -> tuple[torch.Tensor, torch.Tensor | None]:
    """Put the frames of second ECGs behind those of first ones, a separator between them.

    Args:
        first: ``(B, T_1', D)``.
        separator: ``(D,)``.
        second: ``(B, T_2', D)``.
        first_mask: ``(B, T_1')`` bool, True where padded, or None.
        second_mask: ``(B, T_2')``; a separator in front of padding alone is padding too.

    Returns:
        ``(B, T_1' + 1 + T_2', D)`` and its mask, None if there is no padding.
    """
    between = separator.to(first.dtype).expand(len(first), 1, -1)
    frames = torch.cat([first, between, second], dim=1)
    if first_mask is None and second_mask is None:
        return frames, None
    first_mask, second_mask = mask_of(first, first_mask), mask_of(second, second_mask)
    between_mask = second_mask.all(dim=1, keepdim=True)
    return frames, torch.cat([first_mask, between_mask, second_mask], dim=1)


def mask_of(x: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor:
    """Return a padding mask ``(B, T)`` of ``(B, T, D)``, False everywhere in place of None."""
    return x.new_zeros(x.shape[:2], dtype=torch.bool) if mask is None else mask


def mean_or_zero(x: torch.Tensor) -> torch.Tensor:
    """Average each channel over the frames in which it is not zero; 0 if there are none.

    As :func:`fairseq_ecg.ops.pooling.mean_of_nonzero`, for what may be absent.

    Args:
        x: ``(B, T, D)``, padded frames zero.

    Returns:
        ``(B, D)`` in the type of ``x``.
    """
    total = x.sum(dim=1, dtype=torch.promote_types(x.dtype, torch.float32))
    return (total / (x != 0).sum(dim=1).clamp(min=1)).to(x.dtype)
