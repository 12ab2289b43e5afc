"""sinh, cosh, asinh, acosh and atanh in portable arithmetic, from the exponential and from a logarithm of a pair.

sinh(a) = E - 1/(4E) and cosh(a) = E + 1/(4E) with E = e^a / 2; the inverses are log(1 + u) with 1 + u kept as a pair of floats, so nothing
is lost near 0.

The tables are those of `edgec.portable.fit.fit`; each says the interval and the largest relative error of its polynomial.
"""

from __future__ import annotations

from math import factorial

from edgec.expr import Expr, compare, select, unary
from edgec.portable.arithmetic import Arithmetic, Pair
from edgec.portable.exp import scaled_exp
from edgec.portable.log import log_of_pair
from edgec.portable.root import sqrt

# (sinh(a)/a - 1) / a^2 as a polynomial of a^2, a on [0, 1]: 3.0e-10; Taylor's series in f64
SINH = {"f32": (0.16666667, 0.0083333105, 0.00019842896, 2.7822132e-06), "f64": tuple(1 / factorial(2 * k + 1) for k in range(1, 10))}
# From here on asinh(a) and acosh(a) are log(2a)
LARGE = {"f32": 2.0**14, "f64": 2.0**30}


def sinh(m: Arithmetic, x: Expr) -> Expr:
    """(e^x - e^-x) / 2. At most 1.78 ulp, 2.17 unfused."""
    a = unary("abs", x)
    z, half = a * a, scaled_exp(m, a, 1)
    small = m.mul_add(a * z, m.horner(z, SINH[m.dtype.name]), a)
    return m.with_sign(select(m.below(a, 1.0), small, half - m.real(0.25) / half), x)


def cosh(m: Arithmetic, x: Expr) -> Expr:
    """(e^x + e^-x) / 2. At most 1.78 ulp, 2.17 unfused."""
    half = scaled_exp(m, unary("abs", x), 1)
    return half + m.real(0.25) / half


def asinh(m: Arithmetic, x: Expr) -> Expr:
    """log(x + sqrt(x*x + 1)) with the sign of x. At most 1.33 ulp, 1.38 unfused."""
    a = unary("abs", x)
    one, squared = m.real(1.0), a * a
    beyond = squared / (one + sqrt(m, squared + one))
    return m.with_sign(_log_or_double(m, a, m.sum_ordered(a, beyond)), x)


def acosh(m: Arithmetic, x: Expr) -> Expr:
    """log(x + sqrt(x*x - 1)); NaN below 1. At most 1.82 ulp, 1.87 unfused."""
    over = x - m.real(1.0)
    u = m.sum_exactly(over, sqrt(m, m.mul_add(over, over, over + over)))
    return select(m.below(x, 1.0), m.real(float("nan")), _log_or_double(m, x, u))


def atanh(m: Arithmetic, x: Expr) -> Expr:
    """log((1 + x) / (1 - x)) / 2; infinite at 1 and -1, NaN beyond. At most 1.13 ulp, 1.17 unfused."""
    a, one = unary("abs", x), m.real(1.0)
    rest, lost = m.sum_ordered(one, unary("neg", a))
    u = (a + a) / rest
    product, error = m.product_exactly(u, rest)
    low = ((a + a - product) - error - u * lost) / rest
    result = log_of_pair(m, *_one_more(m, (u, low))) * m.real(0.5)
    edge = select(compare("eq", a, one), m.real(float("inf")), m.real(float("nan")))
    return m.with_sign(select(m.below(a, 1.0), result, edge), x)


def _one_more(m: Arithmetic, u: Pair) -> Pair:
    """1 + u as a pair."""
    high, low = m.sum_exactly(m.real(1.0), u[0])
    return high, low + u[1]


def _log_or_double(m: Arithmetic, a: Expr, u: Pair) -> Expr:
    """log(1 + u), but log(2a) where a is large: log(a/2) with two more in the exponent, which cannot overflow."""
    large = m.above(a, LARGE[m.dtype.name])
    high, low = _one_more(m, u)
    high, low = select(large, a * m.real(0.5), high), select(large, m.real(0.0), low)
    result = log_of_pair(m, high, low, select(large, m.real(2.0), m.real(0.0)))
    return select(compare("lt", a, m.real(float("inf"))), result, a)
