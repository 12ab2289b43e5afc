"""The place of the extreme element along an axis: ArgMax ArgMin, as one reduction over (element, place) pairs.

    ArgMax(x, axis=1, keepdims=0).output
"""

from __future__ import annotations

import numpy as np

from edgec.expr import Combine, Expr, argument, as_expr, cast, compare, const, fresh, maximum, minimum, neutral, reduce, select
from edgec.graph import Op, Value
from edgec.lowering import Reader
from edgec.ops.accumulation import widen
from edgec.ops.elementwise import NUMERIC, require_kind
from edgec.ops.shape_arithmetic import Dim, normal_axis, require_elements
from edgec.types import TensorType, i32, i64, index


class ArgExtreme(Op):
    """Base of the two: the first place of the extreme element, or the last with select_last_index."""
    abstract = True
    data: Value
    axis: int = 0
    keepdims: int = 1
    select_last_index: int = 0

    def infer(self) -> TensorType:
        require_kind(self, self.data, NUMERIC, "the operand")
        self.require(self.data.shape, "a scalar has no axis to search")
        axis = normal_axis(self, self.axis, len(self.data.shape))
        require_elements(self, self.data.shape[axis], axis)
        return TensorType(i64, (*self.data.shape[:axis], *((1,) if self.keepdims else ()), *self.data.shape[axis + 1:]))

    def reference(self, data: np.ndarray) -> np.ndarray:
        place = self.find(np.flip(data, self.axis) if self.select_last_index else data, axis=self.axis)
        place = data.shape[self.axis] - 1 - place if self.select_last_index else place
        return (np.expand_dims(place, self.axis) if self.keepdims else np.asarray(place)).astype(np.int64)

    def lower(self, at: tuple[Expr, ...], data: Reader) -> Expr:
        axis, size = self.axis % data.rank, data.shape[self.axis]
        last = size - 1 if isinstance(size, int) else size.hi - 1
        k = fresh("k", 0, last)
        outer = at[axis + 1:] if self.keepdims else at[axis:]
        value = widen(data(*at[:axis], k, *outer))
        nowhere = const(-1 if self.select_last_index else 2 ** 31 - 1, i32)
        _, place = reduce(self._combine(value), (k,), (size,), (neutral(self.extreme, value.dtype), nowhere), (value, cast(k, i32)))
        return cast(minimum(maximum(place, 0), self._last(size)), i64)

    def _last(self, size: Dim) -> Expr:
        return const(size - 1, i32) if isinstance(size, int) else cast(as_expr(size, index) - 1, i32)

    def _combine(self, value: Expr) -> Combine:
        """Keep the better element; between equal ones the first place, or the last."""
        a, i, b, j = argument("a", value.dtype), argument("i", i32), argument("b", value.dtype), argument("j", i32)
        better = b < a if self.extreme == "max" else a < b
        earlier = j < i if self.select_last_index else i < j
        keep = better | (compare("eq", a, b) & earlier)
        return Combine((a, i), (b, j), (select(keep, a, b), select(keep, i, j)))


class ArgMax(ArgExtreme):
    """ONNX ArgMax: the place of the greatest element along an axis."""
    extreme = "max"
    find = staticmethod(np.argmax)


class ArgMin(ArgExtreme):
    """ONNX ArgMin: the place of the least element along an axis."""
    extreme = "min"
    find = staticmethod(np.argmin)
