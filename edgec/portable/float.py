"""f32 arithmetic by integers alone, for cores without a floating-point unit: bit patterns in u32 in, bit patterns out.

Rounding is half to even, as IEEE 754-2008, 4.3.1 has it. Numbers below the smallest normal one count as 0, NaNs are quiet. The expressions
become functions of their own in the object (backends/soft_routines.py), under the names by which LLVM calls such functions.

    multiply(a, b)      # a, b: u32     ->  the bits of a * b
"""

from __future__ import annotations

from edgec.expr import Expr, binary, bitcast, cast, compare, const, minimum, select
from edgec.types import i32, u32, u64

SIGN, SIZE, INFINITE, QUIET, TOP = 0x80000000, 0x7FFFFFFF, 0x7F800000, 0x7FC00000, 1 << 31
SPECIAL, BIAS = 255, 127        # the exponent of infinities and NaNs, and that of 1
ABOVE_DIVISION = 26             # bits of a quotient that are found, besides whether the rest is 0


def _u(n: int) -> Expr:
    return const(n, u32)


def _left(x: Expr, n: Expr | int) -> Expr:
    return binary("shl", x, n if isinstance(n, Expr) else _u(n))


def _right(x: Expr, n: Expr | int) -> Expr:
    return binary("shr", x, n if isinstance(n, Expr) else _u(n))


def _exponent(a: Expr) -> Expr:
    return _right(a, 23) & _u(SPECIAL)


def _significand(a: Expr) -> Expr:
    """The digits of a normal number with the leading one, at the upper end of the word."""
    return _left(a, 8) | _u(TOP)


def _flag(condition: Expr) -> Expr:
    return cast(condition, u32)


def _is_nan(a: Expr) -> Expr:
    return _u(INFINITE) < (a & _u(SIZE))


def _packed(sign: Expr, exponent: Expr, digits: Expr) -> Expr:
    """Sign bit, exponent (i32) and digits from the upper end of a word, the lowest of which says whether any more are set; rounded."""
    kept, rest = _right(digits, 8), digits & _u(255)
    rounded = kept + _flag(_u(128) < rest + (kept & _u(1)))
    bits = _left(cast(exponent - 1, u32), 23) + rounded  # the leading one counts the exponent up, as does a carry out of the digits
    bits = select(compare("le", const(SPECIAL, i32), exponent), _u(INFINITE), bits)
    return sign | select(exponent < const(1, i32), _u(0), bits)


def _normal(digits: Expr, exponent: Expr) -> tuple[Expr, Expr]:
    """Digits moved to the upper end of the word, and the exponent counted down as often."""
    for step in (16, 8, 4, 2, 1):
        low = digits < _u(1 << 32 - step)
        digits, exponent = select(low, _left(digits, step), digits), exponent - select(low, const(step, i32), const(0, i32))
    return digits, exponent


def multiply(a: Expr, b: Expr) -> Expr:
    """The product."""
    sign, first, second = binary("xor", a, b) & _u(SIGN), _exponent(a), _exponent(b)
    product = cast(_significand(a), u64) * cast(_significand(b), u64)
    upper = cast(binary("shr", product, const(32, u64)), u32) | _flag(compare("ne", cast(product, u32), _u(0)))
    low = upper < _u(TOP)
    exponent = cast(first + second, i32) - BIAS + 1 - cast(low, i32)
    result = _packed(sign, exponent, select(low, _left(upper, 1), upper))
    nothing = compare("eq", first, _u(0)) | compare("eq", second, _u(0))
    special = compare("eq", first, _u(SPECIAL)) | compare("eq", second, _u(SPECIAL))
    unknown = _is_nan(a) | _is_nan(b) | nothing
    return select(special, select(unknown, _u(QUIET), sign | _u(INFINITE)), select(nothing, sign, result))


def divide(a: Expr, b: Expr) -> Expr:
    """The quotient, digit by digit."""
    sign, first, second = binary("xor", a, b) & _u(SIGN), _exponent(a), _exponent(b)
    rest, divisor = _right(_significand(a), 8), _right(_significand(b), 8)
    low = rest < divisor
    rest, found = select(low, _left(rest, 1), rest), _u(0)
    for _ in range(ABOVE_DIVISION):
        fits = compare("le", divisor, rest)
        found = _left(found, 1) | _flag(fits)
        rest = _left(select(fits, rest - divisor, rest), 1)
    digits = _left(found, 32 - ABOVE_DIVISION) | _flag(compare("ne", rest, _u(0)))
    result = _packed(sign, cast(first, i32) - cast(second, i32) + BIAS - cast(low, i32), digits)
    empty, whole = compare("eq", first, _u(0)), compare("eq", second, _u(0))
    large, wide = compare("eq", first, _u(SPECIAL)), compare("eq", second, _u(SPECIAL))
    unknown = _is_nan(a) | _is_nan(b) | empty & whole | large & wide
    result = select(empty | wide, sign, select(large | whole, sign | _u(INFINITE), result))
    return select(unknown, _u(QUIET), result)


def add(a: Expr, b: Expr) -> Expr:
    """The sum: the smaller digits are moved below the larger, the lowest bit remembering what was lost."""
    swapped = (a & _u(SIZE)) < (b & _u(SIZE))
    x, y = select(swapped, b, a), select(swapped, a, b)
    differ = compare("ne", binary("xor", a, b) & _u(SIGN), _u(0))
    high, low = _exponent(x), _exponent(y)
    digits = select(compare("eq", low, _u(0)), _u(0), _right(_significand(y), 1))
    by = minimum(high - low, _u(31))
    moved = _right(digits, by)
    moved = moved | _flag(compare("ne", _left(moved, by), digits))
    larger = _right(_significand(x), 1)
    total = select(differ, larger - moved, larger + moved)
    result = _packed(x & _u(SIGN), *reversed(_normal(total, cast(high, i32) + 1)))
    result = select(compare("eq", total, _u(0)), _u(0), result)
    result = select(compare("eq", high, _u(0)), a & b & _u(SIGN), result)
    unknown = _is_nan(x) | differ & compare("eq", y & _u(SIZE), _u(INFINITE))
    return select(compare("eq", high, _u(SPECIAL)), select(unknown, _u(QUIET), x), result)


def subtract(a: Expr, b: Expr) -> Expr:
    """The difference."""
    return add(a, binary("xor", b, _u(SIGN)))


def from_unsigned(n: Expr) -> Expr:
    """A whole number as a float."""
    return _from_size(_u(0), n)


def from_signed(n: Expr) -> Expr:
    """A whole number (the bits of an i32) as a float."""
    sign = n & _u(SIGN)
    return _from_size(sign, select(compare("ne", sign, _u(0)), _u(0) - n, n))


def _from_size(sign: Expr, size: Expr) -> Expr:
    digits, exponent = _normal(size, const(BIAS + 31, i32))
    return select(compare("eq", size, _u(0)), _u(0), _packed(sign, exponent, digits))


def _size(a: Expr) -> Expr:
    """The integral part of |a|, all ones where it has more than 32 bits."""
    exponent = _exponent(a)
    digits = _right(_significand(a), (_u(BIAS + 31) - exponent) & _u(31))
    size = select(exponent < _u(BIAS), _u(0), digits)
    return select(_u(BIAS + 31) < exponent, _u(0xFFFFFFFF), size)


def to_signed(a: Expr) -> Expr:
    """The number without its fraction, saturating at the ends of i32."""
    size, negative = _size(a), compare("ne", a & _u(SIGN), _u(0))
    size = minimum(size, select(negative, _u(TOP), _u(SIZE)))
    return select(negative, _u(0) - size, size)


def to_unsigned(a: Expr) -> Expr:
    """The number without its fraction, saturating at the ends of u32."""
    return select(compare("ne", a & _u(SIGN), _u(0)), _u(0), _size(a))


def nearest(a: Expr) -> Expr:
    """The nearest whole number, halves to even, saturating at the ends of i32."""
    digits, shift = _significand(a), _u(BIAS + 31) - _exponent(a)   # beyond 32 for what is less than a half, wrapped for what is large
    one = shift & _u(31)
    kept = select(shift < _u(32), _right(digits, one), _u(0))
    rest = select(shift < _u(32), _left(digits, (_u(32) - one) & _u(31)), digits)
    kept = kept + _flag(_u(TOP) < rest | (kept & _u(1)))
    size = select(_exponent(a) < _u(BIAS - 1), _u(0), select(compare("le", _u(BIAS + 31), _exponent(a)), _u(0xFFFFFFFF), kept))
    negative = compare("ne", a & _u(SIGN), _u(0))
    size = minimum(size, select(negative, _u(TOP), _u(SIZE)))
    return select(negative, _u(0) - size, size)


def scale(n: Expr, m: Expr) -> Expr:
    """The product of a whole number (the bits of an i32) and a float, rounded to a whole number."""
    return nearest(multiply(from_signed(n), m))


def _place(a: Expr) -> Expr:
    """A whole number that is ordered as the floats are; both zeros have the same."""
    size = bitcast(a & _u(SIZE), i32)
    return select(compare("ne", a & _u(SIGN), _u(0)), const(0, i32) - size, size)


def unordered(a: Expr, b: Expr) -> Expr:
    """1 where one of them is a NaN, else 0."""
    return _flag(_is_nan(a) | _is_nan(b))


def less(a: Expr, b: Expr) -> Expr:
    """1 where a < b, else 0, as for NaNs."""
    return _flag(_place(a) < _place(b)) & binary("xor", unordered(a, b), _u(1))


def at_most(a: Expr, b: Expr) -> Expr:
    """1 where a <= b, else 0, as for NaNs."""
    return _flag(compare("le", _place(a), _place(b))) & binary("xor", unordered(a, b), _u(1))


def equal(a: Expr, b: Expr) -> Expr:
    """1 where a == b, else 0, as for NaNs."""
    return _flag(compare("eq", _place(a), _place(b))) & binary("xor", unordered(a, b), _u(1))
