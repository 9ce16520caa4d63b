"""The contrastive loss of wav2vec 2.0 over negatives from a pool of vectors."""

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from fairseq_ecg.ops import backends
from fairseq_ecg.ops.infonce import InfoNCE, check_frames, check_indices
from fairseq_ecg.ops.infonce_over_pool import chunked, cpp_kernel, reference

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
    pool may be all targets of the batch, all its frames or code words, in any mixture.

    Arithmetic is in float32, also under autocast; inputs of another type are converted. But for
    the reference no form holds the ``(N, B, M, C)`` negatives. There is no second derivative but by
    the reference.

    Args:
        predictions: ``(B, M, C)`` floating point.
        targets: ``(B, M, C)`` floating point, on the same device.
        pool: ``(P, C)`` floating point, on the same device.
        negatives: ``(B, M * N)`` int64 on any device, N of one frame after another: indices into
            the pool; N may be 0. On a GPU the loss is NaN for one that is not in the pool.
        temperature: what cosine similarities are divided by, positive.
        backend: which implementation runs, see :mod:`fairseq_ecg.ops.backends`.

    Returns:
        Loss, hits and number of frames. The loss has a gradient by predictions, targets and pool.

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
    chosen = _choose(predictions.device.type, backend)
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


@torch.compiler.assume_constant_result
def _choose(device_type: str, backend: str | None) -> str:
    device = torch.device(device_type)
    return backends.choose("infonce_over_pool", device, backend, has_torch=True)


@torch.library.custom_op("fairseq_ecg::infonce_over_pool", mutates_args=())
def _infonce_over_pool(
    predictions: Tensor,
    targets: Tensor,
    pool: Tensor,
    negatives: Tensor,
    temperature: float,
    gradient: bool,
    backend: str,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Return the loss, the hits, and the gradients by predictions, targets and pool (or empty)."""
    if backend == "torch":
        form = chunked.infonce_over_pool
    elif backend == "triton":
        from fairseq_ecg.ops.infonce_over_pool import triton_kernel

        form = triton_kernel.infonce_over_pool
    else:
        form = cpp_kernel.infonce_over_pool
    frames = predictions.shape[0] * predictions.shape[1]
    with torch.autocast(predictions.device.type, enabled=False):
        losses, hits, by_predictions, by_targets, by_pool = form(
            predictions.contiguous().flatten(0, 1),
            targets.contiguous().flatten(0, 1),
            pool.contiguous(),
            negatives.reshape(frames, negatives.numel() // frames).contiguous(),
            temperature,
            gradient,
        )
        if gradient:
            by_predictions = by_predictions.view(predictions.shape)
            by_targets = by_targets.view(predictions.shape)
        return losses.sum(), hits.sum(), by_predictions, by_targets, by_pool


@_infonce_over_pool.register_fake
def _(predictions, targets, pool, negatives, temperature, gradient, backend):
    loss = predictions.new_empty(())
    correct = predictions.new_empty((), dtype=torch.long)
    shapes = (predictions.shape,) * 2 + (pool.shape,) if gradient else ((0,),) * 3
    return loss, correct, *(predictions.new_empty(shape) for shape in shapes)


def _keep_gradients(ctx, inputs, output):
    ctx.mark_non_differentiable(*output[1:])
    ctx.save_for_backward(*output[2:])


@once_differentiable
def _scale_gradients(ctx, by_loss, *_):
    return *(by_loss * gradient for gradient in ctx.saved_tensors), *[None] * 4


_infonce_over_pool.register_autograd(_scale_gradients, setup_context=_keep_gradients)
