"""Changes of shape that keep every element: Reshape Flatten Squeeze Unsqueeze Transpose; and the sizes themselves: Shape Size.

A reshape compares the two shapes from the left and cuts them into groups of equal product, so symbolic axes that stay as they are keep
their own index, and only within a group the index is linearised and unravelled.

    Reshape(x, constant(np.array([0, -1]))).output       # n,3,4 -> n,12:  x[i, j // 4, j % 4]
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from edgec.errors import Unsupported
from edgec.expr import Expr, cast, compare, select
from edgec.graph import Op, Value
from edgec.lowering import Reader
from edgec.ops.shape_arithmetic import (
    Dim,
    as_index,
    exact_quotient,
    known,
    known_numbers,
    moved_elements,
    normal_axes,
    product,
    require_sizes,
    same_dim,
    same_product,
    shape_text,
)
from edgec.types import TensorType, i64


class Reshape(Op):
    """ONNX Reshape: the same elements under another shape; 0 keeps a size (unless allowzero), one -1 takes what is left."""
    data: Value
    shape: Value
    allowzero: int = 0

    def infer(self) -> TensorType:
        wanted = [self._copied(n, d) for n, d in enumerate(known(self, self.shape, "the shape"))]
        open_axes = [n for n, d in enumerate(wanted) if same_dim(d, -1)]
        self.require(len(open_axes) <= 1, f"shape {shape_text(wanted)} has more than one -1")
        for axis in open_axes:
            wanted[axis] = self._rest([d for n, d in enumerate(wanted) if n != axis], wanted)
        require_sizes(self, wanted)
        self._require_same_size(wanted)
        return TensorType(self.data.dtype, tuple(wanted))

    def _copied(self, axis: int, size: Dim) -> Dim:
        if self.allowzero or not same_dim(size, 0):
            return size
        self.require(axis < len(self.data.shape), f"0 at axis {axis} copies a size that {shape_text(self.data.shape)} does not have")
        return self.data.shape[axis]

    def _rest(self, others: Sequence[Dim], wanted: Sequence[Dim]) -> Dim:
        rest = exact_quotient(self.data.shape, others)
        if rest is None and any(isinstance(d, Expr) for d in (*self.data.shape, *others)):
            raise Unsupported(f"Reshape: the -1 of {shape_text(wanted)} over {shape_text(self.data.shape)} is not known to be whole",
                              loc=self._pending_loc, hint="give the symbolic dimensions fixed sizes")
        self.require(rest is not None, f"{shape_text(self.data.shape)} does not divide into {shape_text(wanted)}")
        return rest

    def _require_same_size(self, wanted: Sequence[Dim]) -> None:
        if same_product(self.data.shape, wanted):
            return
        message = f"{shape_text(self.data.shape)} and {shape_text(wanted)} differ in their number of elements"
        self.require(any(isinstance(d, Expr) for d in (*self.data.shape, *wanted)), message)
        raise Unsupported(f"Reshape: {message}, as far as is known", loc=self._pending_loc, hint="give the symbolic dimensions fixed sizes")

    def elements(self) -> Any:
        return self.data.elements

    def reference(self, data: np.ndarray, shape: np.ndarray) -> np.ndarray:
        sizes = [data.shape[n] if d == 0 and not self.allowzero else int(d) for n, d in enumerate(shape.ravel())]
        return data.reshape(sizes)

    def lower(self, at: tuple[Expr, ...], data: Reader, shape: Reader) -> Expr:
        return data(*reshaped_index(data.shape, self.output.shape, at))


def reshaped_index(source: Sequence[Dim], target: Sequence[Dim], at: Sequence[Any]) -> tuple[Any, ...]:
    """The index in a tensor of shape `source` of the element at index `at` of its reshape to `target`."""
    found: list[Any] = [0] * len(source)
    for inner, outer in reshape_groups(source, target):
        rest = as_index(0)
        for n in outer:
            rest = rest * target[n] + at[n]
        for position, n in enumerate(inner):
            below = product([source[m] for m in inner[position + 1:]])
            found[n] = rest // below
            rest = rest - found[n] * below
    return tuple(found)


def reshape_groups(source: Sequence[Dim], target: Sequence[Dim]) -> list[tuple[list[int], list[int]]]:
    """Axes of two shapes of equal product, cut from the left into the smallest groups of equal product; sizes of 1 are left out."""
    left = [n for n, d in enumerate(source) if not same_dim(d, 1)]
    right = [n for n, d in enumerate(target) if not same_dim(d, 1)]
    groups: list[tuple[list[int], list[int]]] = []
    inner: list[int] = []
    outer: list[int] = []
    while left or right:
        take_left = left and (not right or not inner or _divides(source, inner, target, outer))
        (inner if take_left else outer).append((left if take_left else right).pop(0))
        if inner and outer and same_product([source[n] for n in inner], [target[n] for n in outer]):
            groups.append((inner, outer))
            inner, outer = [], []
    return groups + ([(inner, outer)] if inner or outer else [])


def _divides(source: Sequence[Dim], inner: Sequence[int], target: Sequence[Dim], outer: Sequence[int]) -> bool:
    """Whether the group's source axes are to grow: their product divides that of the target axes so far."""
    a, b = [source[n] for n in inner], [target[n] for n in outer]
    if all(isinstance(d, int) for d in (*a, *b)):
        return product(a) < product(b)
    return exact_quotient(b, a) is not None


class Flatten(Op):
    """ONNX Flatten: a matrix of the axes before `axis` by the axes from it on."""
    x: Value
    axis: int = 1

    def infer(self) -> TensorType:
        rank = len(self.x.shape)
        self.require(-rank <= self.axis <= rank, f"axis {self.axis} is outside [{-rank}, {rank}]")
        cut = self.axis + rank if self.axis < 0 else self.axis
        return self.x.type.with_shape((product(self.x.shape[:cut]), product(self.x.shape[cut:])))

    def elements(self) -> Any:
        return self.x.elements

    def reference(self, x: np.ndarray) -> np.ndarray:
        cut = self.axis + x.ndim if self.axis < 0 else self.axis
        return x.reshape(int(np.prod(x.shape[:cut])), int(np.prod(x.shape[cut:])))

    def lower(self, at: tuple[Expr, ...], x: Reader) -> Expr:
        return x(*reshaped_index(x.shape, self.output.shape, at))


class Squeeze(Op):
    """ONNX Squeeze: without the named axes of size 1, or without all of them; symbolic axes that may be 1 stay, since ranks are fixed."""
    data: Value
    axes: Value | None = None

    @property
    def dropped(self) -> tuple[int, ...]:
        """The axes that go, counted from the front."""
        if self.axes is None:
            return tuple(n for n, d in enumerate(self.data.shape) if same_dim(d, 1))
        return normal_axes(self, known_numbers(self, self.axes, "the axes"), len(self.data.shape))

    def infer(self) -> TensorType:
        for axis in self.dropped:
            size = self.data.shape[axis]
            self.require(same_dim(size, 1), f"axis {axis} has size {size}, not 1",
                         hint="" if isinstance(size, int) else "give the symbolic dimension a fixed size")
        return self.data.type.with_shape(tuple(d for n, d in enumerate(self.data.shape) if n not in self.dropped))

    def elements(self) -> Any:
        return self.data.elements

    def reference(self, data: np.ndarray, axes: np.ndarray | None) -> np.ndarray:
        return np.squeeze(data, self.dropped)

    def lower(self, at: tuple[Expr, ...], data: Reader, axes: Reader | None) -> Expr:
        kept = iter(at)
        return data(*(0 if n in self.dropped else next(kept) for n in range(data.rank)))


class Unsqueeze(Op):
    """ONNX Unsqueeze: with new axes of size 1 at the given places of the result."""
    data: Value
    axes: Value

    @property
    def inserted(self) -> tuple[int, ...]:
        """The places of the new axes in the result, counted from the front."""
        axes = known_numbers(self, self.axes, "the axes")
        return normal_axes(self, axes, len(self.data.shape) + len(axes))

    def infer(self) -> TensorType:
        inserted, kept = self.inserted, iter(self.data.shape)
        return self.data.type.with_shape(tuple(1 if n in inserted else next(kept) for n in range(len(self.data.shape) + len(inserted))))

    def elements(self) -> Any:
        return self.data.elements

    def reference(self, data: np.ndarray, axes: np.ndarray) -> np.ndarray:
        return np.expand_dims(data, tuple(int(a) for a in axes.ravel()))

    def lower(self, at: tuple[Expr, ...], data: Reader, axes: Reader) -> Expr:
        return data(*(i for n, i in enumerate(at) if n not in self.inserted))


class Transpose(Op):
    """ONNX Transpose: axes in the order of `perm`, reversed without one."""
    data: Value
    perm: tuple[int, ...] | None = None

    @property
    def order(self) -> tuple[int, ...]:
        return tuple(reversed(range(len(self.data.shape)))) if self.perm is None else self.perm

    def infer(self) -> TensorType:
        rank = len(self.data.shape)
        self.require(sorted(self.order) == list(range(rank)), f"perm {shape_text(self.order)} is not an order of {rank} axes")
        return self.data.type.with_shape(tuple(self.data.shape[n] for n in self.order))

    def elements(self) -> Any:
        return moved_elements(self, self.data)

    def reference(self, data: np.ndarray) -> np.ndarray:
        return np.transpose(data, self.order)

    def lower(self, at: tuple[Expr, ...], data: Reader) -> Expr:
        place = {source: target for target, source in enumerate(self.order)}
        return data(*(at[place[n]] for n in range(data.rank)))


class Shape(Op):
    """ONNX Shape: the sizes of the axes from `start` to before `end`, as i64."""
    data: Value
    start: int = 0
    end: int | None = None

    def infer(self) -> TensorType:
        return TensorType(i64, (len(self.data.shape[self.start:self.end]),))

    def elements(self) -> tuple[Dim, ...]:
        return self.data.shape[self.start:self.end]

    def reference(self, data: np.ndarray) -> np.ndarray:
        return np.array(data.shape[self.start:self.end], np.int64)

    def lower(self, at: tuple[Expr, ...], data: Reader) -> Expr:
        sizes = [cast(as_index(d), i64) for d in self.elements()]
        value = sizes[-1] if sizes else cast(as_index(0), i64)
        for n, size in reversed(list(enumerate(sizes[:-1]))):
            value = select(compare("eq", at[0], n), size, value)
        return value


class Size(Op):
    """ONNX Size: the number of elements, as an i64 scalar."""
    data: Value

    def infer(self) -> TensorType:
        return TensorType(i64, ())

    def elements(self) -> tuple[Dim]:
        return (product(self.data.shape),)

    def reference(self, data: np.ndarray) -> np.ndarray:
        return np.array(data.size, np.int64)

    def lower(self, at: tuple[Expr, ...], data: Reader) -> Expr:
        return cast(as_index(product(data.shape)), i64)
