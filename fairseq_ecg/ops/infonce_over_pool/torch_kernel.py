"""The contrastive loss over a pool, some frames at a time, in plain torch."""

import torch
from torch import Tensor

from fairseq_ecg.ops.infonce.torch_kernel import normalise, unnormalise

_GATHERED = 2**20
"""Numbers that are gathered at once, unless one frame's negatives are more."""


def infonce_over_pool(
    predictions: Tensor,
    targets: Tensor,
    pool: Tensor,
    negatives: Tensor,
    temperature: float,
    gradient: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Compute losses and gradients; see the package's README for the derivation.

    Args:
        predictions: ``(F, C)`` float32, F frames of all rows.
        targets: ``(F, C)`` float32.
        pool: ``(P, C)`` float32.
        negatives: ``(F, N)`` int64, indices into the pool.
        temperature: what cosine similarities are divided by.
        gradient: whether to compute gradients.

    Returns:
        The losses ``(F,)`` in nats, which frames are correct, ``(F,)`` bool, and the gradients of
        the summed loss by ``predictions``, ``targets`` and ``pool``, empty if not asked for.

    Raises:
        ValueError: on the CPU, a negative is not in the pool.
    """
    frames, samples = negatives.shape
    is_outside = (negatives < 0) | (negatives >= len(pool))
    if negatives.device.type == "cpu" and bool(is_outside.any()):
        raise ValueError("a negative is not in the pool")
    x, x_norm, x_scale = normalise(predictions)
    y, y_norm, y_scale = normalise(targets)
    z_unit, z_norm, z_scale = normalise(pool)
    positive = (x * y).sum(dim=-1, keepdim=True) / temperature

    losses, correct = x.new_empty(frames), x.new_empty(frames, dtype=torch.bool)
    grad_predictions, grad_targets, grad_pool = (
        torch.zeros_like(lines) if gradient else lines.new_empty(0) for lines in (x, y, pool)
    )
    step = max(1, _GATHERED // max(1, samples * x.shape[1]))
    for start in range(0, frames, step):
        some = slice(start, start + step)
        drawn = negatives[some]
        z = pool[drawn]
        scale = z_scale[drawn].squeeze(-1)
        excluded = (z == targets[some].unsqueeze(1)).all(dim=-1)
        logits = (z @ x[some].unsqueeze(-1)).squeeze(-1) / scale / temperature
        logits = logits.masked_fill(excluded, -torch.inf)
        log_shares = torch.cat([positive[some], logits], dim=1).log_softmax(dim=-1)
        losses[some] = -log_shares[:, 0]
        is_max = (logits <= positive[some]).all(dim=-1)
        correct[some] = is_max & (logits < positive[some]).any(dim=-1)
        if not gradient:
            continue

        dlogits = log_shares.exp_().div_(temperature)
        of_target, dlogits = dlogits[:, :1] - 1 / temperature, dlogits[:, 1:]
        grad_unit = ((dlogits / scale).unsqueeze(1) @ z).squeeze(1).addcmul_(of_target, y[some])
        grad_predictions[some] = unnormalise(grad_unit, x[some], x_norm[some], x_scale[some])
        grad_targets[some] = unnormalise(of_target * x[some], y[some], y_norm[some], y_scale[some])
        terms = torch.mul(dlogits.unsqueeze(-1), x[some].unsqueeze(1), out=z)
        grad_pool.index_add_(0, drawn.flatten(), terms.flatten(0, 1))
    if gradient:
        grad_pool = unnormalise(grad_pool, z_unit, z_norm, z_scale)
    return losses, correct, grad_predictions, grad_targets, grad_pool
