"""The contrastive loss of wav2vec 2.0 over negatives of the same recording (InfoNCE)."""

from typing import NamedTuple

import torch
from torch import Tensor

from fairseq_ecg.ops import backends
from fairseq_ecg.ops.infonce import reference
from fairseq_ecg.ops.infonce.reference import count_correct
from fairseq_ecg.ops.losses import register_gradients
from fairseq_ecg.ops.negatives import DrawnNegatives, drawn_indices
from fairseq_ecg.ops.negatives.reference import check_others

__all__ = ["InfoNCE", "count_correct", "infonce"]


class InfoNCE(NamedTuple):
    """Loss and accuracy over the masked frames of a batch.

    Attributes:
        loss: float32 scalar in nats, the sum over frames.
        correct: int64 scalar, frames whose positive has the largest logit of all and not also the
            smallest; among equal logits the positive counts as the first.
        count: frames.
    """

    loss: Tensor
    correct: Tensor
    count: int  # type: ignore[assignment]  # hides a method of tuples


def infonce(
    predictions: Tensor,
    targets: Tensor,
    negatives: Tensor | DrawnNegatives,
    temperature: float,
    backend: str | None = None,
) -> InfoNCE:
    """Contrast predictions of masked frames with their targets among sampled other targets.

    A frame's logits are the cosine similarities, over the temperature, of its prediction to its
    own target and to its negatives, as often as each was drawn; its loss is the cross entropy of
    the first. A negative that equals the target in every channel is no negative: its logit is
    minus infinity. As in :func:`torch.nn.functional.cosine_similarity` no vector is divided by
    less than 1e-8.

    Arithmetic is in float32, also under autocast; inputs of another type are converted. Kernels
    form all ``(B, M, M)`` similarities within rows instead of gathering ``(N, B, M, C)`` negatives,
    see the package's README. There is no second derivative but by the reference.

    Args:
        predictions: ``(B, M, C)`` floating point.
        targets: ``(B, M, C)`` floating point, on the same device; gradients flow to them as
            positives and as negatives.
        negatives: ``(B, M * N)`` int64 on any device, N of one frame after another: indices into
            the ``B * M`` targets in row order, each of the frame's own row, as
            :func:`fairseq_ecg.ops.negatives.sample_negatives` draws them without cross-sample
            negatives. The reference allows any row; on a GPU the loss is NaN for another one. Or
            :class:`fairseq_ecg.ops.negatives.DrawnNegatives`, which kernels draw themselves: the
            same as for their :func:`fairseq_ecg.ops.negatives.drawn_indices`.
        temperature: what cosine similarities are divided by, positive.
        backend: which implementation runs, see :mod:`fairseq_ecg.ops.backends`.

    Returns:
        Loss, correct frames and number of frames.

    Raises:
        ValueError: shapes or types do not match, or (on the CPU) a negative is of another row.
        BackendError: the backend asked for is not there.

    Source: Baevski et al., "wav2vec 2.0", NeurIPS 2020, equation 3.
    """
    check_frames(predictions, targets, temperature)
    rows, frames, _ = predictions.shape
    predictions, targets = predictions.float(), targets.float()
    if isinstance(negatives, DrawnNegatives):
        _check_drawn(negatives, rows, frames)
        indices, number = None, negatives.number
        origins = negatives.origins.to(predictions.device, non_blocking=True)
    else:
        check_indices(negatives, rows, frames, least=1)
        indices = negatives.to(predictions.device, non_blocking=True)
        number, origins = indices.shape[1] // frames, None
    chosen = backends.choose("infonce", predictions.device.type, backend)
    if chosen == "reference":
        if indices is None:
            assert origins is not None
            indices = drawn_indices(origins, frames, number)
        loss, correct = reference.infonce(predictions, targets, indices, temperature)
    else:
        gradient = torch.is_grad_enabled() and (predictions.requires_grad or targets.requires_grad)
        loss, correct, _, _ = _infonce(
            predictions, targets, indices, origins, number, temperature, gradient, chosen
        )
    return InfoNCE(loss, correct, rows * frames)


def check_frames(predictions: Tensor, targets: Tensor, temperature: float) -> None:
    """Refuse predictions and targets that do not match, and what is no temperature.

    Args:
        predictions: ``(B, M, C)``.
        targets: ``(B, M, C)``.
        temperature: what cosine similarities are divided by.

    Raises:
        ValueError: shapes differ, there are no frames, or the temperature is not positive.
    """
    if predictions.dim() != 3 or predictions.shape != targets.shape:
        raise ValueError(
            "predictions and targets must both be (B, M, C), not "
            f"{tuple(predictions.shape)} and {tuple(targets.shape)}"
        )
    if predictions.numel() == 0:
        raise ValueError(f"there are no frames: predictions are {tuple(predictions.shape)}")
    if temperature <= 0:
        raise ValueError(f"the temperature must be positive, not {temperature}")


def check_indices(negatives: Tensor, rows: int, frames: int, least: int) -> None:
    """Refuse what are not indices of equally many negatives of each frame.

    Args:
        negatives: ``(B, M * N)`` int64.
        rows: B.
        frames: M.
        least: the fewest negatives of a frame.

    Raises:
        ValueError: shape or type is another.
    """
    drawn = negatives.shape[-1]
    if negatives.shape != (rows, drawn) or drawn < least * frames or drawn % frames != 0:
        raise ValueError(
            f"negatives must be (B, M * N) for {rows} rows of {frames} frames with N of at least "
            f"{least}, not {tuple(negatives.shape)}"
        )
    if negatives.dtype != torch.long:
        raise ValueError(f"negatives must be int64, not {negatives.dtype}")


def _check_drawn(negatives: DrawnNegatives, rows: int, frames: int) -> None:
    origins, number = negatives
    if origins.shape != (rows, 4) or origins.dtype != torch.long:
        raise ValueError(
            f"origins must be ({rows}, 4) int64, not {tuple(origins.shape)} {origins.dtype}"
        )
    if number < 1:
        raise ValueError(f"there must be at least 1 negative, not {number}")
    check_others(frames)


@backends.operator("infonce")
def _infonce(
    predictions: Tensor,
    targets: Tensor,
    negatives: Tensor | None,
    origins: Tensor | None,
    number: int,
    temperature: float,
    gradient: bool,
    backend: str,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return the loss, the number of correct frames, and both gradients (or empty).

    ``number`` negatives of each frame are given, or drawn from ``origins``.
    """
    run = backends.implementation("infonce", backend).infonce
    with torch.autocast(predictions.device.type, enabled=False):
        tensors = backends.contiguous(predictions, targets, negatives, origins)
        losses, correct, *gradients = run(*tensors, number, temperature, gradient)
        return losses.sum(), correct.sum(), *gradients


@torch.library.register_fake(_infonce)
def _(predictions, targets, negatives, origins, number, temperature, gradient, backend):
    loss = predictions.new_empty(())
    correct = predictions.new_empty((), dtype=torch.long)
    shape = predictions.shape if gradient else (0,)
    return loss, correct, predictions.new_empty(shape), predictions.new_empty(shape)


register_gradients(_infonce, 2)
