"""Cutting parts out of a tensor and putting a border around it: Slice Pad.

Bounds may hold symbols (`x[: n // 2]`); which end of an axis they count from must be known.

    Slice(x, starts, ends, axes, steps).output        # x[5:1:-2] with starts [5], ends [1], steps [-2]
"""

from __future__ import annotations

from typing import Any

import numpy as np

from edgec.errors import Unsupported
from edgec.expr import Expr, as_expr, dim, floordiv, maximum, minimum
from edgec.graph import Op, Value
from edgec.lowering import Reader, scalar
from edgec.ops.shape_arithmetic import (
    Dim,
    as_index,
    known,
    known_numbers,
    moved_elements,
    normal_axes,
    require_elements,
    require_sizes,
    same_dim,
    shape_text,
)
from edgec.types import TensorType, index


class Slice(Op):
    """ONNX Slice: start : end : step along some axes, bounds clamped to the axis; steps may be negative."""
    data: Value
    starts: Value
    ends: Value
    axes: Value | None = None
    steps: Value | None = None

    def infer(self) -> TensorType:
        shape = list(self.data.shape)
        for axis, (_, _, count) in self.ranges.items():
            shape[axis] = count
        return self.data.type.with_shape(tuple(shape))

    @property
    def ranges(self) -> dict[int, tuple[Dim, int, Dim]]:
        """(first index, step, count) of every axis that is cut."""
        starts, ends = known(self, self.starts, "starts"), known(self, self.ends, "ends")
        axes = known_numbers(self, self.axes, "the axes") if self.axes is not None else tuple(range(len(starts)))
        steps = known_numbers(self, self.steps, "the steps") if self.steps is not None else (1,) * len(starts)
        self.require(len(starts) == len(ends) == len(axes) == len(steps),
                     f"{len(starts)} starts, {len(ends)} ends, {len(axes)} axes and {len(steps)} steps")
        self.require(0 not in steps, f"a step of 0 in {shape_text(steps)}")
        normal = normal_axes(self, axes, len(self.data.shape))
        return {axis: self._range(start, end, step, self.data.shape[axis]) for axis, start, end, step in zip(normal, starts, ends, steps)}

    def _range(self, start: Dim, end: Dim, step: int, size: Dim) -> tuple[Dim, int, Dim]:
        high = size if step > 0 else size - 1
        first = _clamp(self._from_front(start, size), 0, high)
        last = _clamp(self._from_front(end, size), 0 if step > 0 else -1, high)
        if step > 0:
            count = floordiv(as_index(last - first) + (step - 1), step)
        else:
            count = floordiv(as_index(first - last) + (-step - 1), -step)
        return dim(first), step, dim(maximum(count, 0))

    def _from_front(self, bound: Dim, size: Dim) -> Dim:
        """A bound with negative ones counted from the end; its sign must be known."""
        if isinstance(bound, int):
            return bound + size if bound < 0 else bound
        if bound.lo >= 0:
            return bound
        if bound.hi < 0:
            return bound + size
        raise Unsupported(f"Slice: the bound {bound} may be positive or negative", loc=self._pending_loc,
                          hint="give the symbolic dimension a fixed size")

    def elements(self) -> Any:
        bounds = [None if v is None else np.array(v.elements) for v in (self.starts, self.ends, self.axes, self.steps)]
        return None if any(b is not None and b.dtype == object for b in bounds) else moved_elements(self, self.data, *bounds)

    def reference(self, data: np.ndarray, starts: np.ndarray, ends: np.ndarray, axes: np.ndarray | None,
                  steps: np.ndarray | None) -> np.ndarray:
        for n, (start, end) in enumerate(zip(starts, ends)):
            axis, step = n if axes is None else int(axes[n]), 1 if steps is None else int(steps[n])
            size = data.shape[axis]
            first, last = (int(b) + size if b < 0 else int(b) for b in (start, end))
            high, low = (size, 0) if step > 0 else (size - 1, -1)
            first, last = min(max(first, 0), high), min(max(last, low), high)
            data = np.take(data, np.arange(first, last, step), axis)
        return data

    def lower(self, at: tuple[Expr, ...], data: Reader, *bounds: Any) -> Expr:
        place = list(at)
        for axis, (first, step, _) in self.ranges.items():
            place[axis] = first + at[axis] * step
        return data(*place)


def _clamp(value: Dim, low: Dim, high: Dim) -> Dim:
    return minimum(maximum(as_expr(value, index), low), high)


class Pad(Op):
    """ONNX Pad: a border of a constant, of the mirrored or repeated edge, or of the tensor wrapped around; negative pads crop."""
    data: Value
    pads: Value
    constant_value: Value | None = None
    axes: Value | None = None
    mode: str = "constant"

    def infer(self) -> TensorType:
        modes = ("constant", "reflect", "edge", "wrap")
        self.require(self.mode in modes, f"mode '{self.mode}' is none of {', '.join(modes)}")
        fill = self.constant_value
        self.require(fill is None or (fill.dtype is self.data.dtype and fill.type.max_size == 1),
                     f"the constant must be one element of type {self.data.dtype}")
        shape = list(self.data.shape)
        for axis, (before, after) in self.borders.items():
            self._check_border(axis, before, after)
            shape[axis] = dim(shape[axis] + before + after)
        require_sizes(self, shape)
        return self.data.type.with_shape(tuple(shape))

    def _check_border(self, axis: int, before: Dim, after: Dim) -> None:
        if self.mode != "constant":
            if any((p if isinstance(p, int) else p.lo) < 0 for p in (before, after)):
                raise Unsupported(f"Pad: mode '{self.mode}' with pads {before} and {after}, which may be negative", loc=self._pending_loc,
                                  hint="crop with a Slice of its own, and bound pads from 0 on")
            if not (same_dim(before, 0) and same_dim(after, 0)):
                require_elements(self, self.data.shape[axis], axis)

    @property
    def borders(self) -> dict[int, tuple[Dim, Dim]]:
        """(elements before, elements after) by axis."""
        pads = known(self, self.pads, "the pads")
        axes = known_numbers(self, self.axes, "the axes") if self.axes is not None else tuple(range(len(self.data.shape)))
        self.require(len(pads) == 2 * len(axes), f"{len(pads)} pads for {len(axes)} axes: two for each are needed")
        return dict(zip(normal_axes(self, axes, len(self.data.shape)), zip(pads[:len(axes)], pads[len(axes):])))

    def reference(self, data: np.ndarray, pads: np.ndarray, constant_value: np.ndarray | None, axes: np.ndarray | None) -> np.ndarray:
        places = range(data.ndim) if axes is None else [int(a) % data.ndim for a in axes]
        widths = [(0, 0)] * data.ndim
        for n, axis in enumerate(places):
            widths[axis] = (int(pads[n]), int(pads[n + len(pads) // 2]))
        if self.mode != "constant":
            return np.pad(data, widths, self.mode)
        fill = np.zeros((), data.dtype) if constant_value is None else constant_value.reshape(())
        result = np.full([d + a + b for d, (a, b) in zip(data.shape, widths)], fill, data.dtype)
        kept = [(max(a, 0), min(a + d, size)) for d, (a, _), size in zip(data.shape, widths, result.shape)]
        if all(low < high for low, high in kept):
            result[tuple(slice(*k) for k in kept)] = data[tuple(slice(low - a, high - a) for (low, high), (a, _) in zip(kept, widths))]
        return result

    def lower(self, at: tuple[Expr, ...], data: Reader, pads: Reader, constant_value: Reader | None, axes: Reader | None) -> Expr:
        place = list(at)
        for axis, (before, after) in self.borders.items():
            place[axis] = _source_index(self.mode, at[axis] - before, data.shape[axis], before, after)
        if self.mode != "constant":
            return data(*place)
        literal = None if constant_value is None else scalar(constant_value.value)
        fill = 0 if constant_value is None else literal if literal is not None else constant_value(*[0] * constant_value.rank)
        return data(*place, fill=fill)


def _source_index(mode: str, i: Expr, size: Dim, before: Dim, after: Dim) -> Expr:
    """The element that position i of the padded axis shows, i counted from the first element of the tensor."""
    if mode == "constant" or same_dim(before, 0) and same_dim(after, 0):
        return i
    if mode == "edge":
        return maximum(minimum(i, size - 1), 0)
    if mode == "wrap":
        return i % size
    if same_dim(size, 1):
        return as_index(0)
    last = size - 1
    if isinstance(last, int) and max(p if isinstance(p, int) else p.hi for p in (before, after)) <= last:
        mirrored = i if same_dim(before, 0) else maximum(i, -i)
        return mirrored if same_dim(after, 0) else minimum(mirrored, 2 * last - mirrored)
    phase = i % maximum(2 * as_index(last), 1)
    return minimum(phase, 2 * last - phase)
