"""Rounding to an integral float in portable arithmetic, and the tests for NaN and infinity.

Adding and subtracting 2^23 (2^52 in f64) leaves a float rounded half to even, since the sum has no bits for a fraction; floor, ceil and
trunc correct that by one. All keep the sign of zero, NaN and infinity.
"""

from __future__ import annotations

from edgec.expr import Expr, compare, select, unary
from edgec.portable.arithmetic import Arithmetic


def round_half_even(m: Arithmetic, x: Expr) -> Expr:
    """The nearest integer, ties to even. Exact."""
    magnitude = unary("abs", x)
    return _unless_large(m, x, magnitude, _nearest(m, magnitude))


def floor(m: Arithmetic, x: Expr) -> Expr:
    """The largest integer <= x. Exact."""
    near = round_half_even(m, x)
    return select(compare("lt", x, near), near - m.real(1.0), near)


def ceil(m: Arithmetic, x: Expr) -> Expr:
    """The smallest integer >= x; -0.0 for -1 < x < 0. Exact."""
    near = round_half_even(m, x)
    above = m.from_bits(m.bits(near + m.real(1.0)) | (m.bits(x) & m.whole(m.integer.low)))
    return select(compare("lt", near, x), above, near)


def trunc(m: Arithmetic, x: Expr) -> Expr:
    """x without its fraction. Exact."""
    magnitude = unary("abs", x)
    near = _nearest(m, magnitude)
    return _unless_large(m, x, magnitude, select(compare("lt", magnitude, near), near - m.real(1.0), near))


def trunc_of(m: Arithmetic, x: Expr) -> Expr:
    """trunc(x), by the instruction where there is one."""
    return unary("trunc", x) if "trunc" in m.native else trunc(m, x)


def _nearest(m: Arithmetic, magnitude: Expr) -> Expr:
    shift = m.real(2.0**m.mantissa)
    return (magnitude + shift) - shift


def _unless_large(m: Arithmetic, x: Expr, magnitude: Expr, whole: Expr) -> Expr:
    """`whole` with the sign of x where x can have a fraction, else x itself (NaN included)."""
    return select(m.below(magnitude, 2.0**m.mantissa), m.with_sign(whole, x), x)


def isnan(m: Arithmetic, x: Expr) -> Expr:
    """Whether x is not a number."""
    return compare("ne", x, x)


def isinf(m: Arithmetic, x: Expr) -> Expr:
    """Whether x is an infinity."""
    return compare("eq", unary("abs", x), m.real(float("inf")))
