"""Philox4x32-10 in plain torch: the definition of every random number of the kernels.

Words are int64 tensors that hold 32 bits. Floating point is float32, one rounding per addition,
multiplication and square root, so that every backend can compute the same bits.
"""

import torch
from torch import Tensor

_WORD = 0xFFFFFFFF
_MULTIPLIERS = (0xD2511F53, 0xCD9E8D57)
_KEY_STEPS = (0x9E3779B9, 0xBB67AE85)
_ROUNDS = 10

# Cephes' single precision polynomials (Moshier, "Methods and Programs for Mathematical Functions").
_LOGARITHM = (
    7.0376836292e-2,
    -1.1514610310e-1,
    1.1676998740e-1,
    -1.2420140846e-1,
    1.4249322787e-1,
    -1.6668057665e-1,
    2.0000714765e-1,
    -2.4999993993e-1,
    3.3333331174e-1,
)
_SINE = (-1.9515295891e-4, 8.3321608736e-3, -1.6666654611e-1)
_COSINE = (2.443315711809948e-5, -1.388731625493765e-3, 4.166664568298827e-2)
_ROOT_OF_HALF_BITS = 0x3F3504F3


def words(counters: Tensor, seeds: Tensor) -> Tensor:
    """Turn counters into random words (Salmon et al., "Parallel random numbers", SC 2011).

    Args:
        counters: ``(..., 4)`` int64, 32 bits each.
        seeds: int64 that broadcasts with ``(...)``, the key, its lower 32 bits first.

    Returns:
        ``(..., 4)`` int64, 32 bits each.
    """
    x, y, z, w = counters.unbind(-1)
    key0, key1 = seeds & _WORD, (seeds >> 32) & _WORD
    for _ in range(_ROUNDS):
        # Products of 32 bits wrap in int64, but all their 64 bits are there.
        product0, product1 = x * _MULTIPLIERS[0], z * _MULTIPLIERS[1]
        x, y, z, w = (
            ((product1 >> 32) & _WORD) ^ y ^ key0,
            product1 & _WORD,
            ((product0 >> 32) & _WORD) ^ w ^ key1,
            product0 & _WORD,
        )
        key0, key1 = (key0 + _KEY_STEPS[0]) & _WORD, (key1 + _KEY_STEPS[1]) & _WORD
    return torch.stack(torch.broadcast_tensors(x, y, z, w), dim=-1)


KINDS = ("words", "uniforms", "normals")


def random_numbers(counters: Tensor, seeds: Tensor, kind: int) -> Tensor:
    """Compute words or what they are turned into.

    Args:
        counters: ``(R, 4)`` int64, 32 bits each.
        seeds: ``(R,)`` int64.
        kind: index of one of ``KINDS``.

    Returns:
        ``(R, 4)`` int64 for words, else float32.
    """
    convert = (lambda drawn: drawn, uniform, normal)[kind]
    return convert(words(counters, seeds))


def uniform(words: Tensor) -> Tensor:
    """Turn words into float32 numbers in [0, 1), multiples of 2**-24."""
    return (words >> 8).float() * 2.0**-24


def below(words: Tensor, count: int) -> Tensor:
    """Turn words into int64 numbers from 0 to ``count - 1``, ``count`` below 2**31."""
    return (words * count) >> 32


def normal(words: Tensor) -> Tensor:
    """Turn ``(..., 4)`` words into as many standard normal float32 numbers (Box and Muller, 1958).

    The first two words give the first two numbers, the last two the others.
    """
    one, other = words.unflatten(-1, (2, 2)).unbind(-1)
    radius = _root(_logarithm(((one >> 8) + 1).float() * 2.0**-24) * -2.0)
    cosine, sine = circle(other >> 8)
    return torch.stack([radius * cosine, radius * sine], dim=-1).flatten(-2)


def _root(values: Tensor) -> Tensor:
    """Square root to the nearest float32; torch's own in float32 may miss it by one bit."""
    return values.double().sqrt().float()


def _logarithm(values: Tensor) -> Tensor:
    """Natural logarithm of float32 numbers in (0, 1]."""
    shifted = values.view(torch.int32) + (0x3F800000 - _ROOT_OF_HALF_BITS)
    exponent = ((shifted >> 23) - 127).float()
    f = ((shifted & 0x7FFFFF) + _ROOT_OF_HALF_BITS).view(torch.float32) - 1.0
    square = f * f
    series = _polynomial(_LOGARITHM, f) * f * square
    series = series + exponent * -2.12194440e-4
    series = series + square * -0.5
    return f + series + exponent * 0.693359375


def circle(turns: Tensor) -> tuple[Tensor, Tensor]:
    """Cosine and sine, float32, of ``turns`` int64 in units of 2**-24 turns, 0 to 2**24."""
    quarter = (turns + (1 << 21)) >> 22
    x = (turns - (quarter << 22)).float() * 3.7450704e-7
    z = x * x
    sine = _polynomial(_SINE, z) * z * x + x
    cosine = _polynomial(_COSINE, z) * z * z + z * -0.5 + 1.0
    swapped = (quarter & 1).bool()
    near_cosine, near_sine = torch.where(swapped, sine, cosine), torch.where(swapped, cosine, sine)
    is_left, is_below = (quarter + 1) & 2 > 0, quarter & 2 > 0
    return (
        torch.where(is_left, -near_cosine, near_cosine),
        torch.where(is_below, -near_sine, near_sine),
    )


def _polynomial(coefficients: tuple[float, ...], x: Tensor) -> Tensor:
    """Evaluate by Horner's rule, the highest power first."""
    value = x * coefficients[0] + coefficients[1]
    for coefficient in coefficients[2:]:
        value = value * x + coefficient
    return value
