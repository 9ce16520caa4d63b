"""Tolerances of kernels: (operation, backend, quantity) to (rtol, atol, reason)."""

FLOAT32_SUMS = "float32 sums in another order; gradients are held to the largest of a tensor"
ONE_AND_ZERO = "the straight-through weight of a code word, (1 - p) + p, is one to rounding"
ONE_DIVISION = "a weight over a whole number, rounded once"
POLYNOMIALS = "polynomials of single precision for logarithm, cosine and sine"

TOLERANCES: dict[tuple[str, str, str], tuple[float, float, str]] = {
    ("infonce", "reference", "loss"): (1e-5, 2e-6, FLOAT32_SUMS),
    ("infonce", "reference", "gradient"): (0, 4e-6, FLOAT32_SUMS),
    ("infonce", "torch", "loss"): (1e-5, 2e-6, FLOAT32_SUMS),
    ("infonce", "torch", "gradient"): (0, 4e-6, FLOAT32_SUMS),
    ("infonce", "cpu", "loss"): (1e-5, 2e-6, FLOAT32_SUMS),
    ("infonce", "cpu", "gradient"): (0, 4e-6, FLOAT32_SUMS),
    ("infonce", "cuda", "loss"): (1e-5, 2e-6, FLOAT32_SUMS),
    ("infonce", "cuda", "gradient"): (0, 4e-6, FLOAT32_SUMS),
    ("infonce", "triton", "loss"): (1e-5, 2e-6, FLOAT32_SUMS),
    ("infonce", "triton", "gradient"): (0, 4e-6, FLOAT32_SUMS),
    ("philox", "reference", "normals"): (4e-7, 7e-7, POLYNOMIALS),
    ("philox", "cpu", "normals"): (4e-7, 7e-7, POLYNOMIALS),
    ("philox", "cuda", "normals"): (4e-7, 7e-7, POLYNOMIALS),
    ("philox", "triton", "normals"): (4e-7, 7e-7, POLYNOMIALS),
    ("quantize", "reference", "codes"): (1.2e-7, 0, ONE_AND_ZERO),
    ("quantize", "reference", "perplexity"): (2e-6, 0, FLOAT32_SUMS),
    ("quantize", "reference", "gradient"): (0, 4e-6, FLOAT32_SUMS),
    ("quantize", "torch", "codes"): (1.2e-7, 0, ONE_AND_ZERO),
    ("quantize", "torch", "perplexity"): (2e-6, 0, FLOAT32_SUMS),
    ("quantize", "torch", "gradient"): (0, 4e-6, FLOAT32_SUMS),
    ("quantize", "cpu", "codes"): (1.2e-7, 0, ONE_AND_ZERO),
    ("quantize", "cpu", "perplexity"): (2e-6, 0, FLOAT32_SUMS),
    ("quantize", "cpu", "gradient"): (0, 4e-6, FLOAT32_SUMS),
    ("quantize", "cuda", "codes"): (1.2e-7, 0, ONE_AND_ZERO),
    ("quantize", "cuda", "perplexity"): (2e-6, 0, FLOAT32_SUMS),
    ("quantize", "cuda", "gradient"): (0, 4e-6, FLOAT32_SUMS),
    ("quantize", "triton", "codes"): (1.2e-7, 0, ONE_AND_ZERO),
    ("quantize", "triton", "perplexity"): (2e-6, 0, FLOAT32_SUMS),
    ("quantize", "triton", "gradient"): (0, 4e-6, FLOAT32_SUMS),
    ("pooling", "reference", "mean"): (2e-6, 1e-6, FLOAT32_SUMS),
    ("pooling", "reference", "gradient"): (1.2e-7, 0, ONE_DIVISION),
    ("pooling", "cpu", "mean"): (2e-6, 1e-6, FLOAT32_SUMS),
    ("pooling", "cpu", "gradient"): (1.2e-7, 0, ONE_DIVISION),
    ("pooling", "cuda", "mean"): (2e-6, 1e-6, FLOAT32_SUMS),
    ("pooling", "cuda", "gradient"): (1.2e-7, 0, ONE_DIVISION),
    ("pooling", "triton", "mean"): (2e-6, 1e-6, FLOAT32_SUMS),
    ("pooling", "triton", "gradient"): (1.2e-7, 0, ONE_DIVISION),
}
