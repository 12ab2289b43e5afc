"""log in portable arithmetic: the exponent by integer arithmetic on the bits, the fraction by one polynomial.

x = 2^e * (1 + f) with 1 + f in [sqrt(1/2), sqrt(2)), so that no digits cancel in e*ln(2) + log(1 + f) (Cody and Waite, 1980). f64 uses
s = f/(2 + f), log(1 + f) = 2*atanh(s).

The tables are those of `edgec.portable.fit.fit`; each says the interval and the largest relative error of its polynomial.
"""

from __future__ import annotations

from edgec.expr import Expr, binary, compare, select
from edgec.portable.arithmetic import Arithmetic
from edgec.portable.constants import LN2_PARTS

# (log(1 + f) - f) / f^2 on [-0.293, 0.4143]: 4.4e-9 of f
LOG1P = (-0.49999988, 0.33333322, -0.25001553, 0.20002441, -0.16610561, 0.14171372, -0.1321821, 0.1296811, -0.077658676)
# 2*(atanh(s)/s - 1) / s^2, Taylor's series of s^2 for |s| <= 0.1716 in f64
ATANH = tuple(2 / (2 * k + 1) for k in range(1, 12))
ROOT_HALF = 0.7071067811865476


def log(m: Arithmetic, x: Expr) -> Expr:
    """The natural logarithm: -inf at 0, NaN below, inf at inf. At most 0.91 ulp, 0.95 unfused."""
    e, _, fraction = split(m, x)
    f = fraction - m.real(1.0)
    return limits(m, x, assemble(m, e, f, beyond_linear(m, f)))


def log_of_pair(m: Arithmetic, high: Expr, low: Expr, more: Expr | None = None) -> Expr:
    """log(high + low) for high >= 1 and |low| <= ulp(high) / 2 * a few, plus more * log(2); no special values."""
    e, exponent, fraction = split(m, high, subnormal=False)
    scale = m.from_bits(m.to_exponent(m.whole(m.bias) - exponent))
    f, lost = m.sum_exactly(fraction - m.real(1.0), low * scale)
    return assemble(m, e if more is None else e + more, f, lost + beyond_linear(m, f))


def beyond_linear(m: Arithmetic, f: Expr) -> Expr:
    """log(1 + f) - f for 1 + f in [sqrt(1/2), sqrt(2))."""
    if m.dtype.name == "f32":
        return f * f * m.horner(f, LOG1P)
    half_square, s = m.real(0.5) * f * f, f / (f + m.real(2.0))
    z = s * s
    return s * (half_square + z * m.horner(z, ATANH)) - half_square


def split(m: Arithmetic, x: Expr, subnormal: bool = True) -> tuple[Expr, Expr, Expr]:
    """(e as a float, as an integer before any scaling, 1 + f) of a positive finite number; `subnormal` ones are scaled up first."""
    tiny, digits, shift = m.below(x, m.smallest_normal), float(m.mantissa), 1.5 * 2.0**m.mantissa
    bits = m.bits(select(tiny, x * m.real(2.0**digits), x) if subnormal else x)
    e = binary("shr", bits - m.bits(m.real(ROOT_HALF)), m.whole(m.mantissa))
    zero = select(tiny, m.real(shift + digits), m.real(shift)) if subnormal else m.real(shift)
    return m.from_bits(e + m.bits(m.real(shift))) - zero, e, m.from_bits(bits - m.to_exponent(e))


def assemble(m: Arithmetic, e: Expr, f: Expr, rest: Expr) -> Expr:
    """e*ln(2) + f + rest, small terms first."""
    first, second = LN2_PARTS[m.dtype.name]
    return m.mul_add(e, m.real(first), f + m.mul_add(e, m.real(second), rest))


def limits(m: Arithmetic, x: Expr, result: Expr) -> Expr:
    """The logarithm's values where x is not a positive finite number."""
    infinity = m.real(float("inf"))
    outside = select(compare("eq", x, m.real(0.0)), m.real(-float("inf")), select(m.below(x, 0.0), m.real(float("nan")), x))
    return select(m.above(x, 0.0) & compare("lt", x, infinity), result, outside)
