"""sin, cos and tan in portable arithmetic: reduction to |r| <= pi/4 by multiples of pi/2, two short polynomials, a quadrant.

The reduction subtracts n * (pi/2) in parts (Cody and Waite, 1980). It is good for |x| <= LIMIT; a larger argument counts as 0, so the
result stays bounded, and infinity gives NaN. The low bits of x * (2/pi) + 1.5 * 2^23 are the quadrant.

The tables are those of `edgec.portable.fit.fit`; each says the interval and the largest relative error of its polynomial.
"""

from __future__ import annotations

from math import factorial, pi

from edgec.expr import Expr, binary, compare, select, unary
from edgec.portable.arithmetic import Arithmetic, Pair
from edgec.portable.constants import HALF_PI_FUSED, HALF_PI_KEPT, HALF_PI_PARTS

# (sin(r)/r - 1) / r^2 and (cos(r) - 1 + r^2/2) / r^4 as polynomials of r^2, |r| <= 0.795 (a little above
# pi/4, since n is rounded from an inexact quotient): 4.3e-9 of sin(r), 1.5e-10 of cos(r); Taylor's series in f64
SIN = {"f32": (-0.16666654, 0.008332104, -0.00019507472), "f64": tuple((-1)**k / factorial(2 * k + 1) for k in range(1, 10))}
COS = {"f32": (0.041666646, -0.0013887294, 2.4429424e-05), "f64": tuple((-1)**k / factorial(2 * k) for k in range(2, 10))}

# (tan(r)/r - 1) / r^2 as a polynomial of r^2, |r| <= 0.795: 1.7e-9
TAN = (0.33333352, 0.13332562, 0.054072518, 0.021213004, 0.011023339, -0.00015663075, 0.0045012077)


def limit(m: Arithmetic) -> float:
    """The largest |x| whose reduction is good."""
    return 2.0**20 if m.dtype.name == "f64" else 2.0**18 if m.fma else 102400.0


def sin(m: Arithmetic, x: Expr) -> Expr:
    """The sine of x radians. At most 1.58 ulp, 1.55 unfused."""
    quadrant, r = reduced(m, unary("abs", x))
    odd, even = cosine(m, r), sine(m, r)
    return m.flip_sign(select(is_odd(m, quadrant), odd, even), binary("shl", quadrant, m.whole(m.dtype.bits - 2)) ^ m.bits(x))


def cos(m: Arithmetic, x: Expr) -> Expr:
    """The cosine of x radians: the sine one quadrant on. At most 1.75 ulp, 1.55 unfused."""
    quadrant, r = reduced(m, unary("abs", x))
    quadrant = quadrant + m.whole(1)
    odd, even = cosine(m, r), sine(m, r)
    return m.flip_sign(select(is_odd(m, quadrant), odd, even), binary("shl", quadrant, m.whole(m.dtype.bits - 2)))


def tan(m: Arithmetic, x: Expr) -> Expr:
    """The tangent of x radians: minus the inverse in odd quadrants. At most 1.96 ulp, 1.70 unfused."""
    quadrant, near, n = nearest_multiple(m, unary("abs", x))
    t, odd = tangent(m, *rest_pair(m, near, n)), is_odd(m, quadrant)
    return m.flip_sign(select(odd, m.real(1.0) / t, t), binary("shl", quadrant, m.whole(m.dtype.bits - 1)) ^ m.bits(x))


def reduced(m: Arithmetic, magnitude: Expr) -> tuple[Expr, Expr]:
    """(an integer whose two low bits are the quadrant, the rest r of the angle)."""
    quadrant, near, n = nearest_multiple(m, magnitude)
    return quadrant, rest(m, near, n)


def nearest_multiple(m: Arithmetic, magnitude: Expr) -> tuple[Expr, Expr, Expr]:
    """(an integer whose two low bits are the quadrant, the angle or 0 beyond the limit, -n where n * pi/2 is nearest to it)."""
    near = select(compare("le", magnitude, m.real(limit(m))), magnitude, magnitude * m.real(0.0))
    shift = m.real(1.5 * 2.0**m.mantissa)
    shifted = m.mul_add(near, m.real(2 / pi), shift)
    return m.bits(shifted), near, shift - shifted


def rest(m: Arithmetic, x: Expr, n: Expr) -> Expr:
    """x + n * pi/2, at most about pi/4 in size."""
    if not m.fma:
        return rest_pair(m, x, n)[0]
    for part in HALF_PI_FUSED[m.dtype.name]:
        x = m.mul_add(n, m.real(part), x)
    return x


def rest_pair(m: Arithmetic, x: Expr, n: Expr) -> Pair:
    """x + n * pi/2 as a pair: sums with the first parts are exact, what the others lose is kept until the end."""
    exact, kept, last = HALF_PI_KEPT[m.dtype.name] if m.fma else HALF_PI_PARTS[m.dtype.name]
    for part in exact:
        x = m.mul_add(n, m.real(part), x)
    lost = n * m.real(last)
    for part in kept:
        high, low = m.product_exactly(n, m.real(part)) if m.fma else (n * m.real(part), None)
        x, error = m.sum_exactly(x, high)
        lost = lost + error if low is None else lost + (error + low)
    return m.sum_ordered(x, lost)


def is_odd(m: Arithmetic, quadrant: Expr) -> Expr:
    return compare("ne", quadrant & m.whole(1), m.whole(0))


def sine(m: Arithmetic, r: Expr) -> Expr:
    """sin(r), |r| <= pi/4."""
    z = r * r
    return m.mul_add(r * z, m.horner(z, SIN[m.dtype.name]), r)


def cosine(m: Arithmetic, r: Expr) -> Expr:
    """cos(r), |r| <= pi/4."""
    z = r * r
    return m.horner(z, (1.0, -0.5, *COS[m.dtype.name]))


def tangent(m: Arithmetic, r: Expr, low: Expr) -> Expr:
    """tan(r + low), |r| <= pi/4 and low a rounding error of r."""
    if m.dtype.name == "f64":
        return sine(m, r) / cosine(m, r)
    z = r * r
    return r + m.mul_add(r * z, m.horner(z, TAN), m.mul_add(low * m.real(1.6), z, low))  # the slope 1/cos^2 is about 1 + 1.6*z
