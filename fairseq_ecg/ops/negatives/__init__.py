"""Negatives of the contrastive task: other masked frames."""

from fairseq_ecg.ops.negatives.reference import (
    DrawnNegatives,
    contrastive_logits,
    drawn_indices,
    gather_negatives,
    sample_negatives,
)

__all__ = [
    "DrawnNegatives",
    "contrastive_logits",
    "drawn_indices",
    "gather_negatives",
    "sample_negatives",
]
