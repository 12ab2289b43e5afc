"""Changes of shape that keep every element and their order: Reshape Flatten Squeeze Unsqueeze; and the sizes themselves: Shape Size.

A reshape compares the two shapes from the left and cuts them into groups of equal product, so symbolic axes that stay as they are keep
their own index, and only within a group the index is linearised and unravelled.

    Reshape(x, constant(np.array([0, -1]))).output       # n,3,4 -> n,12:  x[i, j // 4, j % 4]
"""

from __future__ import annotations

from typing import Any, Sequence

import numpy as np

from edgec.errors import Unsupported
from edgec.expr import Expr, cast, compare, select
from edgec.graph import Op, Value
from edgec.lowering import Reader
from edgec.ops.shape_arithmetic import (Dim, as_index, exact_quotient, known, known_numbers, normal_axes, product, same_dim, same_product,
                                        shape_text)
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
        self.require(all(not isinstance(d, int) or d >= 0 for d in wanted), f"shape {shape_text(wanted)} has a negative size")
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
        if -1 in sizes and data.size == 0:
            rest = int(np.prod([d for d in sizes if d != -1]))
            sizes[sizes.index(-1)] = 0 if rest == 0 else data.size // rest
        return data.reshape(sizes)

    def lower(self, at: tuple[Expr, ...], data: Reader, shape: Reader) -> Expr:
        return data(*reshaped_index(data.shape, self.output.shape, at))


def reshaped_index(source: Sequence[Dim], target: Sequence[Dim], at: Sequence[Any]) -> tuple[Any, ...]:
    """The index in a tensor of shape `source` of the element at index `at` of its reshape to `target`."""
    found: list[Any] = [0] * len(source)
    for inner, outer in reshape_groups(source, target):
        offset: Any = 0
        for n in outer:
            offset = offset * target[n] + at[n]
        for position, n in enumerate(inner):
            below = product([source[m] for m in inner[position + 1:]])
            whole = as_index(offset) // below if position + 1 < len(inner) else offset
            found[n] = whole if position == 0 else as_index(whole) % source[n] if position + 1 < len(inner) else offset
            offset = offset - whole * below if position == 0 and False else offset
        _unravel(offset, inner, source, found)
    return tuple(found)


def _unravel(offset: Any, axes: Sequence[int], shape: Sequence[Dim], found: list[Any]) -> None:
    """Write the indices along `axes` of a linear offset within them, the first one without a remainder."""
    below = product([shape[n] for n in axes])
    rest = as_index(offset)
    for n in axes:
        below = product([shape[m] for m in axes[axes.index(n) + 1:]])
        found[n] = rest // below
        rest = rest - found[n] * below


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
