"""Tolerances of kernels: (operation, backend, quantity) to (rtol, atol, reason)."""

FLOAT32_SUMS = "float32 sums in another order; gradients are held to the largest of a tensor"
ONE_AND_ZERO = "the straight-through weight of a code word, (1 - p) + p, is one to rounding"
ONE_DIVISION = "a weight over a whole number, rounded once"
POLYNOMIALS = "polynomials of single precision for logarithm, cosine and sine"
UPSTREAM = "the arithmetic of fairseq_signals itself"
FLOAT32_NOISE = (
    "two units in the last place of a batch's largest number (times the power of two below it): "
    "noise and sums in float32 where fairseq_signals has float64"
)

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
    ("augment", "reference", "sample"): (0, 0, UPSTREAM),
    ("augment", "cpu", "sample"): (0, 2**-22, FLOAT32_NOISE),
    ("augment", "cuda", "sample"): (0, 2**-22, FLOAT32_NOISE),
    ("augment", "triton", "sample"): (0, 2**-22, FLOAT32_NOISE),
}
