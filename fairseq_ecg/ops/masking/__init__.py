"""Spans of frames (or channels) to hide from the encoder."""

from fairseq_ecg.ops.masking.reference import compute_mask_indices

__all__ = ["compute_mask_indices"]
