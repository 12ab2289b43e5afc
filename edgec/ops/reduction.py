"""Reductions over axes: sums, means, norms, extremes, products and logarithms of sums.

The axes are known at compile time; without any, all axes are reduced (or none with noop_with_empty_axes). 16-bit floats accumulate in f32.

    ReduceMean(x, axes, keepdims=0).output
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from edgec.expr import Expr, cast, select, unary
from edgec.graph import Op, Value
from edgec.lowering import Reader
from edgec.ops.accumulation import fold, narrow, rounded, widen
from edgec.ops.elementwise import NUMERIC, require_kind
from edgec.ops.shape_arithmetic import Dim, as_index, known_numbers, normal_axes, product
from edgec.types import TensorType, bool_, f32, f64, i64

Over = Callable[..., Expr]  # over(combine, f): the fold of f(element) over the reduced axes


class Reduction(Op):
    """Base of reductions; a subclass says `exact(x, axes)` in numpy (keeping the axes) and `formula(over, count)` as an expression."""
    abstract = True
    data: Value
    axes: Value | None = None
    keepdims: int = 1
    noop_with_empty_axes: int = 0
    kinds = NUMERIC
    in_float = False  # whether integers compute in floating point

    @property
    def reduced(self) -> tuple[int, ...]:
        """The reduced axes, counted from the front."""
        given = () if self.axes is None else known_numbers(self, self.axes, "the axes")
        rank = len(self.data.shape)
        if not given:
            return () if self.noop_with_empty_axes else tuple(range(rank))
        return tuple(sorted(normal_axes(self, given, rank)))

    def infer(self) -> TensorType:
        require_kind(self, self.data, self.kinds, "the operand")
        reduced = self.reduced
        shape = [1 if n in reduced else d for n, d in enumerate(self.data.shape) if self.keepdims or n not in reduced]
        return self.data.type.with_shape(tuple(shape))

    def reference(self, data: np.ndarray, axes: np.ndarray | None) -> np.ndarray:
        wide = data.astype(np.float64) if self.data.dtype.is_float or self.in_float else data
        with np.errstate(all="ignore"):
            result = np.asarray(self.exact(wide, self.reduced))
        return rounded(result if self.keepdims else np.squeeze(result, self.reduced), self.data.dtype)

    def lower(self, at: tuple[Expr, ...], data: Reader, axes: Reader | None) -> Expr:
        reduced, dtype = self.reduced, data.dtype
        kept = iter(at if not self.keepdims else [i for n, i in enumerate(at) if n not in reduced])
        place: list[Any] = [None if n in reduced else next(kept) for n in range(data.rank)]
        wide = (f64 if dtype.bits > 16 else f32) if self.in_float and not dtype.is_float else None

        def element(*taps: Expr) -> Expr:
            inner = iter(taps)
            value = data(*(next(inner) if i is None else i for i in place))
            return widen(value) if wide is None else cast(value, wide)

        def over(combine: str, f: Callable[[Expr], Expr] = lambda e: e) -> Expr:
            return fold([data.shape[n] for n in reduced], combine, lambda *taps: f(element(*taps)))
        return narrow(self.formula(over, product([data.shape[n] for n in reduced])), dtype)


class ReduceSum(Reduction):
    """ONNX ReduceSum: the sum."""

    def exact(self, x: np.ndarray, axes: tuple[int, ...]) -> np.ndarray:
        return np.sum(x, axes, keepdims=True)

    def formula(self, over: Over, count: Dim) -> Expr:
        return over("add")


class ReduceMean(Reduction):
    """ONNX ReduceMean: the sum over the number of elements; integers truncate, and sums of 32-bit ones have 64 bits."""

    def exact(self, x: np.ndarray, axes: tuple[int, ...]) -> np.ndarray:
        total, count = np.sum(x, axes, keepdims=True), int(np.prod([x.shape[n] for n in axes]))
        if x.dtype.kind == "f":
            return total / count if count else total * np.nan
        return np.sign(total) * (np.abs(total) // max(count, 1))

    def formula(self, over: Over, count: Dim) -> Expr:
        total = over("add", lambda e: cast(e, i64) if e.dtype.kind in "iu" and e.dtype.bits == 32 else e)
        if isinstance(count, int) and total.dtype.is_float:
            return total * (1.0 / count if count else np.nan)
        return total / cast(as_index(count), total.dtype)


class ReduceMax(Reduction):
    """ONNX ReduceMax: the greatest element; the least value of the type over nothing."""
    kinds = NUMERIC + "b"

    def exact(self, x: np.ndarray, axes: tuple[int, ...]) -> np.ndarray:
        return np.max(x, axes, keepdims=True, initial=-np.inf if x.dtype.kind == "f" else self.data.dtype.low)

    def formula(self, over: Over, count: Dim) -> Expr:
        return over("or" if self.data.dtype is bool_ else "max")


class ReduceMin(Reduction):
    """ONNX ReduceMin: the least element; the greatest value of the type over nothing."""
    kinds = NUMERIC + "b"

    def exact(self, x: np.ndarray, axes: tuple[int, ...]) -> np.ndarray:
        return np.min(x, axes, keepdims=True, initial=np.inf if x.dtype.kind == "f" else self.data.dtype.high)

    def formula(self, over: Over, count: Dim) -> Expr:
        return over("and" if self.data.dtype is bool_ else "min")


class ReduceProd(Reduction):
    """ONNX ReduceProd: the product."""

    def exact(self, x: np.ndarray, axes: tuple[int, ...]) -> np.ndarray:
        return np.prod(x, axes, keepdims=True)

    def formula(self, over: Over, count: Dim) -> Expr:
        return over("mul")


class ReduceL1(Reduction):
    """ONNX ReduceL1: the sum of magnitudes."""

    def exact(self, x: np.ndarray, axes: tuple[int, ...]) -> np.ndarray:
        return np.sum(np.abs(x), axes, keepdims=True)

    def formula(self, over: Over, count: Dim) -> Expr:
        return over("add", lambda e: e if e.dtype.kind == "u" else unary("abs", e))


class ReduceL2(Reduction):
    """ONNX ReduceL2: the square root of the sum of squares."""
    in_float = True

    def exact(self, x: np.ndarray, axes: tuple[int, ...]) -> np.ndarray:
        return np.sqrt(np.sum(x * x, axes, keepdims=True))

    def formula(self, over: Over, count: Dim) -> Expr:
        return unary("sqrt", over("add", lambda e: e * e))


class ReduceSumSquare(Reduction):
    """ONNX ReduceSumSquare: the sum of squares."""

    def exact(self, x: np.ndarray, axes: tuple[int, ...]) -> np.ndarray:
        return np.sum(x * x, axes, keepdims=True)

    def formula(self, over: Over, count: Dim) -> Expr:
        return over("add", lambda e: e * e)


class ReduceLogSum(Reduction):
    """ONNX ReduceLogSum: the logarithm of the sum."""
    in_float = True

    def exact(self, x: np.ndarray, axes: tuple[int, ...]) -> np.ndarray:
        return np.log(np.sum(x, axes, keepdims=True))

    def formula(self, over: Over, count: Dim) -> Expr:
        return unary("log", over("add"))


class ReduceLogSumExp(Reduction):
    """ONNX ReduceLogSumExp: the logarithm of the sum of e^x, computed relative to the greatest element so that nothing overflows."""
    in_float = True

    def exact(self, x: np.ndarray, axes: tuple[int, ...]) -> np.ndarray:
        return np.logaddexp.reduce(x, axis=axes, keepdims=True) if axes else x.copy()

    def formula(self, over: Over, count: Dim) -> Expr:
        top = over("max")
        top = select(unary("isinf", top), 0.0, top)
        return unary("log", over("add", lambda e: unary("exp", e - top))) + top
