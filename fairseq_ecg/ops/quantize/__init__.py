"""Product quantization with Gumbel code selection."""

from fairseq_ecg.ops.quantize.reference import Quantized, quantize

__all__ = ["Quantized", "quantize"]
