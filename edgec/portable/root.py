"""Square roots in portable arithmetic, for targets without the instruction.

Halving the bit pattern gives 1/sqrt(x) to 3.5 % (see C. Lomont, "Fast inverse square root", 2003); Newton's steps y*(1.5 - x*y*y/2)
square the error, and a last step on s = x*y with the residual x - s*s rounds it well.
"""

from __future__ import annotations

from edgec.expr import Expr, binary, compare, select, unary
from edgec.portable.arithmetic import Arithmetic

# The bits of 1.5 * 2^(1.5 * bias)-ish from which half the bits of x are taken, balanced for the largest relative error
ESTIMATE = {"f32": 0x5F375A86, "f64": 0x5FE6EB50C7B537A9}
STEPS = {"f32": 2, "f64": 4}


def sqrt(m: Arithmetic, x: Expr) -> Expr:
    """The square root: NaN below 0, -0 at -0. At most 0.51 ulp, 0.85 unfused."""
    if "sqrt" in m.native:
        return unary("sqrt", x)
    up = 4 * m.mantissa // 2 * 2
    tiny = m.below(x, 2.0**(up // 2) * m.smallest_normal)  # a residual of such a number would be subnormal
    root = _root(m, select(tiny, x * m.real(2.0**up), x), m.dtype.name)
    root = select(tiny, root * m.real(2.0**(-up // 2)), root)
    unchanged = compare("eq", x, m.real(0.0)) | compare("eq", x, m.real(float("inf")))
    return select(unchanged, x, select(m.below(x, 0.0), m.real(float("nan")), root))


def _root(m: Arithmetic, value: Expr, name: str) -> Expr:
    """The root of a positive normal number."""
    half = value * m.real(0.5)
    inverse = m.from_bits(m.whole(ESTIMATE[name]) - binary("shr", m.bits(value), m.whole(1)))
    for _ in range(STEPS[name]):
        inverse = inverse * m.neg_mul_add(half * inverse, inverse, m.real(1.5))
    root = value * inverse
    residual = m.neg_mul_add(root, root, value)
    return m.mul_add(residual * m.real(0.5), inverse, root)


def rsqrt(m: Arithmetic, x: Expr) -> Expr:
    """1 / sqrt(x): inf at 0, NaN below. At most 1.50 ulp, 1.82 unfused."""
    return m.real(1.0) / sqrt(m, x)
