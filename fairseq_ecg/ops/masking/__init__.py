"""Spans of frames (or channels) to hide from the encoder."""

from fairseq_ecg.ops.masking.batch import BatchMasking
from fairseq_ecg.ops.masking.reference import (
    MASK_TYPES,
    MaskType,
    SpanMasking,
    compute_mask_indices,
    draw_masked,
)
from fairseq_ecg.ops.masking.streams import Streams, stream_of

__all__ = [
    "MASK_TYPES",
    "BatchMasking",
    "MaskType",
    "SpanMasking",
    "Streams",
    "compute_mask_indices",
    "draw_masked",
    "stream_of",
]
