"""The contrastive loss over all pairs of a row's frames, in plain torch."""

import functools

import torch
from torch import Tensor

from fairseq_ecg.ops.negatives import drawn_indices


def infonce(
    predictions: Tensor,
    targets: Tensor,
    negatives: Tensor | None,
    origins: Tensor | None,
    number: int,
    temperature: float,
    gradient: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Compute losses and gradients from one ``(M, M)`` matrix of similarities per row.

    See the package's README for the derivation. Targets are compared by 64-bit fingerprints:
    unequal ones never pass for equal, and equal ones pass for unequal only if a third one's
    fingerprint is theirs by chance.

    Args:
        predictions: ``(B, M, C)`` float32.
        targets: ``(B, M, C)`` float32.
        negatives: ``(B, M * N)`` int64, indices into the ``B * M`` targets, each of its own row;
            None: they are drawn.
        origins: ``(B, 4)`` int64, what they are drawn from, or None.
        number: N.
        temperature: what cosine similarities are divided by.
        gradient: whether to compute gradients.

    Returns:
        The losses ``(B, M)`` in nats, which frames are correct, ``(B, M)`` bool, and the gradients
        of the summed loss by ``predictions`` and ``targets``, empty if not asked for.

    Raises:
        ValueError: on the CPU, a negative is of another row.
    """
    if negatives is None:
        assert origins is not None
        negatives = drawn_indices(origins, targets.shape[1], number)
    drawn = _times_drawn(negatives, *targets.shape[:2])
    excluded = _pairs_of_equals(targets)
    weights = drawn.masked_fill(excluded, 0)
    weights.diagonal(dim1=1, dim2=2).fill_(1)

    x, x_norm, x_scale = normalise(predictions)
    y, y_norm, y_scale = normalise(targets)
    similarity = torch.baddbmm(x.new_empty(()), x, y.mT, beta=0, alpha=1 / temperature)
    log_shares = (similarity + weights.log()).log_softmax(dim=-1)
    losses = -log_shares.diagonal(dim1=1, dim2=2)

    positive = similarity.diagonal(dim1=1, dim2=2).unsqueeze(-1)
    is_max = ((weights == 0) | (similarity <= positive)).all(dim=-1)
    is_above_another = ((drawn > 0) & (excluded | (similarity < positive))).any(dim=-1)
    correct = is_max & is_above_another
    if not gradient:
        return losses, correct, x.new_empty(0), x.new_empty(0)

    dlogits = log_shares.exp_().div_(temperature)
    dlogits.diagonal(dim1=1, dim2=2).sub_(1 / temperature)
    grad_predictions = unnormalise(dlogits @ y, x, x_norm, x_scale)
    grad_targets = unnormalise(dlogits.mT @ x, y, y_norm, y_scale)
    return losses, correct, grad_predictions, grad_targets


def _times_drawn(negatives: Tensor, rows: int, frames: int) -> Tensor:
    """Count how often each frame of a row is a negative of each: ``(B, M, M)`` float32."""
    first = torch.arange(0, rows * frames, frames, device=negatives.device)
    within = negatives - first.unsqueeze(1)
    if within.device.type == "cpu" and not bool(((within >= 0) & (within < frames)).all()):
        raise ValueError("a negative is of another row than its frame, or of none")
    drawn = torch.zeros(rows, frames, frames, device=negatives.device)
    within = within.view(rows, frames, -1)
    return drawn.scatter_add_(2, within, drawn.new_ones(()).expand_as(within))


def _pairs_of_equals(targets: Tensor) -> Tensor:
    """Find which targets of a row are equal in every channel: ``(B, M, M)`` bool."""
    bits = (targets + 0.0).view(torch.int32).long()  # the sum makes -0 and 0 alike
    prints = (bits * fingerprint_multipliers(targets.shape[2], targets.device)).sum(dim=-1)
    alike = prints.unsqueeze(2) == prints.unsqueeze(1)
    first = alike.byte().argmax(dim=-1, keepdim=True)
    is_first = (targets.gather(1, first.expand_as(targets)) == targets).all(dim=-1, keepdim=True)
    own = torch.arange(targets.shape[1], device=targets.device).view(1, -1, 1)
    name = torch.where(is_first, first, own)
    return name == name.mT


@functools.cache
def fingerprint_multipliers(channels: int, device: torch.device) -> Tensor:
    """Odd numbers whose sum over a frame's bits is its fingerprint, ``(C,)`` int64."""
    generator = torch.Generator().manual_seed(0)
    return (torch.randint(-(2**62), 2**62, (channels,), generator=generator) * 2 + 1).to(device)


def normalise(frames: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Give ``(..., C)`` frames the length one; their lengths; what they were divided by."""
    norm = torch.linalg.vector_norm(frames, dim=-1, keepdim=True)
    scale = norm.clamp(min=1e-8)
    return frames / scale, norm, scale


def unnormalise(gradient: Tensor, unit: Tensor, norm: Tensor, scale: Tensor) -> Tensor:
    """Turn the gradient of frames of length one into that of frames as they came."""
    along = (gradient * unit).sum(dim=-1, keepdim=True)
    # Below its least length a frame is divided by that, but autograd follows its true length.
    along = torch.where(norm > 0, along * (scale / norm), 0)
    return gradient.addcmul_(unit, along, value=-1).div_(scale)
