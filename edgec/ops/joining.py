"""Putting tensors together and taking them apart along an axis: Concat Split; and making copies: Tile Expand.

    Concat((a, b), axis=-1).output
"""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np

from edgec.errors import Unsupported
from edgec.expr import Expr, dim, select
from edgec.graph import Op, Value
from edgec.lowering import Reader
from edgec.ops.shape_arithmetic import (
    Dim,
    as_index,
    broadcast_shapes,
    exact_quotient,
    known,
    moved_elements,
    normal_axis,
    require_sizes,
    same_dim,
    shape_text,
)
from edgec.types import TensorType


def same_but(a: tuple[Dim, ...], b: tuple[Dim, ...], axis: int) -> bool:
    """Whether two shapes agree everywhere but at `axis`."""
    return len(a) == len(b) and all(n == axis or same_dim(x, y) for n, (x, y) in enumerate(zip(a, b)))


class Concat(Op):
    """ONNX Concat: tensors one after the other along an axis."""
    inputs: tuple[Value, ...] = ()
    axis: int

    def infer(self) -> TensorType:
        self.require(self.inputs, "needs at least one operand")
        first = self.inputs[0]
        axis = normal_axis(self, self.axis, len(first.shape))
        for value in self.inputs[1:]:
            self.require(value.dtype is first.dtype, f"element types differ: {first.dtype} and {value.dtype}")
            self.require(same_but(first.shape, value.shape, axis),
                         f"{shape_text(first.shape)} and {shape_text(value.shape)} differ beside axis {axis}")
        total = dim(sum(v.shape[axis] for v in self.inputs))
        return first.type.with_shape((*first.shape[:axis], total, *first.shape[axis + 1:]))

    def elements(self) -> Any:
        return moved_elements(self, self.inputs)

    def reference(self, arrays: tuple[np.ndarray, ...]) -> np.ndarray:
        return np.concatenate(arrays, self.axis)

    def lower(self, at: tuple[Expr, ...], readers: tuple[Reader, ...]) -> Expr:
        axis = self.axis % len(at)
        start: Dim = 0
        pieces = []  # (first index past the piece, its value)
        for x in readers:
            if same_dim(x.shape[axis], 0):
                continue
            local = (*at[:axis], at[axis] - start, *at[axis + 1:])
            start = start + x.shape[axis]
            pieces.append((start, x(*local, fill=0)))
        value = pieces[-1][1] if pieces else readers[0](*at)
        for stop, piece in reversed(pieces[:-1]):
            value = select(at[axis] < stop, piece, value)
        return value


class Split(Op):
    """ONNX Split: pieces of the given sizes along an axis, or `num_outputs` equal ones with a smaller last one."""
    data: Value
    split: Value | None = None
    axis: int = 0
    num_outputs: int | None = None

    def infer(self) -> tuple[TensorType, ...]:
        axis, shape = normal_axis(self, self.axis, len(self.data.shape)), self.data.shape
        sizes = self.sizes
        require_sizes(self, sizes)
        if self.split is not None:
            self.require(same_dim(dim(sum(sizes)), shape[axis]), f"the pieces {shape_text(sizes)} do not add up to {shape[axis]}")
            self.require(self.num_outputs in (None, len(sizes)), f"{len(sizes)} pieces for {self.num_outputs} results")
        return tuple(self.data.type.with_shape((*shape[:axis], s, *shape[axis + 1:])) for s in sizes)

    @property
    def sizes(self) -> tuple[Dim, ...]:
        """The size of each piece along the axis."""
        if self.split is not None:
            return known(self, self.split, "the sizes of the pieces")
        self.require(self.num_outputs and self.num_outputs > 0, "needs the sizes of the pieces, or num_outputs")
        total, count = self.data.shape[self.axis], self.num_outputs
        if isinstance(total, int):
            each = -(-total // count)
            self.require(total - each * (count - 1) >= 0, f"{total} elements do not make {count} pieces")
            return (each,) * (count - 1) + (total - each * (count - 1),)
        each = exact_quotient((total,), (count,))
        if each is None:
            raise Unsupported(f"Split: {total} elements into {count} pieces that are not known to be equal", loc=self._pending_loc,
                              hint="give the symbolic dimension a fixed size")
        return (each,) * count

    def elements(self) -> Any:
        whole = self.data.elements
        if whole is None or len(self.data.shape) != 1 or not all(isinstance(s, int) for s in self.sizes):
            return [None] * len(self.results)
        ends = [sum(self.sizes[:n]) for n in range(len(self.sizes) + 1)]
        return [whole[a:b] for a, b in itertools.pairwise(ends)]

    def reference(self, data: np.ndarray, split: np.ndarray | None) -> tuple[np.ndarray, ...]:
        if split is None:
            each = -(-data.shape[self.axis] // self.num_outputs)
            cuts = [min(each * n, data.shape[self.axis]) for n in range(1, self.num_outputs)]
        else:
            cuts = list(np.cumsum(split)[:-1])
        return tuple(np.split(data, cuts, self.axis))

    def lower(self, at: tuple[Expr, ...], data: Reader, split: Reader | None) -> tuple[Expr, ...]:
        axis = self.axis % data.rank
        found, start = [], as_index(0)
        for size in self.sizes:
            found.append(data(*at[:axis], at[axis] + start, *at[axis + 1:]))
            start = start + size
        return tuple(found)


class Tile(Op):
    """ONNX Tile: the tensor repeated along each axis."""
    data: Value
    repeats: Value

    def infer(self) -> TensorType:
        repeats = known(self, self.repeats, "the repeats")
        self.require(len(repeats) == len(self.data.shape), f"{len(repeats)} repeats for {len(self.data.shape)} axes")
        require_sizes(self, repeats)
        return self.data.type.with_shape(tuple(dim(d * r) for d, r in zip(self.data.shape, repeats)))

    def elements(self) -> Any:
        repeats = self.repeats.elements
        return moved_elements(self, self.data, np.array(repeats)) if all(isinstance(r, int) for r in repeats) else None

    def reference(self, data: np.ndarray, repeats: np.ndarray) -> np.ndarray:
        return np.tile(data, repeats)

    def lower(self, at: tuple[Expr, ...], data: Reader, repeats: Reader) -> Expr:
        return data(*(i % d if not same_dim(d, out) else i for i, d, out in zip(at, data.shape, self.output.shape)))


class Expand(Op):
    """ONNX Expand: the tensor broadcast with a shape (sizes of 1 in either give way)."""
    data: Value
    shape: Value

    def infer(self) -> TensorType:
        wanted = known(self, self.shape, "the shape")
        require_sizes(self, wanted)
        return self.data.type.with_shape(broadcast_shapes(self, self.data.shape, wanted))

    def elements(self) -> Any:
        shape = self.shape.elements
        return moved_elements(self, self.data, np.array(shape)) if all(isinstance(d, int) for d in shape) else None

    def reference(self, data: np.ndarray, shape: np.ndarray) -> np.ndarray:
        wanted = tuple(int(d) for d in shape.ravel())
        return np.broadcast_to(data, np.broadcast_shapes(data.shape, wanted))

    def lower(self, at: tuple[Expr, ...], data: Reader, shape: Reader) -> Expr:
        return data.broadcast(at)
