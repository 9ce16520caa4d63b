"""Tolerances of kernels: (operation, backend, quantity) to (rtol, atol, reason)."""

from fairseq_ecg.ops.backends import BACKENDS

Tolerance = tuple[float, float, str]

_SUMS = "float32 sums in another order; gradients are held to the largest of a tensor"
_POLYNOMIALS = "polynomials of single precision for logarithm, cosine and sine"
_ONE_AND_ZERO = "the straight-through weight of a codeword, (1 - p) + p, is one to rounding"
_ONE_DIVISION = "a weight over a whole number, rounded once"
_FLOAT32_NOISE = (
    "two units in the last place of a batch's largest number (times the power of two below it): "
    "noise and sums in float32 where fairseq_signals has float64"
)

OF_ALL_BACKENDS: dict[tuple[str, str], Tolerance] = {
    ("attention", "output"): (2e-6, 3e-6, _SUMS),
    ("attention", "gradient"): (0, 6e-6, _SUMS),
    ("augment", "sample"): (0, 2 * 2.0**-23, _FLOAT32_NOISE),
    ("contrast", "loss"): (1e-5, 2e-6, _SUMS),
    ("contrast", "gradient"): (0, 4e-6, _SUMS),
    ("infonce", "loss"): (1e-5, 2e-6, _SUMS),
    ("infonce", "gradient"): (0, 4e-6, _SUMS),
    ("infonce_over_pool", "loss"): (1e-5, 2e-6, _SUMS),
    ("infonce_over_pool", "gradient"): (0, 4e-6, _SUMS),
    ("philox", "normals"): (4e-7, 7e-7, _POLYNOMIALS),
    ("pooling", "mean"): (2e-6, 1e-6, _SUMS),
    ("pooling", "gradient"): (1.2e-7, 0, _ONE_DIVISION),
    ("positional_conv", "all"): (0, 3e-6, "float32 sums over T + K/2 waves, held likewise"),
    ("quantize", "codes"): (1.2e-7, 0, _ONE_AND_ZERO),
    ("quantize", "perplexity"): (2e-6, 0, _SUMS),
    ("quantize", "gradient"): (0, 4e-6, _SUMS),
}
OF_ONE_BACKEND: dict[tuple[str, str, str], Tolerance] = {
    ("augment", "reference", "sample"): (0, 0, "the arithmetic of fairseq_signals itself"),
}

TOLERANCES: dict[tuple[str, str, str], Tolerance] = {
    (operation, backend, quantity): tolerance
    for (operation, quantity), tolerance in OF_ALL_BACKENDS.items()
    for backend in BACKENDS
} | OF_ONE_BACKEND

EXTRACTED: dict[tuple[str, str], Tolerance] = {
    ("float32", "outputs"): (1e-5, 1e-5, "float32 sums of another order, through the network"),
    ("float32", "encoder_out"): (1e-5, 2e-5, "float32 sums of another order, through the network"),
    ("float32", "saliency"): (1e-5, 1e-7, "a softmax over 156 frames of such sums"),
    ("float32", "targets"): (0, 0, "labels as they are"),
    ("float16", "outputs"): (0, 2e-2, "11 bits in every product of the network"),
    ("float16", "encoder_out"): (0, 5e-2, "likewise, where one frame deviates most"),
    ("float16", "saliency"): (0, 2e-4, "likewise, weights are about 1/156"),
    ("float16", "targets"): (0, 0, "0 and 1 are exact"),
    ("bfloat16", "outputs"): (0, 1e-1, "8 bits in every product of the network"),
    ("bfloat16", "encoder_out"): (0, 3e-1, "likewise, where one frame deviates most"),
    ("bfloat16", "saliency"): (0, 1e-3, "likewise, weights are about 1/156"),
    ("bfloat16", "targets"): (0, 0, "0 and 1 are exact"),
}
"""Stores against those that fairseq_signals wrote in float32: (precision, store)."""
