"""asin, acos and atan in portable arithmetic.

asin has a polynomial up to 0.5625 and asin(a) = pi/2 - 2*asin(sqrt((1 - a)/2)) above; atan has one up to 1 and pi/2 - atan(1/a) above (f64
halves the angle first). See J.-M. Muller, "Elementary Functions" (2006), chapters 3 and 11.

The tables are those of `edgec.portable.fit.fit`; each says the interval and the largest relative error of its polynomial.
"""

from __future__ import annotations

from math import factorial

from edgec.expr import Expr, compare, select, unary
from edgec.portable.arithmetic import Arithmetic
from edgec.portable.constants import PI, parts
from edgec.portable.root import sqrt

# (asin(a)/a - 1) / a^2 as a polynomial of a^2, a on [0, 0.5625]: 1.9e-9; Taylor's series in f64
ASIN = {"f32": (0.16666631, 0.07502098, 0.0442322, 0.034010686, 0.006742906, 0.047483426),
        "f64": tuple(factorial(2 * k) / (4**k * factorial(k)**2 * (2 * k + 1)) for k in range(1, 33))}
# (atan(t)/t - 1) / t^2 as a polynomial of t^2, t on [0, 1]: 2.6e-9; Taylor's series for t up to tan(pi/8) in f64
ATAN = {"f32": (-0.333333, 0.19998531, -0.14264052, 0.10951175, -0.08400475, 0.057906546, -0.031127002, 0.010887361, -0.0017875476),
        "f64": tuple((-1)**k / (2 * k + 1) for k in range(1, 22))}
# Above it asin(sqrt((1 - a)/2)) is below 1/2, where its rounding errors, which are doubled, are half as large
BORDER = 0.5625
HALF_PI = {"f32": parts(PI, (24, 24), 1), "f64": parts(PI, (53, 53), 1)}


def asin(m: Arithmetic, x: Expr) -> Expr:
    """The angle in [-pi/2, pi/2] whose sine is x; NaN outside [-1, 1]. At most 1.34 ulp, 1.65 unfused."""
    small, angle = half_asin(m, unary("abs", x))
    high, low = HALF_PI[m.dtype.name]
    return m.with_sign(select(small, angle, m.real(high) - (angle + angle - m.real(low))), x)


def acos(m: Arithmetic, x: Expr) -> Expr:
    """The angle in [0, pi] whose cosine is x; NaN outside [-1, 1]. At most 1.07 ulp, 1.38 unfused."""
    small, angle = half_asin(m, unary("abs", x))
    high, low = HALF_PI[m.dtype.name]
    angle, negative = m.with_sign(angle, x), m.below(x, 0.0)
    middle = m.real(high) - (angle - m.real(low))
    outer = select(negative, m.real(2 * high) + (angle + angle + m.real(2 * low)), angle + angle)
    return select(small, middle, outer)


def half_asin(m: Arithmetic, a: Expr) -> tuple[Expr, Expr]:
    """(a <= BORDER, asin(a) there and asin(sqrt((1 - a)/2)) elsewhere)."""
    small = compare("le", a, m.real(BORDER))
    z = select(small, a * a, (m.real(1.0) - a) * m.real(0.5))
    s = select(small, a, sqrt(m, z))
    return small, m.mul_add(s * z, m.horner(z, ASIN[m.dtype.name]), s)


def atan(m: Arithmetic, x: Expr) -> Expr:
    """The angle in [-pi/2, pi/2] whose tangent is x. At most 1.39 ulp, 1.51 unfused."""
    a, one = unary("abs", x), m.real(1.0)
    steep = m.above(a, 1.0)
    angle = small_atan(m, select(steep, one, a) / select(steep, a, one))
    high, low = HALF_PI[m.dtype.name]
    return m.with_sign(select(steep, m.real(high) - (angle - m.real(low)), angle), x)


def small_atan(m: Arithmetic, t: Expr) -> Expr:
    """atan(t), 0 <= t <= 1."""
    wide = m.dtype.name == "f64"
    if wide:
        t = t / (m.real(1.0) + sqrt(m, t * t + m.real(1.0)))
    z = t * t
    angle = m.mul_add(t * z, m.horner(z, ATAN[m.dtype.name]), t)
    return angle + angle if wide else angle
