"""Exponentials as whole numbers, the same bits on every processor. Knows no model.

NumPy's `exp` differs from processor to processor, and a sum of fractions by its order. Here each
step is one rounding that IEEE 754 prescribes, and whole numbers are summed. `cpu/c/sums.c` does the
same.
"""

import math

import numpy as np
from numpy.typing import NDArray

BITS = 50  # 1 is the whole number 2^50
OCTAVES = 23.083120654223414  # sixteenths of an octave in a factor of e
LEAST = -14000.0  # sixteenths of an octave, below which a weight is nothing anyway
SHIFT = 1.5 * 2.0**52  # a sum with it is a whole number, which stands in the lowest bits
# 2^(n / 16), and of 2^(x / 16) for |x| <= 1/2 the polynomial behind 1, within 1e-14.
SIXTEENTHS = (
    *(1.0, 1.0442737824274138, 1.0905077326652577, 1.1387886347566916, 1.189207115002721),
    *(1.241857812073484, 1.2968395546510096, 1.3542555469368927, 1.4142135623730951),
    *(1.4768261459394993, 1.5422108254079407, 1.6104903319492543, 1.681792830507429),
    *(1.7562521603732995, 1.8340080864093424, 1.9152065613971474),
)
POLYNOMIAL = (
    *(0.04332169878499658, 0.0009383847926296646, 1.3550807778387664e-05),
    *(1.4676387238435006e-07, 1.2716049516906705e-09),
)
LN2 = 0.6931471803691238, 1.9082149292705877e-10  # in two parts: a whole number times one is exact

_PIECE = 1 << 13
# 2^(BITS + n / 16) as bits, less those that n adds, shifted to where the exponent stands.
POWERS = np.array(SIXTEENTHS).view(np.int64) + ((BITS << 52) - (np.arange(16) << 48))


def total(shifted: NDArray[np.float64]) -> int:
    """The sum of exp over numbers of which the largest is 0, as a whole number."""
    found = 0
    for start in range(0, len(shifted), _PIECE):  # a piece stays near
        t = shifted[start : start + _PIECE] * OCTAVES
        np.maximum(t, LEAST, out=t)
        moved = t + SHIFT
        t -= moved - SHIFT
        p = t * POLYNOMIAL[-1]
        for factor in POLYNOMIAL[-2::-1]:
            p += factor
            p *= t
        p += 1
        n = moved.view(np.int64)
        scale = POWERS.take(n & 15)
        n <<= 48
        scale += n
        p *= scale.view(np.float64)
        np.rint(p, out=p)
        found += int(p.astype(np.uint64).sum())
    return found


def log_of(total: int) -> float:
    """The logarithm of such a sum."""
    mantissa, exponent = math.frexp(total)
    if mantissa < math.sqrt(0.5):
        mantissa, exponent = 2 * mantissa, exponent - 1
    # log m = 2 artanh((m - 1) / (m + 1)), as a series.
    s = (mantissa - 1) / (mantissa + 1)
    square, series = s * s, 0.0
    for n in range(23, 1, -2):
        series = (series + 1 / n) * square
    octaves = exponent - BITS
    return octaves * LN2[0] + (octaves * LN2[1] + (2 * s * series + 2 * s))
