"""Division of 64-bit integers on cores with 32-bit registers, bit by bit (D. E. Knuth, TAOCP 2, 4.3.1, in base 2).

    divide(x, y)      # i64 or u64, toward zero; remainder(x, y) has the sign of x
"""

from __future__ import annotations

from edgec.expr import Expr, binary, cast, compare, const, select
from edgec.types import bool_, i64, u64


def divide(x: Expr, y: Expr) -> Expr:
    """x / y rounded toward zero; the least value by -1 wraps. y must not be 0."""
    return _signed(x, y, 0)


def remainder(x: Expr, y: Expr) -> Expr:
    """x - y * divide(x, y). y must not be 0."""
    return _signed(x, y, 1)


def _signed(x: Expr, y: Expr, which: int) -> Expr:
    """Quotient (0) or remainder (1) of magnitudes, with its sign."""
    if x.dtype is u64:
        return _unsigned(x, y)[which]
    zero = const(0, i64)
    below_x, below_y = compare("lt", x, zero), compare("lt", y, zero)
    size = cast(_unsigned(_magnitude(x, below_x), _magnitude(y, below_y))[which], i64)
    negative = below_x if which else binary("xor", below_x, below_y)
    return select(negative, zero - size, size)


def _magnitude(x: Expr, negative: Expr) -> Expr:
    return cast(select(negative, const(0, i64) - x, x), u64)


def _unsigned(x: Expr, y: Expr) -> tuple[Expr, Expr]:
    """(quotient, remainder): from the highest bit down, y is subtracted where it fits."""
    one = const(1, u64)
    quotient, rest = const(0, u64), const(0, u64)
    for bit in reversed(range(64)):
        carry = compare("ne", binary("shr", rest, const(63, u64)), const(0, u64)) if bit < 63 else const(False, bool_)
        rest = binary("shl", rest, one) | (binary("shr", x, const(bit, u64)) & one)
        fits = binary("or", carry, compare("le", y, rest))
        rest = select(fits, rest - y, rest)
        quotient = quotient | select(fits, const(1 << bit, u64), const(0, u64))
    return quotient, rest
