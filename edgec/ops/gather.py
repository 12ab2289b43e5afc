"""Elements looked up by computed indices: Gather GatherElements GatherND; and chosen slices: Compress, ReverseSequence.

Negative indices count from the end. An index out of range, which ONNX forbids, is clamped to the edge in native code (nothing reads
outside a tensor) and an error in the interpreter.

    Gather(table, ids, axis=0).output
"""

from __future__ import annotations

from typing import Any

import numpy as np

from edgec.errors import Unsupported
from edgec.expr import Expr, as_expr, cast, maximum, minimum, select
from edgec.graph import Op, Value, constant
from edgec.lowering import Reader
from edgec.ops.elementwise import INTEGER, require_kind
from edgec.ops.shape_arithmetic import Dim, as_index, moved_elements, normal_axis, require_elements, same_dim, same_shape, shape_text
from edgec.types import TensorType, bool_, index


def looked_up(position: Expr, size: Dim, constants: tuple[Dim, ...] | None = None) -> Expr:
    """A data-dependent index made safe: negative ones count from the end, and all are clamped into [0, size).

    `constants` are the values the index can take, where known: then the test for negative ones may fall away.
    """
    at = cast(position, index)
    unsigned = constants is not None and all(isinstance(c, int) and c >= 0 for c in constants)
    wrapped = at if unsigned or position.dtype.kind == "u" else select(at < 0, at + size, at)
    return maximum(minimum(wrapped, as_index(size) - 1), 0)


def require_readable(op: Op, size: Dim, axis: int) -> None:
    """As `require_elements`; an axis whose size the model computes may become empty, since its memory is there for the largest size."""
    if isinstance(size, int) or not all("." in symbol.data for symbol in size.free):
        require_elements(op, size, axis)


def require_indices(op: Op, indices: Value, size: Dim, axis: int) -> None:
    """A TypeMismatch unless the indices are integers and, where they are constants, in range of an axis that is not empty."""
    require_kind(op, indices, INTEGER, "the indices")
    if indices.type.max_size:
        require_readable(op, size, axis)
    if indices.is_constant and isinstance(size, int) and indices.array.size:
        low, high = int(indices.array.min()), int(indices.array.max())
        op.require(-size <= low and high < size, f"index {low if low < -size else high} is outside [{-size}, {size - 1}]")


class Gather(Op):
    """ONNX Gather: the slices of `data` along an axis that the indices name (numpy.take)."""
    data: Value
    indices: Value
    axis: int = 0

    def infer(self) -> TensorType:
        axis = normal_axis(self, self.axis, len(self.data.shape))
        self.require(self.data.shape, "a scalar has no axis to gather along")
        require_indices(self, self.indices, self.data.shape[axis], axis)
        return self.data.type.with_shape((*self.data.shape[:axis], *self.indices.shape, *self.data.shape[axis + 1:]))

    def elements(self) -> Any:
        numbers = self.indices.elements
        if numbers is None or any(isinstance(i, Expr) for i in numbers):
            return None
        return moved_elements(self, self.data, np.array(numbers, np.int64).reshape(self.indices.shape))

    def reference(self, data: np.ndarray, indices: np.ndarray) -> np.ndarray:
        return np.take(data, indices.astype(np.int64), self.axis)

    def lower(self, at: tuple[Expr, ...], data: Reader, indices: Reader) -> Expr:
        axis = self.axis % data.rank
        inner, size = at[axis:axis + indices.rank], data.shape[axis]
        literal = self.indices.elements
        if literal is not None and len(literal) == 1 and isinstance(literal[0], int):
            row: Any = maximum(as_index(size) + literal[0], 0) if literal[0] < 0 else minimum(as_index(size) - 1, literal[0])
        elif self.indices.is_constant and isinstance(size, int) and int(self.indices.array.min(initial=0)) >= 0:
            row = cast(indices(*inner), index)  # known to be in range
        else:
            row = looked_up(indices(*inner), size, literal)
        return data(*at[:axis], row, *at[axis + indices.rank:])


class GatherElements(Op):
    """ONNX GatherElements: result[.., i, ..] = data[.., indices[.., i, ..], ..], along an axis (numpy.take_along_axis)."""
    data: Value
    indices: Value
    axis: int = 0

    def infer(self) -> TensorType:
        axis = normal_axis(self, self.axis, len(self.data.shape))
        self.require(len(self.indices.shape) == len(self.data.shape), f"ranks differ: {self.data.type} and {self.indices.type}")
        require_indices(self, self.indices, self.data.shape[axis], axis)
        for n, (size, limit) in enumerate(zip(self.indices.shape, self.data.shape)):
            self.require(n == axis or same_dim(size, limit) or (as_index(limit) - size).lo >= 0,
                         f"indices {shape_text(self.indices.shape)} exceed {shape_text(self.data.shape)} at axis {n}")
        return self.data.type.with_shape(self.indices.shape)

    def reference(self, data: np.ndarray, indices: np.ndarray) -> np.ndarray:
        place = list(np.indices(indices.shape, sparse=True))
        place[self.axis] = indices.astype(np.int64)
        return data[tuple(place)]

    def lower(self, at: tuple[Expr, ...], data: Reader, indices: Reader) -> Expr:
        place = list(at)
        place[self.axis] = looked_up(indices(*at), data.shape[self.axis], self.indices.elements)
        return data(*place)


class GatherND(Op):
    """ONNX GatherND: the slices of `data` named by the index tuples in the last axis of `indices`, after `batch_dims` shared axes."""
    data: Value
    indices: Value
    batch_dims: int = 0

    def infer(self) -> TensorType:
        require_kind(self, self.indices, INTEGER, "the indices")
        batch, data, indices = self.batch_dims, self.data.shape, self.indices.shape
        self.require(indices and data, "operands must have at least one axis")
        self.require(0 <= batch < min(len(data), len(indices)),
                     f"batch_dims {batch} is not below the ranks of {self.data.type} and {self.indices.type}")
        self.require(same_shape(data[:batch], indices[:batch]),
                     f"the first {batch} axes differ: {shape_text(data)} and {shape_text(indices)}")
        depth = indices[-1]
        self.require(isinstance(depth, int) and 1 <= depth <= len(data) - batch,
                     f"index tuples of {depth} for rank {len(data)} with {batch} batch axes")
        for axis in range(batch, batch + depth if self.indices.type.max_size else 0):
            require_readable(self, data[axis], axis)
        return self.data.type.with_shape((*indices[:-1], *data[batch + depth:]))

    def reference(self, data: np.ndarray, indices: np.ndarray) -> np.ndarray:
        batch, depth = self.batch_dims, indices.shape[-1]
        lead = tuple(np.arange(n).reshape((n,) + (1,) * (indices.ndim - 2 - k)) for k, n in enumerate(indices.shape[:batch]))
        return data[lead + tuple(indices[..., k].astype(np.int64) for k in range(depth))]

    def lower(self, at: tuple[Expr, ...], data: Reader, indices: Reader) -> Expr:
        batch, outer = self.batch_dims, at[:indices.rank - 1]
        named = [looked_up(indices(*outer, k), data.shape[batch + k]) for k in range(indices.shape[-1])]
        return data(*at[:batch], *named, *at[indices.rank - 1:])


class Compress(Op):
    """ONNX Compress: the slices along an axis (of the flattened tensor without one) whose condition is true; it must be a constant."""
    data: Value
    condition: Value
    axis: int | None = None

    def infer(self) -> TensorType:
        self.require(self.condition.dtype is bool_ and len(self.condition.shape) == 1,
                     f"the condition must be a bool vector, it is {self.condition.type}")
        shape = self.data.shape
        if self.axis is None:
            return self.data.type.with_shape((len(self.kept),))
        axis = normal_axis(self, self.axis, len(shape))
        return self.data.type.with_shape((*shape[:axis], len(self.kept), *shape[axis + 1:]))

    @property
    def kept(self) -> np.ndarray:
        """The places where the condition holds."""
        elements = self.condition.elements
        if elements is None:
            raise Unsupported("Compress: the condition depends on data, so the shape of the result is not known", loc=self._pending_loc,
                              hint="Where keeps the shape")
        size = self.data.shape[self.axis] if self.axis is not None else self.data.type.max_size
        self.require(self.data.type.is_static and len(elements) <= size, f"a condition of {len(elements)} for {size} elements")
        return np.flatnonzero(elements)

    def reference(self, data: np.ndarray, condition: np.ndarray) -> np.ndarray:
        return np.compress(condition, data, self.axis)

    def decompose(self) -> Value:
        from edgec.ops.reshape import Reshape
        data = self.data if self.axis is not None else Reshape(self.data, constant(np.array([-1]))).output
        return Gather(data, constant(self.kept.astype(np.int64)), axis=self.axis or 0).output


class ReverseSequence(Op):
    """ONNX ReverseSequence: in every batch entry, the first `sequence_lens` elements of the time axis in reverse order."""
    data: Value
    sequence_lens: Value
    batch_axis: int = 1
    time_axis: int = 0

    def infer(self) -> TensorType:
        rank = len(self.data.shape)
        self.require(rank >= 2, f"needs a batch and a time axis, the operand is {self.data.type}")
        time, batch = normal_axis(self, self.time_axis, rank, "time_axis"), normal_axis(self, self.batch_axis, rank, "batch_axis")
        self.require(time != batch, f"time and batch axis are both {time}")
        self.require(same_shape(self.sequence_lens.shape, (self.data.shape[batch],)),
                     f"sequence_lens {self.sequence_lens.type} for a batch of {self.data.shape[batch]}")
        return self.data.type

    def reference(self, data: np.ndarray, sequence_lens: np.ndarray) -> np.ndarray:
        moved = np.moveaxis(data, (self.batch_axis, self.time_axis), (0, 1))
        result = moved.copy()
        for row, source, length in zip(result, moved, sequence_lens):
            row[:length] = source[:length][::-1]
        return np.moveaxis(result, (0, 1), (self.batch_axis, self.time_axis))

    def lower(self, at: tuple[Expr, ...], data: Reader, sequence_lens: Reader) -> Expr:
        time, size = at[self.time_axis], data.shape[self.time_axis]
        length = minimum(cast(sequence_lens(at[self.batch_axis]), index), as_expr(size, index))
        place = list(at)
        place[self.time_axis] = maximum(select(time < length, length - 1 - time, time), 0)
        return data(*place)
