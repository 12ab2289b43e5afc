"""The error function in portable arithmetic: an odd polynomial below 0.875, 1 - 2^(a*h(a)) above.

log2(1 - erf(a)) is so smooth that a quintic h serves up to 4, where erf rounds to 1; its exponential needs no reduction but the
rounding of its exponent.

The tables are those of `edgec.portable.fit.fit`; each says the interval and the largest error of its polynomial.
"""

from __future__ import annotations

from math import factorial, pi, sqrt

from edgec.expr import Expr, select, unary
from edgec.portable import pow as portable_pow
from edgec.portable.arithmetic import Arithmetic
from edgec.portable.exp import magic, split_exponent

BORDER = 0.875
# erf(a)/a - 1 as a polynomial of a^2, a on [0, 0.875]: 1.4e-8 of erf(a); Taylor's series in f64
NEAR = {"f32": (0.12837915, -0.37612513, 0.11282118, -0.02678044, 0.0050170533, -0.0006129152),
        "f64": (2 / sqrt(pi) - 1, *((-1)**k * 2 / sqrt(pi) / (factorial(k) * (2 * k + 1)) for k in range(1, 20)))}
# log2(1 - erf(a)) / a as a polynomial of a on [0.875, 4]: 3.1e-9 of erf(a); in f64 of (a - 55/16) * 25/64 on [0.875, 6]: 6e-16, from a
# Chebyshev series
FAR = {"f32": (-1.6281137, -0.9171087, -0.15191136, 0.03305528, -0.004648075, 0.00030990047),
       "f64": (-5.733881278013137, -3.406853905951079, -0.11912565631446909, 0.050341455511952016, -0.020885746019517606,
               0.008319922109420556, -0.003106444094071927, 0.0010450954182698168, -0.00028847283538772564, 4.280284574483003e-05,
               1.917821725647861e-05, -2.405894841281621e-05, 1.6021150903729126e-05, -8.429567053838726e-06, 4.087855588641427e-06,
               -1.760351180762341e-06, 2.8044477624608187e-07, 8.158115206244577e-08, 1.3443642184657896e-07, -3.27853046307865e-08,
               -1.0708188179130483e-07, 4.159929461788136e-08, 3.523036714623853e-09)}
# 2^r on [-0.501, 0.501]: 9.5e-8, which 1 - erf(0.875) = 0.216 makes 2e-8 of erf
EXP2 = {"f32": (1.0, 0.693147, 0.24022244, 0.05550711, 0.009671493, 0.0013269911), "f64": portable_pow.EXP2["f64"]}
SATURATION = {"f32": 4.0, "f64": 6.0}


def erf(m: Arithmetic, x: Expr) -> Expr:
    """2/sqrt(pi) * the integral of e^(-t*t) from 0 to x. At most 1.55 ulp, 1.65 unfused."""
    name = m.dtype.name
    a = m.at_most(SATURATION[name], unary("abs", x))
    near = m.mul_add(a, m.horner(a * a, NEAR[name]), a)
    power = a * m.horner(a if name == "f32" else (a - m.real(3.4375)) * m.real(0.390625), FAR[name])
    n, scale = split_exponent(m, power + m.real(magic(m)), 0, limit=False)
    far = m.neg_mul_add(m.horner(power - n, EXP2[name]), scale, m.real(1.0))
    return m.with_sign(select(m.below(a, BORDER), near, far), x)
