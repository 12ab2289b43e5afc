"""The remainder of floats in portable arithmetic, by repeated division.

x minus the rounded quotient times y is itself a float (T. J. Dekker, 1971), so each step is exact and takes some 23 bits off the quotient;
a quotient that rounding made too large shows as a negative rest, which the end mends.
"""

from __future__ import annotations

from edgec.expr import Expr, compare, select, unary
from edgec.portable.arithmetic import Arithmetic
from edgec.portable.round import trunc_of


def remainder(m: Arithmetic, x: Expr, y: Expr) -> Expr:
    """C's fmod: x - trunc(x/y) * y with the sign of x, exact while |x/y| < 2^60 and 0 beyond; NaN at y = 0 and infinite x."""
    a, b = unary("abs", x), unary("abs", y)
    rest = a
    for _ in range(3):
        quotient = m.at_most(2.0**m.bias, trunc_of(m, rest / b))
        high, low = m.product_exactly(quotient, b)
        rest = m.neg_mul_add(quotient, b, rest) if m.fma else (rest - high) - low
    rest = select(m.below(rest, 0.0), rest + b, rest)
    rest = select(m.below(rest, b), rest, rest - b)
    rest = select(m.below(rest, b) & compare("le", m.real(0.0), rest), rest, m.real(0.0))
    defined = m.above(b, 0.0) & compare("lt", a, m.real(float("inf")))
    return m.with_sign(select(m.below(a, b), a, select(defined, rest, m.real(float("nan")))), x)
