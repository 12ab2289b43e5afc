"""Arithmetic of numbers with a fixed binary point, as the library gemmlowp defines it and TFLite uses it.

A number of the format Qm is an i32 of m integer bits: its value is raw / 2^(31-m). Products are of the upper half of 64 bits, rounded;
shifts to the right round as well, halves away from zero (gemmlowp/fixedpoint/fixedpoint.h). Every function is here twice: on numpy arrays
of i64 that hold i32 values (for the reference) and on expressions (`_expr`, for the lowering).

    high_product(np.int64(1 << 30), np.int64(1 << 30))       # 1 << 29: a half times a half
"""

from __future__ import annotations

import numpy as np

from edgec.expr import Expr, as_expr, binary, cast, compare, const, select
from edgec.types import i32, i64

ONE = (1 << 31) - 1  # the nearest to 1 that Q0 has
Whole = np.ndarray | np.int64


def high_product(a: Whole, b: Whole) -> Whole:
    """SaturatingRoundingDoublingHighMul: round(a * b / 2^31), halves upwards; the one overflow, of least times least, saturates."""
    return np.minimum((np.int64(a) * np.int64(b) + (1 << 30)) >> 31, ONE)


def rounding_shift(x: Whole, bits: Whole) -> Whole:
    """RoundingDivideByPOT: x / 2^bits to the nearest, halves away from zero."""
    mask = (np.int64(1) << np.int64(bits)) - 1
    return (x >> bits) + ((x & mask) > (mask >> 1) + (np.int64(x) < 0))


def saturating_shift(x: Whole, bits: int) -> Whole:
    """x * 2^bits, held within 32 bits (SaturatingRoundingMultiplyByPOT of a positive power)."""
    return np.clip(np.int64(x) << bits, -(1 << 31), ONE)


def half_sum(a: Whole, b: Whole) -> Whole:
    """RoundingHalfSum: (a + b) / 2, halves away from zero."""
    total = np.int64(a) + np.int64(b)
    return np.sign(total) * ((np.abs(total) + 1) // 2)


def high_product_expr(a: Expr, b: Expr) -> Expr:
    """high_product of i32 expressions of which not both are the least number."""
    return cast(binary("shr", cast(a, i64) * cast(b, i64) + (1 << 30), const(31, i64)), i32)


def rounding_shift_expr(x: Expr, bits: Expr) -> Expr:
    """rounding_shift of an i32 expression."""
    mask = binary("shl", const(1, i32), bits) - 1
    threshold = binary("shr", mask, const(1, i32)) + select(compare("lt", x, 0), const(1, i32), const(0, i32))
    return binary("shr", x, bits) + select(compare("lt", threshold, x & mask), const(1, i32), const(0, i32))


def saturating_shift_expr(x: Expr, bits: int) -> Expr:
    """saturating_shift of an i32 expression."""
    return cast(binary("shl", cast(x, i64), const(bits, i64)), i32, saturate=True)


def half_sum_expr(a: Expr, b: int) -> Expr:
    """half_sum of an i32 expression that is not negative and a positive number."""
    return cast(binary("shr", cast(a, i64) + (b + 1), const(1, i64)), i32)


def exp_of_negative(a: Whole, integer_bits: int) -> Whole:
    """exp(a) in Q0 of a number a <= 0 of the format Q`integer_bits` (exp_on_negative_values).

    The part below a quarter goes through a polynomial of degree 4 about -1/8; every set bit above it multiplies by its constant.
    """
    a = np.int64(a)
    fraction = 31 - integer_bits
    quarter = np.int64(1) << (fraction - 2)
    small = (a & (quarter - 1)) - quarter
    result = _exp_below_a_quarter(saturating_shift(small, integer_bits))
    rest = small - a
    for exponent, factor in zip(range(-2, integer_bits), (1672461947, 1302514674, 790015084, 290630308, 39332535, 720401, 242)):
        result = np.where(rest >> (fraction + exponent) & 1, high_product(result, np.int64(factor)), result)
    return np.where(a == 0, ONE, result)


def _exp_below_a_quarter(a: Whole) -> Whole:
    """exp(a) of a in [-1/4, 0) in Q0: exp(-1/8) (1 + x + x^2/2 + x^3/6 + x^4/24) with x = a + 1/8."""
    start, third = np.int64(1895147668), np.int64(715827883)
    x = a + (1 << 28)
    x2 = high_product(x, x)
    x3, x4 = high_product(x2, x), high_product(x2, x2)
    tail = rounding_shift(high_product(rounding_shift(x4, 2) + x3, third) + x2, 1)
    return start + high_product(start, x + tail)


STEPS, QUOTIENTS = 3, (1515870810, -1010580540)  # 48/17 and -32/17 in Q2: the line nearest to 1/x on [1/2, 1]


def reciprocal(x: Whole) -> Whole:
    """1 / (1 + x) in Q0 of x in [0, 1) in Q0, by Newton's method (one_over_one_plus_x_for_x_in_0_1)."""
    half = half_sum(x, np.int64(ONE))
    guess = QUOTIENTS[0] + high_product(half, np.int64(QUOTIENTS[1]))
    for _ in range(STEPS):
        guess = guess + saturating_shift(high_product(guess, (1 << 29) - high_product(half, guess)), 2)
    return saturating_shift(guess, 1)


def reciprocal_expr(x: Expr) -> Expr:
    """reciprocal of an i32 expression."""
    half = half_sum_expr(x, ONE)
    guess = high_product_expr(half, as_expr(QUOTIENTS[1], i32)) + QUOTIENTS[0]
    for _ in range(STEPS):
        guess = guess + saturating_shift_expr(high_product_expr(guess, as_expr(1 << 29, i32) - high_product_expr(half, guess)), 2)
    return saturating_shift_expr(guess, 1)
