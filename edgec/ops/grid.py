"""Reading an image between its elements: GridSample, and the linear interpolation that RoiAlign and DeformConv share.

A coordinate becomes a whole place and a rest; the result is the sum over the neighbours, each with the product of its weights along the
axes. What lies outside counts as zero, as the border, or as the mirror image (padding_mode).

    GridSample(x, grid, mode="linear").output
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from edgec.expr import Expr, as_expr, cast, const, maximum, minimum, select, unary
from edgec.graph import Op, Value
from edgec.lowering import Reader
from edgec.ops.accumulation import rounded
from edgec.ops.shape_arithmetic import require_elements, same_dim
from edgec.types import DType, TensorType, f32, f64, index

MODES = {"linear": 2, "nearest": 1, "cubic": 4}  # neighbours an axis
CUBIC = -0.75  # the coefficient of R. Keys, IEEE ASSP 29(6), 1981, that ONNX has chosen


class GridSample(Op):
    """ONNX GridSample: the image at the places of a grid, whose coordinates run from -1 to 1, the last axis first (GridSample-22)."""

    x: Value
    grid: Value
    align_corners: int = 0
    mode: str = "linear"
    padding_mode: str = "zeros"

    def infer(self) -> TensorType:
        x, grid = self.x, self.grid
        spatial = x.type.rank - 2
        self.require(self.mode in MODES, f"mode is {self.mode!r}", hint="one of " + ", ".join(MODES))
        self.require(self.padding_mode in ("zeros", "border", "reflection"), f"padding_mode is {self.padding_mode!r}")
        self.require(spatial >= 1 and grid.type.rank == spatial + 2 and grid.shape[-1] == spatial,
                     f"the grid {grid.type} does not name places of {x.type}")
        self.require(same_dim(grid.shape[0], x.shape[0]), f"batches of {x.shape[0]} and {grid.shape[0]}")
        self.require(grid.dtype.is_float, f"the grid must hold floats, it is {grid.type}")
        for axis in range(2, x.type.rank):
            require_elements(self, x.shape[axis], axis)
        return x.type.with_shape((*x.shape[:2], *grid.shape[1:-1]))

    def reference(self, x: np.ndarray, grid: np.ndarray) -> np.ndarray:
        sizes, spatial = x.shape[2:], x.ndim - 2
        lines = []
        for axis, size in enumerate(sizes):
            source = grid[..., spatial - 1 - axis].astype(np.float64)
            source = (source + 1) / 2 * (size - 1) if self.align_corners else ((source + 1) * size - 1) / 2
            lines.append(self._taps(source, size))
        total = np.zeros((x.shape[0], x.shape[1], *grid.shape[1:-1]))
        batch = np.arange(x.shape[0]).reshape(-1, *[1] * spatial)
        for taps in itertools.product(*lines):
            weight = np.ones(grid.shape[:-1])
            places = []
            for (place, w), size in zip(taps, sizes):
                place, valid = self._brought_in(place, size)
                weight = weight * w * valid
                places.append(place)
            picked = np.moveaxis(x.astype(np.float64)[(batch, slice(None), *places)], -1, 1)
            total += np.where(weight[:, None] == 0, 0.0, picked * weight[:, None])
        return rounded(total, self.x.dtype) if self.x.dtype.is_float else total.astype(x.dtype)

    @property
    def _folds(self) -> bool:
        """Whether a coordinate is brought in before its neighbours are looked for; beyond a border, a cubic takes them one by one."""
        return self.padding_mode == "reflection" or self.padding_mode == "border" and self.mode != "cubic"

    def _taps(self, source: np.ndarray, size: int) -> list[tuple[np.ndarray, Any]]:
        """(place, weight) of the neighbours along one axis."""
        if self._folds:
            source = self._folded(source, size)
        if self.mode == "nearest":
            return [(np.rint(source).astype(np.int64), 1.0)]
        floor = np.floor(source)
        rest = source - floor
        weights = [1 - rest, rest] if self.mode == "linear" else list(cubic_weights(rest))
        return [(floor.astype(np.int64) + n - (self.mode == "cubic"), w) for n, w in enumerate(weights)]

    def _folded(self, source: np.ndarray, size: int) -> np.ndarray:
        """Coordinates brought in before their neighbours are looked for."""
        if self.padding_mode == "border":
            return np.clip(source, 0, size - 1)
        low, high = (0.0, size - 1.0) if self.align_corners else (-0.5, size - 0.5)
        return mirrored(source, low, high)

    def _brought_in(self, place: np.ndarray, size: int) -> tuple[np.ndarray, Any]:
        """(a place in range, whether it counts)."""
        if self.padding_mode == "zeros":
            return np.clip(place, 0, size - 1), (place >= 0) & (place < size)
        if self.padding_mode == "border":
            return np.clip(place, 0, size - 1), True
        low, high = (0.0, size - 1.0) if self.align_corners else (-0.5, size - 0.5)
        return np.clip(mirrored(place.astype(np.float64), low, high).astype(np.int64), 0, size - 1), True

    def lower(self, at: tuple[Expr, ...], x: Reader, grid: Reader) -> Expr:
        blended = not x.dtype.is_float and self.mode != "nearest"  # integers may have more bits than f32
        wide = f64 if x.dtype is f64 or blended else f32
        spatial = x.rank - 2
        lines = []
        for axis in range(spatial):
            source = cast(grid(at[0], *at[2:], spatial - 1 - axis), wide)
            size = cast(as_expr(x.shape[2 + axis], index), wide)
            source = (source + 1.0) * 0.5 * (size - 1.0) if self.align_corners else ((source + 1.0) * size - 1.0) * 0.5
            lines.append(self._tap_exprs(source, size))
        total: Expr | None = None
        for taps in itertools.product(*lines):
            value = self._term(x, at, taps, wide)
            total = value if total is None else total + value
        return cast(total, x.dtype)

    def _term(self, x: Reader, at: tuple[Expr, ...], taps: Sequence[tuple[Expr, Expr | None]], wide: DType) -> Expr:
        places, weight, valid = [], None, None
        for axis, (place, w) in enumerate(taps):
            size = cast(as_expr(x.shape[2 + axis], index), wide)
            if self.padding_mode == "zeros":
                inside = (place >= 0.0) & (place < size)
                valid = inside if valid is None else valid & inside
            elif self.padding_mode == "reflection":
                place = self._folded_expr(place, size)
            where = cast(maximum(minimum(place, size - 1.0), 0.0), index)
            places.append(maximum(minimum(where, as_expr(x.shape[2 + axis], index) - 1), 0))
            weight = w if weight is None else weight if w is None else weight * w
        value = x(*at[:2], *places)
        value = value if weight is None else cast(value, wide) * weight
        return value if valid is None else select(valid, value, const(0, value.dtype))

    def _tap_exprs(self, source: Expr, size: Expr) -> list[tuple[Expr, Expr | None]]:
        """(place as a whole float, weight) of the neighbours along one axis."""
        if self._folds:
            source = self._folded_expr(source, size)
        if self.mode == "nearest":
            return [(unary("round", source), None)]
        floor = unary("floor", source)
        rest = source - floor
        weights = [1.0 - rest, rest] if self.mode == "linear" else list(cubic_weights(rest))
        return [(floor + float(n - (self.mode == "cubic")), w) for n, w in enumerate(weights)]

    def _folded_expr(self, source: Expr, size: Expr) -> Expr:
        if self.padding_mode == "border":
            return maximum(minimum(source, size - 1.0), 0.0)
        low, span = (0.0, size - 1.0) if self.align_corners else (-0.5, size)
        return mirrored_expr(source, low, span)


def mirrored(x: np.ndarray, low: float, high: float) -> np.ndarray:
    """Coordinates reflected at both ends until they lie between."""
    span = high - low
    if span <= 0:
        return np.full_like(x, low)
    distance = np.abs(x - low) % (2 * span)
    return low + np.where(distance > span, 2 * span - distance, distance)


def mirrored_expr(x: Expr, low: float, span: Expr) -> Expr:
    """The same as an expression; a span of 0 has but one place."""
    safe = maximum(span, 1e-30)
    distance = unary("abs", x - low)
    within = distance - unary("floor", distance / (safe * 2.0)) * (safe * 2.0)
    folded = select(within > span, span * 2.0 - within, within)
    return select(span > 0.0, folded + low, const(low, x.dtype))


def cubic_weights(rest: Any) -> tuple[Any, ...]:
    """The weights of the four neighbours at -1, 0, 1 and 2 from the whole place."""
    def near(d: Any) -> Any:
        return ((CUBIC + 2) * d - (CUBIC + 3)) * d * d + 1

    def far(d: Any) -> Any:
        return ((CUBIC * d - 5 * CUBIC) * d + 8 * CUBIC) * d - 4 * CUBIC
    return far(rest + 1.0), near(rest), near(1.0 - rest), far(2.0 - rest)


def between(read: Callable[[Expr, Expr], Expr], y: Expr, x: Expr, height: Any, width: Any) -> Expr:
    """The linear interpolation of read(row, column) at a float place; what lies outside of the image counts as zero."""
    floors = [unary("floor", v) for v in (y, x)]
    rows, columns = ([(floor, 1.0 - (v - floor)), (floor + 1.0, v - floor)] for v, floor in zip((y, x), floors))
    total: Expr | None = None
    for (row, a), (column, b) in itertools.product(rows, columns):
        place, counts = zip(*(_clamped(v, n) for v, n in ((row, height), (column, width))))
        value = select(counts[0] & counts[1], read(*place) * a * b, const(0, y.dtype))
        total = value if total is None else total + value
    return total


def _clamped(place: Expr, size: Any) -> tuple[Expr, Expr]:
    """(a place in range as an index, whether the place is in range)."""
    end = cast(as_expr(size, index), place.dtype)
    where = cast(maximum(minimum(place, end - 1.0), 0.0), index)
    return maximum(minimum(where, as_expr(size, index) - 1), 0), (place >= 0.0) & (place < end)
