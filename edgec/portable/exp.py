"""exp and tanh in portable arithmetic: reduction to |r| <= ln(2)/2, one polynomial, scaling by an exponent field.

The reduction r = x - n*ln(2), with ln(2) in two parts of which the first has so few bits that n times it is exact, is that of
W. J. Cody and W. Waite, "Software Manual for the Elementary Functions" (1980). n is rounded by adding 1.5 * 2^23 + 127: the low bits of
that sum are n + 127, so shifting them to the exponent field gives 2^n without any conversion. exp takes 14 operations.

The tables are those of `edgec.portable.fit.fit`; each says the interval and the largest relative error of its polynomial.
"""

from __future__ import annotations

from math import factorial

from edgec.expr import Expr, select, unary
from edgec.portable.arithmetic import Arithmetic
from edgec.portable.constants import LN2_PARTS

LOG2_E = 1.4426950408889634
# exp(r) on [-0.347, 0.6935]: 2.9e-8 up to 0.347, 5.7e-8 above (used only just below the overflow); Taylor's series in f64
EXP = {"f32": (1.0, 1.0, 0.50000197, 0.16666785, 0.04162438, 0.008341726, 0.0016021667),
       "f64": tuple(1 / factorial(k) for k in range(19))}
# (exp(r) - 1 - r) / r^2 on [-0.347, 0.347]: 1.4e-8 of r; Taylor's series in f64
EXPM1 = {"f32": (0.5, 0.16666545, 0.041666403, 0.008366419, 0.0013940652), "f64": tuple(1 / factorial(k) for k in range(2, 15))}
# results below the smallest normal number are flushed from here on
LOWEST = {"f32": -88.0, "f64": -709.1}
# tanh rounds to 1 from here on
SATURATION = {"f32": 9.125, "f64": 19.125}


def exp(m: Arithmetic, x: Expr) -> Expr:
    """e^x; inf above the largest finite result, 0 below the smallest normal one. At most 1.74 ulp, 1.96 unfused."""
    return scaled_exp(m, m.at_least(LOWEST[m.dtype.name], x), 0)


def scaled_exp(m: Arithmetic, x: Expr, halvings: int) -> Expr:
    """e^x / 2^halvings for x >= LOWEST, right even where e^x alone overflows by `halvings` bits.

    n is held at the largest exponent; r then grows past ln(2)/2, to 0.6932 at most before the product with 2^n overflows.
    """
    n, power = exponent_of(m, x, halvings, limit=True)
    return m.horner(reduced(m, x, n), EXP[m.dtype.name]) * power


def exponent_of(m: Arithmetic, x: Expr, halvings: int, limit: bool) -> tuple[Expr, Expr]:
    """n = round(x / ln 2) as a float, and 2^(n - halvings)."""
    return split_exponent(m, m.mul_add(x, m.real(LOG2_E), m.real(magic(m, halvings))), halvings, limit)


def magic(m: Arithmetic, halvings: int = 0) -> float:
    """Adding this rounds to an integer and leaves it, plus bias less halvings, in the low bits."""
    return 1.5 * 2.0**m.mantissa + m.bias - halvings


def split_exponent(m: Arithmetic, shifted: Expr, halvings: int, limit: bool) -> tuple[Expr, Expr]:
    """n and 2^(n - halvings) of a sum n + magic."""
    if limit:
        shifted = m.at_most(1.5 * 2.0**m.mantissa + 2 * m.bias, shifted)
    return shifted - m.real(magic(m, halvings)), m.from_bits(m.to_exponent(m.bits(shifted)))


def reduced(m: Arithmetic, x: Expr, n: Expr) -> Expr:
    """x - n * ln(2)."""
    first, second = LN2_PARTS[m.dtype.name]
    return m.mul_add(n, m.real(-second), m.mul_add(n, m.real(-first), x))


def tanh(m: Arithmetic, x: Expr) -> Expr:
    """With a = |x| and E = e^2a: 1 - 2/(E + 1) from 1/2 on; h - h * (E - 1)/(E + 1) with h = (E - 1)/2 below, where E - 1 comes from
    e^r - 1 so that nothing cancels near 0, and the rounding of the quotient hardly counts. At most 1.92 ulp, 1.95 unfused."""
    a = m.at_most(SATURATION[m.dtype.name], unary("abs", x))
    twice = a + a
    n, power = exponent_of(m, twice, 0, limit=False)
    r = reduced(m, twice, n)
    rest = m.mul_add(r * r, m.horner(r, EXPM1[m.dtype.name]), r)
    one = m.real(1.0)
    above, below = m.mul_add(power, rest, power - one), m.mul_add(power, rest, power + one)
    small = m.below(a, 0.5)
    ratio, scale = select(small, above, m.real(2.0)) / below, select(small, above * m.real(0.5), one)
    return m.with_sign(m.neg_mul_add(scale, ratio, scale), x)
