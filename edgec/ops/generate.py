"""Tensors made from a rule: ConstantOfShape Range EyeLike OneHot Trilu.

    Range(start, limit, delta).output        # all three known at compile time
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from edgec.expr import Expr, as_expr, cast, compare, const, dim, floordiv, maximum, select
from edgec.graph import Op, Value, default_elements
from edgec.lowering import Reader
from edgec.onnx.tensor import dtype_of_code
from edgec.ops.elementwise import require_kind
from edgec.ops.shape_arithmetic import MAX_ELEMENTS, Dim, as_index, known, known_numbers, require_sizes
from edgec.types import TensorType, bf16, dtype_of, f16, f32, i64, index


class ConstantOfShape(Op):
    """ONNX ConstantOfShape: a tensor of the given shape whose elements are all `value` (f32 zero without one)."""
    shape: Value
    value: Any = None

    @property
    def element(self) -> np.ndarray:
        return np.zeros((), np.float32) if self.value is None else np.asarray(self.value).reshape(-1)[0]

    def infer(self) -> TensorType:
        self.require(self.value is None or np.asarray(self.value).size == 1, "value must be one element")
        shape = known(self, self.shape, "the shape")
        require_sizes(self, shape)
        return TensorType(dtype_of(self.element.dtype), tuple(map(dim, shape)))

    def elements(self) -> Any:
        type_ = self.output.type
        return (self.element.item(),) * type_.max_size if type_.is_static and type_.max_size <= MAX_ELEMENTS else None

    def reference(self, shape: np.ndarray) -> np.ndarray:
        return np.full(tuple(int(d) for d in shape), self.element)

    def lower(self, at: tuple[Expr, ...], shape: Reader) -> Expr:
        return const(self.element.item(), self.output.dtype)


class Range(Op):
    """ONNX Range: start, start + delta, start + 2 delta ... up to before limit; 16-bit floats compute in f32."""
    start: Value
    limit: Value
    delta: Value
    stash_type: int = 1

    def infer(self) -> TensorType:
        for value in (self.limit, self.delta):
            self.require(value.dtype is self.start.dtype, f"element types differ: {self.start.dtype} and {value.dtype}")
        require_kind(self, self.start, "fiu", "start")
        start, limit = known(self, self.start, "start")[0], known(self, self.limit, "limit")[0]
        delta = known_numbers(self, self.delta, "delta")[0]
        self.require(delta != 0, "delta is 0")
        return TensorType(self.start.dtype, (_count(start, limit, delta),))

    def elements(self) -> Any:
        start, delta = self.start.elements[0], self.delta.elements[0]
        count = self.output.shape[0]
        if isinstance(count, Expr) or count > MAX_ELEMENTS or not self.start.dtype.is_integer:
            return default_elements(self)
        return tuple(dim(start + n * delta) for n in range(count))

    def reference(self, start: np.ndarray, limit: np.ndarray, delta: np.ndarray) -> np.ndarray:
        first, last, step = (v.reshape(()).astype(np.float64 if self.start.dtype.is_float else np.int64) for v in (start, limit, delta))
        count = max(0, math.ceil((last - first) / step)) if self.start.dtype.is_float else len(range(int(first), int(last), int(step)))
        return (first + np.arange(count) * step).astype(start.dtype)

    def lower(self, at: tuple[Expr, ...], start: Reader, limit: Reader, delta: Reader) -> Expr:
        dtype = self.start.dtype
        wide = f32 if dtype in (f16, bf16) else dtype
        first, step = (cast(v(*[0] * v.rank), wide) for v in (start, delta))
        return cast(first + cast(at[0], wide) * step, dtype)


def _count(start: Dim, limit: Dim, delta: Any) -> Dim:
    """How many elements a range has: max(0, ceil((limit - start) / delta))."""
    if any(isinstance(v, float) for v in (start, limit, delta)):
        return max(0, math.ceil((limit - start) / delta))
    span = as_expr(limit, index) - start if delta > 0 else as_expr(start, index) - limit
    return dim(maximum(floordiv(span + (abs(delta) - 1), abs(delta)), 0))


class EyeLike(Op):
    """ONNX EyeLike: ones on the k-th diagonal of a matrix of the operand's shape, zeros elsewhere."""
    x: Value
    dtype: int | None = None
    k: int = 0

    def infer(self) -> TensorType:
        self.require(len(self.x.shape) == 2, f"needs a matrix, the operand is {self.x.type}")
        return self.x.type.with_dtype(self.x.dtype if self.dtype is None else dtype_of_code(self.dtype, "the result", self._pending_loc))

    def elements(self) -> None:
        return None

    def reference(self, x: np.ndarray) -> np.ndarray:
        return np.eye(*x.shape, k=self.k).astype(self.output.dtype.numpy)

    def lower(self, at: tuple[Expr, ...], x: Reader) -> Expr:
        row, column = at
        return select(compare("eq", row + self.k, column), const(1, self.output.dtype), const(0, self.output.dtype))


class OneHot(Op):
    """ONNX OneHot: a new axis of size `depth`, `values[1]` at the place each index names and `values[0]` elsewhere."""
    indices: Value
    depth: Value
    values: Value
    axis: int = -1

    def infer(self) -> TensorType:
        rank = len(self.indices.shape)
        require_kind(self, self.indices, "fiu", "the indices")
        self.require(-rank - 1 <= self.axis <= rank, f"axis {self.axis} is outside [{-rank - 1}, {rank}]")
        self.require(len(self.values.shape) == 1 and self.values.type.max_size == 2,
                     f"values must be (off, on), they are {self.values.type}")
        size = known(self, self.depth, "the depth")[0]
        size = dim(size if isinstance(size, Expr) else int(size))
        require_sizes(self, (size,))
        shape = self.indices.shape
        return self.values.type.with_shape((*shape[:self.place], size, *shape[self.place:]))

    @property
    def place(self) -> int:
        """The new axis, counted from the front."""
        return self.axis % (len(self.indices.shape) + 1)

    def reference(self, indices: np.ndarray, depth: np.ndarray, values: np.ndarray) -> np.ndarray:
        size = int(depth.reshape(()))
        whole = indices.astype(np.int64)
        whole = np.expand_dims(np.where(whole < 0, whole + size, whole), self.place)
        classes = np.arange(size).reshape((size,) + (1,) * (indices.ndim - self.place))
        return np.where(whole == classes, values[1], values[0])

    def lower(self, at: tuple[Expr, ...], indices: Reader, depth: Reader, values: Reader) -> Expr:
        size = self.output.shape[self.place]
        named = cast(indices(*at[:self.place], *at[self.place + 1:]), i64)
        named = select(named < 0, named + cast(as_index(size), i64), named)
        return select(compare("eq", named, cast(at[self.place], i64)), values(1), values(0))


class Trilu(Op):
    """ONNX Trilu: the upper (or lower) triangle of matrices from the k-th diagonal on, zeros elsewhere."""
    x: Value
    k: Value | None = None
    upper: int = 1

    def infer(self) -> TensorType:
        self.require(len(self.x.shape) >= 2, f"needs matrices, the operand is {self.x.type}")
        self.require(self.k is None or (self.k.dtype is i64 and self.k.type.max_size == 1), "k must be an i64 scalar")
        return self.x.type

    def reference(self, x: np.ndarray, k: np.ndarray | None) -> np.ndarray:
        diagonal = 0 if k is None else int(k.reshape(()))
        return (np.triu if self.upper else np.tril)(x, diagonal)

    def lower(self, at: tuple[Expr, ...], x: Reader, k: Reader | None) -> Expr:
        *_, row, column = at
        zero = const(0, x.dtype)
        if k is None or self.k.elements is not None:
            diagonal = row + (0 if k is None else self.k.elements[0])
            kept = diagonal <= column if self.upper else column <= diagonal
        else:
            offset, shift = cast(column - row, i64), k(*[0] * k.rank)
            kept = shift <= offset if self.upper else offset <= shift
        return select(kept, x(*at), zero)
