"""Stores into a copy of a tensor: ScatterElements ScatterND TensorScatter MaxUnpool.

An update walks its points in order and stores each to the place that the indices name, merged with what is there where a reduction is asked
for. What two points of one place leave behind without a reduction is the last one's value.

    ScatterElements(data, indices, updates, axis=1, reduction="add").output
"""

from __future__ import annotations

import math

import numpy as np

from edgec.errors import Unsupported
from edgec.expr import Expr, as_expr, cast, const, maximum, minimum
from edgec.graph import Op, Value, constant
from edgec.lowering import Reader, Update
from edgec.ops.gather import looked_up
from edgec.ops.shape_arithmetic import known_numbers, normal_axis, require_elements, same_dim, same_shape, shape_text
from edgec.types import TensorType, bool_, i32, i64, index

REDUCTIONS = {"none": "", "add": "add", "mul": "mul", "min": "min", "max": "max"}
UFUNCS = {"add": np.add, "mul": np.multiply, "min": np.minimum, "max": np.maximum}


def merged(result: np.ndarray, places: tuple[np.ndarray, ...], values: np.ndarray, reduction: str) -> np.ndarray:
    """`result` with the values stored to the places one after the other, floats in float64."""
    if reduction == "none":
        result[places] = values
        return result
    wide = result.astype(np.float64) if result.dtype.kind not in "iub" else result
    UFUNCS[reduction].at(wide, places, values.astype(wide.dtype))
    return wide.astype(result.dtype)


class Scatter(Op):
    """Base of the two: the reduction, and what it can be done on."""

    abstract = True

    def check(self) -> None:
        """Element types and the reduction's name."""
        self.require(self.reduction in REDUCTIONS, f"reduction is {self.reduction!r}", hint="one of " + ", ".join(REDUCTIONS))
        self.require(self.indices.dtype in (i32, i64), f"the indices must be i32 or i64, they are {self.indices.type}")
        self.require(self.data.dtype is self.updates.dtype, f"element types differ: {self.data.dtype} and {self.updates.dtype}")
        self.require(self.reduction == "none" or self.data.dtype is not bool_, f"cannot {self.reduction} {self.data.dtype}")


class ScatterElements(Scatter):
    """ONNX ScatterElements: each update stored where its index says along an axis, at its own place along the others."""

    data: Value
    indices: Value
    updates: Value
    axis: int = 0
    reduction: str = "none"

    def infer(self) -> TensorType:
        self.check()
        rank = len(self.data.shape)
        axis = normal_axis(self, self.axis, rank)
        self.require(same_shape(self.indices.shape, self.updates.shape),
                     f"indices {self.indices.type} and updates {self.updates.type} differ in shape")
        self.require(len(self.indices.shape) == rank, f"indices of rank {len(self.indices.shape)} for {self.data.type}")
        for n, (size, most) in enumerate(zip(self.indices.shape, self.data.shape)):
            fits = n == axis or same_dim(size, most) or isinstance(size, int) and isinstance(most, int) and size <= most
            self.require(fits, f"indices {shape_text(self.indices.shape)} exceed {shape_text(self.data.shape)} at axis {n}")
        return self.data.type

    @property
    def points(self) -> tuple:
        """The extents of the walk."""
        return self.updates.shape

    def reference(self, data: np.ndarray, indices: np.ndarray, updates: np.ndarray) -> np.ndarray:
        places = list(np.indices(indices.shape, sparse=True))
        places[self.axis] = indices.astype(np.int64)
        return merged(data.copy(), tuple(np.broadcast_arrays(*places)), updates, self.reduction)

    def update(self, at: tuple[Expr, ...], data: Reader, indices: Reader, updates: Reader) -> Update:
        place = list(at)
        place[self.axis] = looked_up(indices(*at), data.shape[self.axis])
        return Update(self.data, tuple(place), updates(*at), REDUCTIONS[self.reduction])


class ScatterND(Scatter):
    """ONNX ScatterND: each slice of the updates stored where the index tuple in the last axis of `indices` says."""

    data: Value
    indices: Value
    updates: Value
    reduction: str = "none"

    def infer(self) -> TensorType:
        self.check()
        data, indices, updates = self.data.shape, self.indices.shape, self.updates.shape
        self.require(indices and data, "operands must have at least one axis")
        depth = indices[-1]
        self.require(isinstance(depth, int) and 1 <= depth <= len(data), f"index tuples of {depth} for rank {len(data)}")
        self.require(same_shape(updates, (*indices[:-1], *data[depth:])),
                     f"updates {self.updates.type} do not fit indices {self.indices.type} into {self.data.type}")
        for axis in range(depth if self.indices.type.max_size else 0):
            require_elements(self, data[axis], axis)
        return self.data.type

    @property
    def points(self) -> tuple:
        """The extents of the walk."""
        return self.updates.shape

    def reference(self, data: np.ndarray, indices: np.ndarray, updates: np.ndarray) -> np.ndarray:
        places = tuple(indices[..., k].astype(np.int64) for k in range(indices.shape[-1]))
        return merged(data.copy(), places, updates, self.reduction)

    def update(self, at: tuple[Expr, ...], data: Reader, indices: Reader, updates: Reader) -> Update:
        lead, depth = at[:indices.rank - 1], indices.shape[-1]
        named = [looked_up(indices(*lead, k), data.shape[k]) for k in range(depth)]
        return Update(self.data, (*named, *at[indices.rank - 1:]), updates(*at), REDUCTIONS[self.reduction])


class TensorScatter(Op):
    """ONNX TensorScatter: the update in place of a run of the cache along an axis, starting at `write_indices` of each batch entry."""

    past_cache: Value
    new: Value
    write_indices: Value | None = None
    axis: int = -2
    mode: str = "linear"

    def infer(self) -> TensorType:
        cache, new = self.past_cache, self.new
        axis = normal_axis(self, self.axis, cache.type.rank)
        self.require(self.mode in ("linear", "circular"), f"mode is {self.mode!r}")
        self.require(axis > 0, "the axis cannot be the batch axis")
        self.require(cache.dtype is new.dtype, f"element types differ: {cache.dtype} and {new.dtype}")
        fits = cache.type.rank == new.type.rank and all(n == axis or same_dim(a, b) for n, (a, b) in enumerate(zip(cache.shape, new.shape)))
        self.require(fits, f"the update {new.type} does not fit {cache.type} beside axis {axis}")
        self.require(self.write_indices is None or same_shape(self.write_indices.shape, cache.shape[:1]),
                     f"one index a batch entry is needed for {cache.type}")
        return cache.type

    def reference(self, cache: np.ndarray, new: np.ndarray, write_indices: np.ndarray | None) -> np.ndarray:
        result = np.moveaxis(cache.copy(), self.axis, 1)
        rows, size = np.moveaxis(new, self.axis, 1), result.shape[1]
        for b, start in enumerate([0] * len(result) if write_indices is None else write_indices):
            places = int(start) + np.arange(rows.shape[1])
            if self.mode == "linear" and (places.size and places[-1] >= size):
                raise ValueError(f"a run of {rows.shape[1]} from {start} leaves the {size} places of the axis")
            result[b, places % size] = rows[b]
        return np.ascontiguousarray(np.moveaxis(result, 1, self.axis))

    @property
    def points(self) -> tuple:
        """The extents of the walk."""
        return self.new.shape

    def update(self, at: tuple[Expr, ...], cache: Reader, new: Reader, write_indices: Reader | None) -> Update:
        axis = self.axis % len(at)
        size = as_expr(cache.shape[axis], index)
        start = const(0, index) if write_indices is None else cast(write_indices(at[0]), index)
        place = minimum(maximum(start, 0), size) + at[axis]
        if self.mode == "circular":
            place = place % size
        return Update(self.past_cache, (*at[:axis], place, *at[axis + 1:]), new(*at), guards=((place, size),))


class MaxUnpool(Op):
    """ONNX MaxUnpool: each element at the place in the larger tensor that its index names, zero elsewhere."""

    x: Value
    indices: Value
    output_shape: Value | None = None
    kernel_shape: tuple
    pads: tuple = ()
    strides: tuple = ()

    def infer(self) -> TensorType:
        self.require(same_shape(self.x.shape, self.indices.shape), f"indices {self.indices.type} for {self.x.type}")
        self.require(self.indices.dtype is i64, f"the indices must be i64, they are {self.indices.type}")
        spatial = self.x.type.rank - 2
        self.require(spatial > 0 and len(self.kernel_shape) == spatial, f"a kernel of {len(self.kernel_shape)} axes for {self.x.type}")
        if not self.x.type.is_static:
            raise Unsupported("MaxUnpool of a symbolic shape", loc=self._pending_loc, hint="give the dimension a fixed size")
        return self.x.type.with_shape(self._shape(spatial))

    def _inner(self, spatial: int) -> tuple[int, ...]:
        """The shape whose places the indices count: that of the pooled tensor."""
        strides, pads = self.strides or (1,) * spatial, self.pads or (0,) * 2 * spatial
        sizes = zip(self.x.shape[2:], strides, self.kernel_shape, pads[:spatial], pads[spatial:])
        return (*self.x.shape[:2], *((n - 1) * s + k - a - b for n, s, k, a, b in sizes))

    def _shape(self, spatial: int) -> tuple[int, ...]:
        inner = self._inner(spatial)
        if self.output_shape is None:
            return inner
        shape = known_numbers(self, self.output_shape, "the output shape")
        self.require(len(shape) == len(inner) and all(a >= b for a, b in zip(shape, inner)),
                     f"the output shape {shape_text(shape)} does not hold {shape_text(inner)}")
        return tuple(shape)

    def reference(self, x: np.ndarray, indices: np.ndarray, output_shape: np.ndarray | None) -> np.ndarray:
        inner = self._inner(x.ndim - 2)
        flat = np.zeros(math.prod(inner), x.dtype)
        flat[indices.ravel()] = x.ravel()
        result = np.zeros(self.output.shape, x.dtype)
        result[tuple(slice(n) for n in inner)] = flat.reshape(inner)
        return result

    def decompose(self) -> Value:
        """A scatter into zeros, and a margin of zeros where a larger shape is wanted."""
        from edgec.ops.reshape import Reshape
        from edgec.ops.slicing import Pad
        inner = self._inner(self.x.type.rank - 2)
        zeros = constant(np.zeros(math.prod(inner), self.x.dtype.numpy))
        flat = [Reshape(v, constant(np.array([-1]))).output for v in (self.indices, self.x)]
        full = Reshape(ScatterElements(zeros, *flat).output, constant(np.array(inner))).output
        margins = [0] * len(inner) + [a - b for a, b in zip(self.output.shape, inner)]
        return full if not any(margins) else Pad(full, constant(np.array(margins))).output
