"""log in portable arithmetic: the exponent by integer arithmetic on the bits, the fraction by one polynomial.

x = 2^e * (1 + f) with 1 + f in [sqrt(1/2), sqrt(2)), so that no digits cancel in e*ln(2) + log(1 + f) (Cody and Waite, 1980).

The tables are those of `edgec.portable_fit.fit`; each says the interval and the largest relative error of its polynomial.
"""

from __future__ import annotations

from edgec.expr import Expr, binary, compare, select
from edgec.portable_arithmetic import Arithmetic
from edgec.portable_exp import LN2

# (log(1 + f) - f) / f^2 on [-0.293, 0.4143]: 4.4e-9 of f
LOG1P = {"f32": (-0.49999988, 0.33333322, -0.25001553, 0.20002441, -0.16610561, 0.14171372, -0.1321821, 0.1296811, -0.077658676)}
ROOT_HALF = 0.7071067811865476


def log(m: Arithmetic, x: Expr) -> Expr:
    """The natural logarithm: -inf at 0, NaN below, inf at inf."""
    e, fraction = split(m, x)
    f = fraction - m.real(1.0)
    return limits(m, x, assemble(m, e, f, f * f * m.horner(f, LOG1P[m.dtype.name])))


def split(m: Arithmetic, x: Expr) -> tuple[Expr, Expr]:
    """(e, 1 + f) of a positive finite number, e as a float; subnormal numbers are scaled up first."""
    tiny, digits = m.below(x, m.smallest_normal), float(m.mantissa)
    bits = m.bits(select(tiny, x * m.real(2.0**digits), x))
    e = binary("shr", bits - m.bits(m.real(ROOT_HALF)), m.whole(m.mantissa))
    shift = 1.5 * 2.0**m.mantissa
    as_float = m.from_bits(e + m.bits(m.real(shift))) - select(tiny, m.real(shift + digits), m.real(shift))
    return as_float, m.from_bits(bits - m.to_exponent(e))


def assemble(m: Arithmetic, e: Expr, f: Expr, rest: Expr) -> Expr:
    """e*ln(2) + f + rest, small terms first."""
    first, second = LN2[m.dtype.name]
    return m.mul_add(e, m.real(first), f + m.mul_add(e, m.real(second), rest))


def limits(m: Arithmetic, x: Expr, result: Expr) -> Expr:
    """The logarithm's values where x is not a positive finite number."""
    infinity = m.real(float("inf"))
    outside = select(compare("eq", x, m.real(0.0)), m.real(-float("inf")), select(m.below(x, 0.0), m.real(float("nan")), x))
    return select(m.above(x, 0.0) & compare("lt", x, infinity), result, outside)
