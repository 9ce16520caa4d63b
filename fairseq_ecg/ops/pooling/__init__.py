"""Pooling of frames: the mean of what is not zero."""

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from fairseq_ecg.ops import backends
from fairseq_ecg.ops.pooling import reference
from fairseq_ecg.ops.pooling.reference import mean_of_frames, zero_padding

__all__ = ["mean_of_frames", "mean_of_nonzero", "zero_padding"]


def mean_of_nonzero(
    x: Tensor, frame_mask: Tensor | None = None, backend: str | None = None
) -> Tensor:
    """Average each channel over the frames in which it is not zero.

    fairseq_signals pools this way, and published checkpoints were trained with it: padded frames
    do not count, but neither does an entry that dropout or chance made zero, and a channel that
    is zero in every frame gives NaN. The count is a constant for the gradient, which reaches all
    frames that are not padded, also where they are zero.

    Arithmetic is in float32, also under autocast; inputs of another type are converted, but
    float64 is kept unless a backend is named here. There is no second derivative but by the
    reference.

    Args:
        x: ``(B, T, D)`` floating point.
        frame_mask: ``(B, T)`` bool on the same device, True where a frame is padding, whatever it
            holds. None: no frame is.
        backend: which implementation runs, see :mod:`fairseq_ecg.ops.backends`.

    Returns:
        ``(B, D)`` in the type of ``x``.

    Raises:
        ValueError: shapes or types do not match.
        BackendError: the backend asked for is not there.
    """
    if x.dim() != 3:
        raise ValueError(f"x must be (B, T, D), not {tuple(x.shape)}")
    if frame_mask is not None:
        if frame_mask.shape != x.shape[:2]:
            raise ValueError(
                f"frame_mask must be (B, T) of x {tuple(x.shape)}, not {tuple(frame_mask.shape)}"
            )
        if frame_mask.dtype != torch.bool:
            raise ValueError(f"frame_mask must be bool, not {frame_mask.dtype}")
    if x.dtype == torch.float64 and backend is None:
        return reference.mean_of_nonzero(x, frame_mask)
    chosen = backends.choose("pooling", x.device.type, backend)
    if chosen == "reference":
        with torch.autocast(x.device.type, enabled=False):
            return reference.mean_of_nonzero(x.float(), frame_mask).to(x.dtype)
    means, _ = _mean_of_nonzero(x.float(), frame_mask, chosen)
    return means.to(x.dtype)


@backends.operator("mean_of_nonzero")
def _mean_of_nonzero(x: Tensor, frame_mask: Tensor | None, backend: str) -> tuple[Tensor, Tensor]:
    """Return the means and how many frames of a channel count."""
    run = backends.implementation("pooling", backend).mean_of_nonzero
    return run(*backends.contiguous(x, frame_mask))


@torch.library.register_fake(_mean_of_nonzero)
def _(x, frame_mask, backend):
    shape = x.shape[0], x.shape[2]
    return x.new_empty(shape), x.new_empty(shape)


def _keep_counts(ctx, inputs, output):
    x, frame_mask, _ = inputs
    ctx.frames = x.shape[1]
    ctx.mark_non_differentiable(output[1])
    ctx.save_for_backward(frame_mask, output[1])


@once_differentiable
def _spread(ctx, grad_means, _):
    frame_mask, counts = ctx.saved_tensors
    grad_frame = (grad_means / counts).unsqueeze(1)
    if frame_mask is None:
        return grad_frame.expand(-1, ctx.frames, -1), None, None
    return torch.where(frame_mask.unsqueeze(-1), 0, grad_frame), None, None


torch.library.register_autograd(_mean_of_nonzero, _spread, setup_context=_keep_counts)
