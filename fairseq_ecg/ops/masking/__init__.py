"""Spans of frames (or channels) to hide from the encoder."""

from fairseq_ecg.ops.masking.reference import (
    MASK_TYPES,
    BatchMasking,
    SpanMasking,
    compute_mask_indices,
    draw_masked,
)

__all__ = ["MASK_TYPES", "BatchMasking", "SpanMasking", "compute_mask_indices", "draw_masked"]
