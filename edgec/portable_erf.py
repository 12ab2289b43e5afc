"""The error function in portable arithmetic: an odd polynomial below 0.875, 1 - 2^(a*h(a)) above.

log2(1 - erf(a)) is so smooth that a quintic h serves up to 4, where erf rounds to 1; its exponential needs no reduction but the
rounding of its exponent.

The tables are those of `edgec.portable_fit.fit`; each says the interval and the largest error of its polynomial.
"""

from __future__ import annotations

from edgec.expr import Expr, select, unary
from edgec.portable_arithmetic import Arithmetic
from edgec.portable_exp import magic, split_exponent

BORDER = 0.875
# erf(a)/a - 1 as a polynomial of a^2, a on [0, 0.875]: 1.4e-8 of erf(a)
NEAR = {"f32": (0.12837915, -0.37612513, 0.11282118, -0.02678044, 0.0050170533, -0.0006129152)}
# log2(1 - erf(a)) / a on [0.875, 4]: 3.1e-9 of erf(a)
FAR = {"f32": (-1.6281137, -0.9171087, -0.15191136, 0.03305528, -0.004648075, 0.00030990047)}
# 2^r on [-0.501, 0.501]: 9.5e-8, which 1 - erf(0.875) = 0.216 makes 2e-8 of erf
EXP2 = {"f32": (1.0, 0.693147, 0.24022244, 0.05550711, 0.009671493, 0.0013269911)}
SATURATION = {"f32": 4.0}


def erf(m: Arithmetic, x: Expr) -> Expr:
    """2/sqrt(pi) * the integral of e^(-t*t) from 0 to x."""
    name = m.dtype.name
    a = m.at_most(SATURATION[name], unary("abs", x))
    near = m.mul_add(a, m.horner(a * a, NEAR[name]), a)
    power = a * m.horner(a, FAR[name])
    n, scale = split_exponent(m, power + m.real(magic(m)), 0, limit=False)
    far = m.neg_mul_add(m.horner(power - n, EXP2[name]), scale, m.real(1.0))
    return m.with_sign(select(m.below(a, BORDER), near, far), x)
