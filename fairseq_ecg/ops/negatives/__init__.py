"""Negatives of the contrastive task: other masked frames."""

from fairseq_ecg.ops.negatives.reference import (
    contrastive_logits,
    gather_negatives,
    sample_negatives,
)

__all__ = ["contrastive_logits", "gather_negatives", "sample_negatives"]
