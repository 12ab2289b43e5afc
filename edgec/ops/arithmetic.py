"""Arithmetic on elements: + - * /, remainders, powers, signs, minima and maxima, with numpy broadcasting.

Integer division truncates as in C; a divisor of 0 counts as 1 and least / -1 wraps: nothing traps. Integer results wrap.

    Add(x, y).output; Mod(a, b, fmod=1).output
"""

from __future__ import annotations

import operator
from typing import Any

import numpy as np

from edgec.expr import Expr, binary, cast, compare, const, floordiv, is_const, maximum, minimum, select, unary
from edgec.graph import Value
from edgec.lowering import scalar
from edgec.ops.elementwise import FLOAT, SIGNED, Binary, Pointwise, Unary, Variadic, in_double, require_kind
from edgec.ops.shape_arithmetic import Dim, broadcast_shapes
from edgec.types import TensorType, f32, f64, u32


class Add(Binary):
    """ONNX Add: a + b."""
    widened = False
    exact = np.add
    symbolic = operator.add

    def formula(self, a: Expr, b: Expr) -> Expr:
        return a + b


class Sub(Binary):
    """ONNX Sub: a - b."""
    widened = False
    exact = np.subtract
    symbolic = operator.sub

    def formula(self, a: Expr, b: Expr) -> Expr:
        return a - b


class Mul(Binary):
    """ONNX Mul: a * b."""
    widened = False
    exact = np.multiply
    symbolic = operator.mul

    def formula(self, a: Expr, b: Expr) -> Expr:
        return a * b


class Div(Binary):
    """ONNX Div: a / b; integers truncate toward zero, and 0 divides as 1."""
    widened = False

    @staticmethod
    def symbolic(a: Dim, b: Dim) -> Dim | None:
        return floordiv(a, b) if isinstance(b, int) and b > 0 and getattr(a, "lo", a) >= 0 else None

    def exact(self, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        if a.dtype.kind == "f":
            return a / b
        divisor = np.where(b == 0, np.ones_like(b), b)
        floor = a // divisor
        return floor + ((floor * divisor != a) & ((a < 0) != (divisor < 0)))

    def formula(self, a: Expr, b: Expr) -> Expr:
        return a / b


class Mod(Binary):
    """ONNX Mod: the remainder with the sign of b (fmod=0) or of a (fmod=1); integers mod 0 are 0."""
    fmod: int = 0

    @staticmethod
    def symbolic(a: Dim, b: Dim) -> Dim | None:
        return a % b if isinstance(b, int) and b > 0 and getattr(a, "lo", a) >= 0 else None

    def exact(self, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        if self.fmod:
            return np.fmod(a, b)
        return np.mod(a, b)

    def formula(self, a: Expr, b: Expr) -> Expr:
        rest = a % b
        if self.fmod or a.dtype.kind == "u":
            return rest
        return select(compare("ne", rest, 0) & ((rest < 0) ^ (b < 0)), rest + b, rest)


class Pow(Pointwise):
    """ONNX Pow: x ** y in the element type of x; y may have another. Integer powers wrap, negative ones truncate."""
    x: Value
    y: Value

    def infer(self) -> TensorType:
        for value in (self.x, self.y):
            require_kind(self, value, self.kinds, f"operand %{value.name}")
        return TensorType(self.x.dtype, broadcast_shapes(self, self.x.shape, self.y.shape))

    def reference(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        if x.dtype.kind in "iu" and y.dtype.kind in "iu":
            return _integer_power(*np.broadcast_arrays(x, y.astype(np.int64)))
        with np.errstate(all="ignore"):
            power = np.power(x.astype(np.float64), y.astype(np.float64))
            return power.astype(x.dtype) if self.x.dtype.is_float else np.trunc(power).astype(np.int64).astype(x.dtype)

    def formula(self, x: Expr, y: Expr) -> Expr:
        if x.dtype.is_integer and y.dtype.is_integer:
            return integer_power(x, y)
        wide = f64 if x.dtype.is_integer and x.dtype.bits > 16 else x.dtype if x.dtype.is_float else f32
        literal = scalar(self.y)
        special = None if literal is None else _special_power(cast(x, wide), float(literal.data))
        power = binary("pow", cast(x, wide), cast(y, wide)) if special is None else special
        return cast(power, x.dtype)


def _integer_power(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Python integers, reduced to the width of the type; an exponent above 63 only keeps its parity."""
    modulus = 1 << (8 * x.dtype.itemsize)

    def power(a: int, n: int) -> int:
        if n < 0:
            return 0 if abs(a) != 1 else a if n % 2 else 1
        return pow(a, n if n < 64 else 64 + n % 2, modulus)
    found = np.array([power(int(a), int(n)) % modulus for a, n in zip(x.ravel(), y.ravel())], dtype=np.uint64)
    return found.astype(x.dtype).reshape(x.shape)


def integer_power(x: Expr, y: Expr) -> Expr:
    """x ** y by repeated squaring over the bits of y, wrapping; exponents above 63 count as 64 or 65, of the same parity."""
    if is_const(y) and 0 <= y.data < 64:
        return _unrolled_power(x, int(y.data))
    odd = cast(y & 1, u32)
    bits = select(y < 64, cast(y, u32), odd + 64)
    result, square = const(1, x.dtype), x
    for bit in range(7):
        result = select(compare("ne", binary("shr", bits, bit) & 1, 0), result * square, result)
        square = square * square
    return result if y.dtype.kind == "u" else select(y < 0, _negative_power(x, compare("ne", odd, 0)), result)


def _negative_power(x: Expr, odd: Expr) -> Expr:
    """The truncated reciprocal of a power: only 1 and -1 have one that is not 0."""
    zero_or_one = select(compare("eq", x, 1), const(1, x.dtype), 0)
    return zero_or_one if x.dtype.kind == "u" else select(compare("eq", x, -1), select(odd, const(-1, x.dtype), 1), zero_or_one)


def _unrolled_power(x: Expr, n: int) -> Expr:
    result, square = None, x
    while n:
        if n & 1:
            result = square if result is None else result * square
        square, n = square * square if n > 1 else square, n >> 1
    return const(1, x.dtype) if result is None else result


def _special_power(x: Expr, exponent: float) -> Expr | None:
    """Powers that need no logarithm: small whole ones, roots and reciprocals."""
    if exponent == int(exponent) and abs(exponent) <= 4:
        power = _unrolled_power(x, abs(int(exponent)))
        return power if exponent >= 0 else 1.0 / power
    if exponent in (0.5, -0.5):
        root = unary("sqrt", x)
        return root if exponent > 0 else 1.0 / root
    return None


class Neg(Unary):
    """ONNX Neg: -x."""
    kinds = SIGNED
    widened = False
    exact = np.negative

    def formula(self, x: Expr) -> Expr:
        return -x


class Abs(Unary):
    """ONNX Abs: |x|."""
    widened = False
    exact = np.abs

    def formula(self, x: Expr) -> Expr:
        return x if x.dtype.kind == "u" else unary("abs", x)


class Sign(Unary):
    """ONNX Sign: -1, 0 or 1."""
    widened = False
    exact = np.sign

    def formula(self, x: Expr) -> Expr:
        positive = select(x > 0, const(1, x.dtype), 0)
        return positive if x.dtype.kind == "u" else select(x < 0, const(-1, x.dtype), positive)


class Reciprocal(Unary):
    """ONNX Reciprocal: 1 / x."""
    kinds = FLOAT
    exact = np.reciprocal

    def formula(self, x: Expr) -> Expr:
        return 1.0 / x


class Sqrt(Unary):
    """ONNX Sqrt: the square root; NaN below zero."""
    kinds = FLOAT
    exact = np.sqrt

    def formula(self, x: Expr) -> Expr:
        return unary("sqrt", x)


class Min(Variadic):
    """ONNX Min: the least of all operands."""
    widened = False
    merge_exact = np.minimum
    merge = staticmethod(minimum)
    symbolic = staticmethod(lambda first, *rest: _fold_dims(minimum, first, rest))


class Max(Variadic):
    """ONNX Max: the greatest of all operands."""
    widened = False
    merge_exact = np.maximum
    merge = staticmethod(maximum)
    symbolic = staticmethod(lambda first, *rest: _fold_dims(maximum, first, rest))


def _fold_dims(function: Any, first: Dim, rest: tuple[Dim, ...]) -> Dim:
    for other in rest:
        first = function(first, other)
    return first


class Sum(Variadic):
    """ONNX Sum: the sum of all operands, added in order."""
    kinds = FLOAT
    merge_exact = np.add
    merge = staticmethod(operator.add)


class Mean(Variadic):
    """ONNX Mean: the sum of all operands over their number."""
    kinds = FLOAT
    merge_exact = np.add
    merge = staticmethod(operator.add)

    def reference(self, arrays: tuple[np.ndarray, ...]) -> np.ndarray:
        return in_double(lambda *wide: sum(wide) / len(wide), self.result_dtype(), *arrays)

    def formula(self, *values: Expr) -> Expr:
        return super().formula(*values) * (1.0 / len(values))


class Clip(Pointwise):
    """ONNX Clip: min(max(x, low), high), where either bound may be absent; high wins when it is below low."""
    x: Value
    low: Value | None = None
    high: Value | None = None
    widened = False

    def infer(self) -> TensorType:
        require_kind(self, self.x, self.kinds, "operand")
        for bound in (self.low, self.high):
            if bound is not None:
                self.require(bound.dtype is self.x.dtype, f"the bound has type {bound.dtype}, the operand {self.x.dtype}")
                self.require(bound.type.max_size == 1, f"a bound must be a scalar, it is {bound.type}")
        return self.x.type

    def elements(self) -> Any:
        return None

    def reference(self, x: np.ndarray, low: np.ndarray | None, high: np.ndarray | None) -> np.ndarray:
        raised = x if low is None else np.maximum(x, low.reshape(()))
        return raised if high is None else np.minimum(raised, high.reshape(()))

    def lower(self, at: Any, x: Any, low: Any, high: Any) -> Expr:
        value = x(*at)
        value = value if low is None else maximum(value, low(*[0] * low.rank))
        return value if high is None else minimum(value, high(*[0] * high.rank))
