"""The building blocks of portable arithmetic: one float format written with additions, products, comparisons and bit operations only.

`Arithmetic` knows the format (f32 or f64), what the target does natively and whether its mul_add rounds once; the files
the other modules here write functions with it. Sums and products whose rounding errors are kept follow T. J. Dekker, "A floating-point
technique for extending the available precision" (1971), and D. E. Knuth, TAOCP 2, 4.2.2.

    m = Arithmetic(f32, native=frozenset({"sqrt"}), fma=True)
    m.horner(x, (1.0, 1.0, 0.5))            # 1 + x + x*x/2
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from edgec.expr import Expr, binary, bitcast, compare, const, mul_add, select, unary
from edgec.types import DType, f32, i32, i64

Pair = tuple[Expr, Expr]  # an unevaluated sum high + low, |low| <= ulp(high) / 2


@dataclass(frozen=True)
class Arithmetic:
    """Operations on `dtype`; those named in `native` stay, and `fma` says that mul_add rounds once."""

    dtype: DType
    native: frozenset[str]
    fma: bool

    @property
    def integer(self) -> DType:
        """The signed integer of the same width."""
        return i32 if self.dtype is f32 else i64

    @property
    def mantissa(self) -> int:
        """Stored bits of the fraction."""
        return 23 if self.dtype is f32 else 52

    @property
    def bias(self) -> int:
        """The exponent field of 1.0."""
        return 127 if self.dtype is f32 else 1023

    @property
    def smallest_normal(self) -> float:
        return 2.0 ** (1 - self.bias)

    def real(self, value: float) -> Expr:
        """A literal of the format."""
        return const(value, self.dtype)

    def whole(self, value: int) -> Expr:
        """A literal of the integer of the same width."""
        return const(value, self.integer)

    def mul_add(self, a: Expr, b: Expr, c: Expr) -> Expr:
        """a*b + c, rounded once where the target can."""
        return mul_add(a, b, c) if self.fma else a * b + c

    def neg_mul_add(self, a: Expr, b: Expr, c: Expr) -> Expr:
        """c - a*b."""
        return mul_add(unary("neg", a), b, c) if self.fma else c - a * b

    def horner(self, x: Expr, coefficients: Sequence[float]) -> Expr:
        """The polynomial with `coefficients` from the lowest power up, by Horner's rule."""
        *rest, top = coefficients
        total = self.real(top)
        for c in reversed(rest):
            total = self.mul_add(total, x, self.real(c))
        return total

    def bits(self, x: Expr) -> Expr:
        return bitcast(x, self.integer)

    def from_bits(self, x: Expr) -> Expr:
        return bitcast(x, self.dtype)

    def with_sign(self, magnitude: Expr, sign: Expr) -> Expr:
        """`magnitude`, which is not negative, with the sign bit of `sign`."""
        return self.from_bits(self.bits(magnitude) | (self.bits(sign) & self.whole(self.integer.low)))

    def flip_sign(self, x: Expr, flags: Expr) -> Expr:
        """x with its sign bit inverted where the top bit of the integer `flags` is set."""
        return self.from_bits(self.bits(x) ^ (flags & self.whole(self.integer.low)))

    def to_exponent(self, n: Expr) -> Expr:
        """An integer moved to the exponent field."""
        return binary("shl", n, self.whole(self.mantissa))

    def at_most(self, limit: float, x: Expr) -> Expr:
        """min(limit, x); the limit stands first, so a minimum made of `a < b ? a : b` hands on a NaN."""
        return binary("min", self.real(limit), x)

    def at_least(self, limit: float, x: Expr) -> Expr:
        return binary("max", self.real(limit), x)

    def below(self, a: Expr, b: Expr | float) -> Expr:
        """a < b; false on NaN."""
        return compare("lt", a, b)

    def above(self, a: Expr, b: Expr | float) -> Expr:
        """a > b; false on NaN."""
        return compare("lt", self.real(b) if not isinstance(b, Expr) else b, a)

    def infinite_or(self, condition: Expr, value: Expr) -> Expr:
        """+infinity where `condition`, else `value`."""
        return select(condition, self.real(float("inf")), value)

    def sum_exactly(self, a: Expr, b: Expr) -> Pair:
        """a + b as a pair, for any order of magnitudes (Knuth)."""
        high = a + b
        from_b = high - a
        return high, (a - (high - from_b)) + (b - from_b)

    def sum_ordered(self, a: Expr, b: Expr) -> Pair:
        """a + b as a pair where |a| >= |b| (Dekker)."""
        high = a + b
        return high, b - (high - a)

    def product_exactly(self, a: Expr, b: Expr) -> Pair:
        """a * b as a pair: by mul_add where that rounds once, else by halves of the fractions (Dekker)."""
        high = a * b
        if self.fma:
            return high, mul_add(a, b, unary("neg", high))
        (a1, a2), (b1, b2) = self.halves(a), self.halves(b)
        return high, ((a1 * b1 - high) + a1 * b2 + a2 * b1) + a2 * b2

    def halves(self, x: Expr) -> Pair:
        """x as the sum of its upper fraction bits and the rest: products of halves are exact.

        An odd number of fraction bits is halved by rounding, since the sign of the rest then holds one of them.
        """
        lower = (self.mantissa + 2) // 2
        bits = self.bits(x) + self.whole(1 << lower - 1) if self.mantissa % 2 == 0 else self.bits(x)
        upper = self.from_bits(bits & self.whole(-(1 << lower)))
        return upper, x - upper
