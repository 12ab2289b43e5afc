"""Elementary functions as expressions over the portable ones (exp, log, sqrt, sin, cos): inverse, hyperbolic, log(1 + x).

Each has a relative error of a few units in the last place of f32 or f64 over its domain. The polynomials approximate (f(x)/x - 1)/x^2 in
z = x^2, found by weighted Chebyshev least squares (Lawson's reweighting) on the exact series.

    arctangent(x)      # reduced to |x| <= tan(pi/8), then x + x*z*P(z)
"""

from __future__ import annotations

import math

from edgec.expr import Expr, compare, const, select, unary
from edgec.types import DType, f32

# (terms that suffice for f32, terms that suffice for f64)
ATAN = ((-0.333333151879909, 0.1999847148390088, -0.14243532824269686, 0.10593810275712005, -0.06078213407246879),
        (-0.333333333333332, 0.19999999999953225, -0.14285714280164274, 0.1111111078204207, -0.09090897722012259, 0.07692059659790212,
         -0.06663098548610409, 0.058478545129749385, -0.050391690388981725, 0.03806159878878784, -0.01790444998971665))
ASIN = ((0.1666675248214555, 0.07495297651437506, 0.04547037406381837, 0.024179526352718073, 0.04216628631338162),
        (0.1666666666666676, 0.07499999999970809, 0.04464285717460052, 0.030381942708409392, 0.022372214968099564,
         0.017351612392558384, 0.01398081574517412, 0.01139895311104843, 0.010780017196333742, 0.0037073154997689303,
         0.021705213230291266, -0.020995876141547062, 0.03262662172737867))
SINH = ((0.1666666649755751, 0.00833335005835317, 0.00019836159749319436, 2.8169513665714815e-06),
        (0.16666666666666669, 0.008333333333333146, 0.00019841269841432962, 2.755731915670938e-06, 2.505212319665017e-08,
         1.6057254979776334e-10, 7.758896266397934e-13))
LARGE = 1e8  # beyond it, x^2 + 1 is x^2 in every type
NAN, LN2, PI = math.nan, math.log(2.0), math.pi


def with_sign_of(x: Expr, magnitude: Expr) -> Expr:
    """An odd function from its value at |x|; zero keeps its sign."""
    return select(x < 0, -magnitude, select(compare("eq", x, 0), x, magnitude))


def odd_polynomial(x: Expr, z: Expr, table: tuple[tuple[float, ...], tuple[float, ...]], dtype: DType) -> Expr:
    """x + x * z * P(z)."""
    *rest, last = table[0] if dtype is f32 else table[1]
    total = const(last, dtype)
    for coefficient in reversed(rest):
        total = total * z + coefficient
    return x + x * (z * total)


def arctangent(x: Expr) -> Expr:
    """atan(x): |x| is moved into [-tan(pi/8), tan(pi/8)] by atan(a) = pi/4 + atan((a-1)/(a+1)) = pi/2 - atan(1/a)."""
    a = unary("abs", x)
    high, middle = a > math.tan(3 * PI / 8), a > math.tan(PI / 8)
    above = select(high, const(-1.0, x.dtype), select(middle, a - 1.0, a))
    below = select(high, a, select(middle, a + 1.0, 1.0))
    reduced = above / below
    offset = select(high, const(PI / 2, x.dtype), select(middle, const(PI / 4, x.dtype), 0.0))
    return with_sign_of(x, offset + odd_polynomial(reduced, reduced * reduced, ATAN, x.dtype))


def _arcsine_parts(a: Expr) -> tuple[Expr, Expr]:
    """(whether a > 1/2, asin(a) below and asin(sqrt((1-a)/2)) above) for 0 <= a <= 1; NaN for larger a."""
    high = a > 0.5
    z = select(high, (1.0 - a) * 0.5, a * a)
    root = select(high, unary("sqrt", z), a)
    return high, odd_polynomial(root, z, ASIN, a.dtype)


def arcsine(x: Expr) -> Expr:
    """asin(x); above 1/2 as pi/2 - 2 asin(sqrt((1-|x|)/2))."""
    high, part = _arcsine_parts(unary("abs", x))
    return with_sign_of(x, select(high, PI / 2 - 2.0 * part, part))


def arccosine(x: Expr) -> Expr:
    """acos(x), with full relative accuracy near 1."""
    high, part = _arcsine_parts(unary("abs", x))
    return select(high, select(x < 0, PI - 2.0 * part, 2.0 * part), select(x < 0, PI / 2 + part, PI / 2 - part))


def hyperbolic_sine(x: Expr) -> Expr:
    """sinh(x): a polynomial below 1; beyond, with h = e^(|x|/2), which does not overflow before sinh does, h/2*h - 1/(2h^2)."""
    a = unary("abs", x)
    h = unary("exp", a * 0.5)
    return with_sign_of(x, select(a < 1.0, odd_polynomial(a, a * a, SINH, x.dtype), (h * 0.5) * h - 0.5 / h / h))


def hyperbolic_cosine(x: Expr) -> Expr:
    """cosh(x), with h = e^(|x|/2): h/2*h + 1/(2h^2)."""
    h = unary("exp", unary("abs", x) * 0.5)
    return (h * 0.5) * h + 0.5 / h / h


def log_one_plus(u: Expr) -> Expr:
    """log(1 + u) for u > -1: log(w) * u / (w - 1) with w = 1 + u rounded cancels the error of w (W. Kahan's trick)."""
    w = u + 1.0
    exact = compare("eq", w, 1.0)
    ratio = select(u < LARGE, u / select(exact, 1.0, w - 1.0), 1.0)
    return select(exact, u, unary("log", w) * ratio)


def inverse_hyperbolic_sine(x: Expr) -> Expr:
    """asinh(x) = log(1 + a + a^2 / (1 + sqrt(1 + a^2))) with a = |x|, log(2a) for large a."""
    a = unary("abs", x)
    square = a * a
    near = log_one_plus(a + square / (1.0 + unary("sqrt", square + 1.0)))
    return with_sign_of(x, select(a < LARGE, near, unary("log", a) + LN2))


def inverse_hyperbolic_cosine(x: Expr) -> Expr:
    """acosh(x) = log(1 + t + sqrt(t^2 + 2t)) with t = x - 1, log(2x) for large x; NaN below 1."""
    t = x - 1.0
    near = log_one_plus(t + unary("sqrt", t * (t + 2.0)))
    return select(x < 1.0, NAN, select(x < LARGE, near, unary("log", x) + LN2))


def inverse_hyperbolic_tangent(x: Expr) -> Expr:
    """atanh(x) = log(1 + 2a / (1 - a)) / 2 with a = |x|; NaN beyond 1."""
    a = unary("abs", x)
    return with_sign_of(x, select(a > 1.0, NAN, 0.5 * log_one_plus(2.0 * a / (1.0 - a))))
