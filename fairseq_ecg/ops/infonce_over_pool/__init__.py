"""The contrastive loss of wav2vec 2.0 over negatives from a pool of vectors."""

import torch
from torch import Tensor

from fairseq_ecg.ops import backends
from fairseq_ecg.ops.infonce import InfoNCE, check_frames, check_indices
from fairseq_ecg.ops.infonce_over_pool import reference
from fairseq_ecg.ops.losses import register_gradients

__all__ = ["infonce_over_pool"]


def infonce_over_pool(
    predictions: Tensor,
    targets: Tensor,
    pool: Tensor,
    negatives: Tensor,
    temperature: float,
    backend: str | None = None,
) -> InfoNCE:
    """Contrast predictions of masked frames with their targets among vectors out of a pool.

    As :func:`fairseq_ecg.ops.infonce.infonce` in everything but where negatives come from: the
    pool may be all targets of the batch, all its frames or codewords, in any mixture.

    Arithmetic is in float32, also under autocast; inputs of another type are converted. But for
    the reference no backend holds the ``(N, B, M, C)`` negatives. There is no second derivative but
    by the reference.

    Args:
        predictions: ``(B, M, C)`` floating point.
        targets: ``(B, M, C)`` floating point, on the same device.
        pool: ``(P, C)`` floating point, on the same device.
        negatives: ``(B, M * N)`` int64 on any device, N of one frame after another: indices into
            the pool; N may be 0. On a GPU the loss is NaN for one that is not in the pool.
        temperature: what cosine similarities are divided by, positive.
        backend: which implementation runs, see :mod:`fairseq_ecg.ops.backends`.

    Returns:
        Loss, correct frames and number of frames. Gradients of the loss flow to
        predictions, targets and pool.

    Raises:
        ValueError: shapes or types do not match, or (on the CPU) a negative is not in the pool.
        IndexError: the same by the reference.
        BackendError: the backend asked for is not there.

    Source: Baevski et al., "wav2vec 2.0", NeurIPS 2020, equation 3.
    """
    check_frames(predictions, targets, temperature)
    rows, frames, channels = predictions.shape
    check_indices(negatives, rows, frames, least=0)
    if pool.dim() != 2 or pool.shape[1] != channels:
        raise ValueError(f"the pool must be (P, {channels}), not {tuple(pool.shape)}")
    predictions, targets, pool = predictions.float(), targets.float(), pool.float()
    negatives = negatives.to(predictions.device, non_blocking=True)
    chosen = backends.choose("infonce_over_pool", predictions.device.type, backend)
    if chosen == "reference":
        loss, correct = reference.infonce_over_pool(
            predictions, targets, pool, negatives, temperature
        )
    else:
        gradient = torch.is_grad_enabled() and any(
            lines.requires_grad for lines in (predictions, targets, pool)
        )
        loss, correct, *_ = _infonce_over_pool(
            predictions, targets, pool, negatives, temperature, gradient, chosen
        )
    return InfoNCE(loss, correct, rows * frames)


@backends.operator("infonce_over_pool")
def _infonce_over_pool(
    predictions: Tensor,
    targets: Tensor,
    pool: Tensor,
    negatives: Tensor,
    temperature: float,
    gradient: bool,
    backend: str,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Return the loss, the number of correct frames, and the three gradients (or empty)."""
    run = backends.implementation("infonce_over_pool", backend).infonce_over_pool
    frames = predictions.shape[0] * predictions.shape[1]
    with torch.autocast(predictions.device.type, enabled=False):
        tensors = backends.contiguous(
            predictions.flatten(0, 1),
            targets.flatten(0, 1),
            pool,
            negatives.reshape(frames, negatives.numel() // frames),
        )
        losses, correct, grad_predictions, grad_targets, grad_pool = run(
            *tensors, temperature, gradient
        )
        if gradient:
            grad_predictions = grad_predictions.view(predictions.shape)
            grad_targets = grad_targets.view(predictions.shape)
        return losses.sum(), correct.sum(), grad_predictions, grad_targets, grad_pool


@torch.library.register_fake(_infonce_over_pool)
def _(predictions, targets, pool, negatives, temperature, gradient, backend):
    loss = predictions.new_empty(())
    correct = predictions.new_empty((), dtype=torch.long)
    shapes = (predictions.shape,) * 2 + (pool.shape,) if gradient else ((0,),) * 3
    return loss, correct, *(predictions.new_empty(shape) for shape in shapes)


register_gradients(_infonce_over_pool, 3)
