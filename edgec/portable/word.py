"""Arithmetic of 32 and 64-bit integers with what the smallest cores have: 32-bit sums and shifts, products without an upper half.

The expressions become functions of their own in the object (backends/soft_routines.py), as those of float.py do.

    multiply(a, b)      # a, b: u64     ->  four products of 16 bits by 16, two of 32 by 32
"""

from __future__ import annotations

from edgec.expr import Expr, binary, bitcast, cast, compare, const, select
from edgec.types import i32, u32, u64

HALF = 0xFFFF


def _u(n: int) -> Expr:
    return const(n, u32)


def _wide(low: Expr, high: Expr) -> Expr:
    return cast(low, u64) | binary("shl", cast(high, u64), const(32, u64))


def _halves(a: Expr) -> tuple[Expr, Expr]:
    return cast(a, u32), cast(binary("shr", a, const(32, u64)), u32)


def multiply(a: Expr, b: Expr) -> Expr:
    """The lower 64 bits of the product."""
    (low, high), (other, upper) = _halves(a), _halves(b)
    (x, p), (y, q) = ((n & _u(HALF), binary("shr", n, _u(16))) for n in (low, other))
    inner, outer = x * q, p * y
    least = x * y
    middle = binary("shr", least, _u(16)) + (inner & _u(HALF)) + (outer & _u(HALF))
    lowest = (least & _u(HALF)) | binary("shl", middle, _u(16))
    top = p * q + binary("shr", inner, _u(16)) + binary("shr", outer, _u(16)) + binary("shr", middle, _u(16))
    return _wide(lowest, top + low * upper + high * other)


def _shift(a: Expr, by: Expr, left: bool, arithmetic: bool = False) -> Expr:
    low, high = _halves(a)
    if arithmetic:
        right = lambda x, n: bitcast(binary("shr", bitcast(x, i32), bitcast(n, i32)), u32)
        filled = right(high, _u(31))
    else:
        right, filled = (lambda x, n: binary("shr", x, n)), _u(0)
    part, back = by & _u(31), (_u(32) - by) & _u(31)
    none, whole = compare("eq", part, _u(0)), compare("le", _u(32), by)
    if left:
        carried = select(none, _u(0), binary("shr", low, back))
        moved = binary("shl", low, part)
        return _wide(select(whole, _u(0), moved), select(whole, moved, binary("shl", high, part) | carried))
    carried = select(none, _u(0), binary("shl", high, back))
    moved = right(high, part)
    return _wide(select(whole, moved, binary("shr", low, part) | carried), select(whole, filled, moved))


def shift_left(a: Expr, by: Expr) -> Expr:
    """a shifted left by 0 to 63 bits."""
    return _shift(a, by, left=True)


def shift_right(a: Expr, by: Expr) -> Expr:
    """a shifted right, zeros coming in."""
    return _shift(a, by, left=False)


def shift_signed(a: Expr, by: Expr) -> Expr:
    """a shifted right, copies of its sign coming in."""
    return _shift(a, by, left=False, arithmetic=True)


def _divided(a: Expr, b: Expr) -> tuple[Expr, Expr]:
    """Quotient and rest, digit by digit; all ones and a for b = 0."""
    rest, found = _u(0), _u(0)
    for place in range(31, -1, -1):
        over = compare("le", _u(1 << 31), rest)
        rest = binary("shl", rest, _u(1)) | (binary("shr", a, _u(place)) & _u(1))
        fits = over | compare("le", b, rest)
        rest, found = select(fits, rest - b, rest), binary("shl", found, _u(1)) | cast(fits, u32)
    return found, rest


def divide(a: Expr, b: Expr) -> Expr:
    """The quotient of u32 in the lower word, the rest in the upper one."""
    return _wide(*_divided(a, b))


def divide_signed(a: Expr, b: Expr) -> Expr:
    """The same of i32 (given by their bits), rounded toward zero; the rest has the sign of a."""
    signs = [compare("ne", n & _u(1 << 31), _u(0)) for n in (a, b)]
    found, rest = _divided(*(select(s, _u(0) - n, n) for s, n in zip(signs, (a, b))))
    differ = compare("ne", (a ^ b) & _u(1 << 31), _u(0))
    return _wide(select(differ, _u(0) - found, found), select(signs[0], _u(0) - rest, rest))
