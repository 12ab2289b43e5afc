"""pow of floats in portable arithmetic.

x^y = 2^(y * log2|x|). The product may reach 128, so the logarithm carries some ten more bits than a float holds: it is kept as a pair,
log2(1 + f) = s * 2/ln(2) + s^3 * P(s^2) with s = f/(2 + f) as a pair. Special values are those of C's pow (ISO C, F.10.4.4).

The tables are those of `edgec.portable.fit.fit`; each says the interval and the largest relative error of its polynomial.
"""

from __future__ import annotations

from math import factorial, log

from edgec.expr import Expr, compare, is_const, select, unary
from edgec.portable.arithmetic import Arithmetic, Pair
from edgec.portable.exp import magic, split_exponent
from edgec.portable.log import split
from edgec.portable.root import sqrt
from edgec.portable.round import trunc_of

# (2*atanh(s)/s - 2) / (s^2 * ln 2) as a polynomial of s^2, |s| <= 0.1716: 1.1e-11; Taylor's series in f64
LOG2 = {"f32": (0.9617967, 0.5770788, 0.41192725, 0.33649093), "f64": tuple(2 / (2 * k + 1) / log(2) for k in range(1, 13))}
# 2/ln(2) as the nearest float and what is left
SCALE = {"f32": (2.885390043258667, 3.851926e-08), "f64": (2.8853900817779268, 4.0710547481862066e-17)}
# 2^r on [-0.501, 1.0005]: 1.4e-9 up to 0.501, 2.8e-9 above (used only just below the overflow); Taylor's series in f64
EXP2 = {"f32": (1.0, 0.6931472, 0.24022649, 0.055504184, 0.009618327, 0.0013324487, 0.00015376297, 1.7597064e-05),
        "f64": tuple(log(2)**k / factorial(k) for k in range(19))}
# |log2(x)| is at least 2^-23.5 (2^-52.5) unless x is 1, so a larger exponent overflows or vanishes all the same
LARGEST_EXPONENT = {"f32": 2.0**32, "f64": 2.0**64}


def power(m: Arithmetic, x: Expr, y: Expr) -> Expr:
    """x^y as C's pow; 1 at y = 0 and at x = 1, NaN for negative x with a fraction in y. At most 5.3 ulp (on 17 million samples)."""
    if is_const(y) and y.data in SIMPLE:
        return SIMPLE[y.data](m, x)
    name = m.dtype.name
    a, zero, infinity = unary("abs", x), m.real(0.0), m.real(float("inf"))
    bounded = m.at_least(-LARGEST_EXPONENT[name], m.at_most(LARGEST_EXPONENT[name], y))
    result = exp2_of_pair(m, product(m, bounded, log2_pair(m, a)))
    vanishes = compare("eq", a, zero)
    limit = select(compare("ne", select(vanishes, zero, m.real(1.0)), select(m.below(y, 0.0), zero, m.real(1.0))), zero, infinity)
    result = select(vanishes | compare("eq", a, infinity), limit, result)
    return special(m, x, y, result)


def special(m: Arithmetic, x: Expr, y: Expr, result: Expr) -> Expr:
    """The sign of the result, and its value where x is negative, x is 1, y is 0 or either is NaN."""
    one, zero = m.real(1.0), m.real(0.0)
    whole, half = trunc_of(m, y), y * m.real(0.5)
    odd = compare("eq", whole, y) & compare("ne", trunc_of(m, half), half)
    result = m.flip_sign(result, select(odd, m.bits(x), m.whole(0)))
    undefined = m.below(x, 0.0) & m.above(x, -float("inf")) & compare("ne", whole, y)
    undefined = undefined | compare("ne", x, x) | compare("ne", y, y)
    result = select(undefined, m.real(float("nan")), result)
    return select(compare("eq", y, zero) | compare("eq", x, one), one, result)


def log2_pair(m: Arithmetic, a: Expr) -> Pair:
    """log2 of a positive finite number as a pair."""
    e, _, fraction = split(m, a)
    f, two = fraction - m.real(1.0), m.real(2.0)
    divisor, lost = m.sum_ordered(two, f)
    s = f / divisor
    back, error = m.product_exactly(s, divisor)
    s_low = ((f - back) - error - s * lost) / divisor
    scale, scale_low = (m.real(c) for c in SCALE[m.dtype.name])
    high, low = m.product_exactly(s, scale)
    z = s * s
    rest = m.mul_add(s * z, m.horner(z, LOG2[m.dtype.name]), m.mul_add(s_low, scale, m.mul_add(s, scale_low, low)))
    total, left = m.sum_exactly(e, high)
    return m.sum_ordered(total, left + rest)


def product(m: Arithmetic, y: Expr, pair: Pair) -> Pair:
    """y times a pair."""
    high, low = m.product_exactly(y, pair[0])
    return high, m.mul_add(y, pair[1], low)


def exp2_of_pair(m: Arithmetic, pair: Pair) -> Expr:
    """2^(high + low): inf above the largest finite result, 0 below the smallest normal one."""
    high = m.at_least(-float(m.bias), m.at_most(float(m.bias) + 3, pair[0]))
    low = m.at_least(-1.0, m.at_most(1.0, pair[1]))
    n, scale = split_exponent(m, high + m.real(magic(m)), 0, limit=True)
    return m.horner((high - n) + low, EXP2[m.dtype.name]) * scale


# Exponents that need neither logarithm nor special cases
SIMPLE = {
    1.0: lambda m, x: x,
    2.0: lambda m, x: x * x,
    3.0: lambda m, x: x * x * x,
    -1.0: lambda m, x: m.real(1.0) / x,
    -2.0: lambda m, x: m.real(1.0) / (x * x),
    0.5: lambda m, x: select(compare("eq", x, m.real(-float("inf"))), m.real(float("inf")), sqrt(m, x) + m.real(0.0)),
}
