"""The contrastive loss over explicit logits: the definition, with fairseq_signals' arithmetic."""

from torch import Tensor

from fairseq_ecg.ops.infonce.reference import contrast
from fairseq_ecg.ops.negatives import gather_negatives


def infonce_over_pool(
    predictions: Tensor, targets: Tensor, pool: Tensor, negatives: Tensor, temperature: float
) -> tuple[Tensor, Tensor]:
    """Compute loss and correct by gathering every negative, ``N * B * M * C`` numbers in all.

    Args:
        predictions: ``(B, M, C)`` float32.
        targets: ``(B, M, C)`` float32.
        pool: ``(P, C)`` float32.
        negatives: ``(B, M * N)`` int64, indices into the pool.
        temperature: what cosine similarities are divided by.

    Returns:
        The loss, a float32 scalar in nats, and the number of correct, an int64 scalar; autograd
        differentiates the loss.
    """
    gathered = gather_negatives(pool, negatives, targets.shape[1])
    return contrast(predictions, targets, gathered, temperature)
