"""sin, cos and tan in portable arithmetic: reduction to |r| <= pi/4 by multiples of pi/2, two short polynomials, a quadrant.

The reduction subtracts n * (pi/2) in parts (Cody and Waite, 1980). It is good for |x| <= LIMIT; a larger argument counts as 0, so the
result stays bounded, and infinity gives NaN. The low bits of x * (2/pi) + 1.5 * 2^23 are the quadrant.

The tables are those of `edgec.portable_fit.fit`; each says the interval and the largest relative error of its polynomial.
"""

from __future__ import annotations

from math import factorial, pi

from edgec.expr import Expr, binary, compare, select, unary
from edgec.portable_arithmetic import Arithmetic
from edgec.portable_constants import HALF_PI_FUSED, HALF_PI_PARTS

# (sin(r)/r - 1) / r^2 and (cos(r) - 1 + r^2/2) / r^4 as polynomials of r^2, |r| <= 0.787: 4.2e-9 of sin(r), 1.2e-10 of cos(r);
# Taylor's series in f64
SIN = {"f32": (-0.16666654, 0.008332106, -0.00019507874), "f64": tuple((-1)**k / factorial(2 * k + 1) for k in range(1, 10))}
COS = {"f32": (0.041666646, -0.0013887308, 2.4432107e-05), "f64": tuple((-1)**k / factorial(2 * k) for k in range(2, 10))}


def limit(m: Arithmetic) -> float:
    """The largest |x| whose reduction is good."""
    return 2.0**20 if m.dtype.name == "f64" else 2.0**18 if m.fma else 102400.0


def sin(m: Arithmetic, x: Expr) -> Expr:
    """The sine of x radians."""
    quadrant, r = reduced(m, unary("abs", x))
    odd, even = cosine(m, r), sine(m, r)
    return m.flip_sign(select(is_odd(m, quadrant), odd, even), binary("shl", quadrant, m.whole(m.dtype.bits - 2)) ^ m.bits(x))


def cos(m: Arithmetic, x: Expr) -> Expr:
    """The cosine of x radians: the sine one quadrant on."""
    quadrant, r = reduced(m, unary("abs", x))
    quadrant = quadrant + m.whole(1)
    odd, even = cosine(m, r), sine(m, r)
    return m.flip_sign(select(is_odd(m, quadrant), odd, even), binary("shl", quadrant, m.whole(m.dtype.bits - 2)))


def tan(m: Arithmetic, x: Expr) -> Expr:
    """The tangent of x radians: sine by cosine, or minus the inverse in odd quadrants."""
    quadrant, r = reduced(m, unary("abs", x))
    odd, c, s = is_odd(m, quadrant), cosine(m, r), sine(m, r)
    ratio = select(odd, c, s) / select(odd, s, c)
    return m.flip_sign(ratio, binary("shl", quadrant, m.whole(m.dtype.bits - 1)) ^ m.bits(x))


def reduced(m: Arithmetic, magnitude: Expr) -> tuple[Expr, Expr]:
    """(an integer whose two low bits are the quadrant, the rest r of the angle)."""
    near = select(compare("le", magnitude, m.real(limit(m))), magnitude, magnitude * m.real(0.0))
    shift = m.real(1.5 * 2.0**m.mantissa)
    shifted = m.mul_add(near, m.real(2 / pi), shift)
    return m.bits(shifted), _less_multiple(m, near, m.real(0.0) - (shifted - shift))


def _less_multiple(m: Arithmetic, x: Expr, n: Expr) -> Expr:
    """x + n * pi/2, where the sum is at most about pi/4.

    The sums with the first parts are exact, since they cancel the leading digits. With products that round once the rest is simple; else the
    products with all but the last part are exact, and what their sums lose is kept until the end.
    """
    if m.fma:
        for part in HALF_PI_FUSED[m.dtype.name]:
            x = m.mul_add(n, m.real(part), x)
        return x
    exact, kept, last = HALF_PI_PARTS[m.dtype.name]
    for part in exact:
        x = x + n * m.real(part)
    lost = n * m.real(last)
    for part in kept:
        x, error = m.sum_exactly(x, n * m.real(part))
        lost = lost + error
    return x + lost


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
