"""Convolutions and pools whose taps lie anywhere: RoiAlign DeformConv Col2Im, and what is chosen of boxes: NonMaxSuppression.

    RoiAlign(x, rois, batch_indices, output_height=7, output_width=7, sampling_ratio=2).output
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from edgec.errors import Unsupported
from edgec.expr import Expr, as_expr, cast, const, maximum, minimum, select, unary
from edgec.graph import Op, Value
from edgec.lowering import Reader
from edgec.ops.accumulation import fold, rounded
from edgec.ops.gather import looked_up
from edgec.ops.grid import between
from edgec.ops.shape_arithmetic import known_numbers, same_shape, shape_text
from edgec.types import TensorType, f32, f64, i64, index


class RoiAlign(Op):
    """ONNX RoiAlign: each region of an image divided into cells, each the mean or maximum of samples (K. He et al., arXiv:1703.06870)."""

    x: Value
    rois: Value
    batch_indices: Value
    coordinate_transformation_mode: str = "half_pixel"
    mode: str = "avg"
    output_height: int = 1
    output_width: int = 1
    sampling_ratio: int = 0
    spatial_scale: float = 1.0

    def infer(self) -> TensorType:
        self.require(self.x.type.rank == 4, f"needs an image [batch, channels, height, width], it is {self.x.type}")
        self.require(self.rois.type.rank == 2 and self.rois.shape[1] == 4, f"the regions must be [count, 4], they are {self.rois.type}")
        self.require(same_shape(self.batch_indices.shape, self.rois.shape[:1]) and self.batch_indices.dtype is i64,
                     f"the batch indices are {self.batch_indices.type} for {self.rois.type}")
        self.require(self.mode in ("avg", "max"), f"mode is {self.mode!r}")
        self.require(self.coordinate_transformation_mode in ("half_pixel", "output_half_pixel"),
                     f"coordinate_transformation_mode is {self.coordinate_transformation_mode!r}")
        self.require(self.x.dtype is self.rois.dtype, f"element types differ: {self.x.dtype} and {self.rois.dtype}")
        if self.sampling_ratio < 1:
            raise Unsupported("RoiAlign with sampling_ratio 0: how many samples a cell has depends on data", loc=self._pending_loc,
                              hint="export the model with a sampling_ratio, as detection models have")
        return self.x.type.with_shape((self.rois.shape[0], self.x.shape[1], self.output_height, self.output_width))

    @property
    def _aligned(self) -> bool:
        return self.coordinate_transformation_mode == "half_pixel"

    def reference(self, x: np.ndarray, rois: np.ndarray, batch_indices: np.ndarray) -> np.ndarray:
        ratio, shift = self.sampling_ratio, 0.5 if self._aligned else 0.0
        result = np.zeros(self.output.shape)
        image = x.astype(np.float64)
        for r, (roi, batch) in enumerate(zip(rois.astype(np.float64) * self.spatial_scale - shift, batch_indices)):
            size = [roi[3] - roi[1], roi[2] - roi[0]]
            size = size if self._aligned else [max(s, 1.0) for s in size]
            ys, xs = ([start + (n + 0.5) * s / (cells * ratio) for n in range(cells * ratio)]
                      for start, s, cells in zip((roi[1], roi[0]), size, self.output.shape[2:]))
            terms = np.array([[_four(image[batch], y, x) for x in xs] for y in ys])  # [rows, columns, 4, channels]
            parts = terms.reshape(self.output_height, ratio, self.output_width, ratio, *terms.shape[2:])
            cells = parts.sum(4).mean((1, 3)) if self.mode == "avg" else parts.max((1, 3, 4))
            result[r] = np.moveaxis(cells, -1, 0)
        return rounded(result, self.x.dtype)

    def lower(self, at: tuple[Expr, ...], x: Reader, rois: Reader, batch_indices: Reader) -> Expr:
        r, c, row, column = at
        wide = f64 if x.dtype is f64 else f32
        batch = looked_up(batch_indices(r), x.shape[0])
        shift = 0.5 if self._aligned else 0.0
        left, top, right, bottom = (cast(rois(r, n), wide) * self.spatial_scale - shift for n in range(4))

        def sample(i: Expr, j: Expr) -> Expr:
            y = _place(top, bottom, cast(row * self.sampling_ratio + i, wide), self.output_height * self.sampling_ratio, self._aligned)
            z = _place(left, right, cast(column * self.sampling_ratio + j, wide), self.output_width * self.sampling_ratio, self._aligned)
            return _corners(lambda a, b: cast(x(batch, c, a, b), wide), y, z, x.shape[2], x.shape[3], self.mode == "max")
        count = self.sampling_ratio ** 2
        if self.mode == "max":
            return cast(fold((self.sampling_ratio,) * 2, "max", sample), x.dtype)
        return cast(fold((self.sampling_ratio,) * 2, "add", sample) * (1.0 / count), x.dtype)


def _four(image: np.ndarray, y: float, x: float) -> np.ndarray:
    """The four weighted neighbours of a place, zero where it lies more than one element outside."""
    height, width = image.shape[1:]
    if not (-1 <= y <= height and -1 <= x <= width):
        return np.zeros((4, len(image)))
    y, x = (min(max(v, 0.0), n - 1.0) for v, n in ((y, height), (x, width)))
    a, b = int(y), int(x)
    c, d = min(a + 1, height - 1), min(b + 1, width - 1)
    p, q = y - a, x - b
    corners = ((a, b, (1 - p) * (1 - q)), (a, d, (1 - p) * q), (c, b, p * (1 - q)), (c, d, p * q))
    return np.array([image[:, i, j] * weight for i, j, weight in corners])


def _place(start: Expr, end: Expr, number: Expr, count: int, aligned: bool) -> Expr:
    """Where sample `number` of `count` lies between the ends of a region."""
    size = end - start if aligned else maximum(end - start, 1.0)
    return start + (number + 0.5) * size * (1.0 / count)


def _corners(read: Any, y: Expr, x: Expr, height: Any, width: Any, largest: bool) -> Expr:
    """The sum (or the largest) of the four weighted neighbours of a place in an image."""
    ends = [cast(as_expr(n, index), y.dtype) for n in (height, width)]
    inside = (y >= -1.0) & (y <= ends[0]) & (x >= -1.0) & (x <= ends[1])
    sides = []
    for v, end, size in zip((y, x), ends, (height, width)):
        v = maximum(minimum(v, end - 1.0), 0.0)
        floor = unary("floor", v)
        low = maximum(minimum(cast(floor, index), as_expr(size, index) - 1), 0)
        sides.append([(low, 1.0 - (v - floor)), (minimum(low + 1, as_expr(size, index) - 1), v - floor)])
    terms = [read(a, b) * p * q for a, p in sides[0] for b, q in sides[1]]
    total = terms[0]
    for term in terms[1:]:
        total = maximum(total, term) if largest else total + term
    return select(inside, total, const(0, y.dtype))


class DeformConv(Op):
    """ONNX DeformConv: a convolution whose taps are moved by `offset` and weighted by `mask` (X. Zhu et al., arXiv:1811.11168)."""

    x: Value
    w: Value
    offset: Value
    b: Value | None = None
    mask: Value | None = None
    dilations: tuple = ()
    group: int = 1
    kernel_shape: tuple = ()
    offset_group: int = 1
    pads: tuple = ()
    strides: tuple = ()

    def infer(self) -> TensorType:
        x, w, offset = self.x.type, self.w.type, self.offset.type
        self.require(x.rank == w.rank == offset.rank == 4, f"needs operands of rank 4: {x}, {w}, {offset}")
        for name, count in (("dilations", 2), ("kernel_shape", 2), ("pads", 4), ("strides", 2)):
            self.require(len(getattr(self, name)) in (0, count), f"{name} must have {count} entries")
        if not (x.is_static and w.is_static):
            raise Unsupported("DeformConv of symbolic shapes", loc=self._pending_loc, hint="give the dimensions fixed sizes")
        kernel, (strides, pads, dilations) = w.shape[2:], self._walk
        self.require(x.shape[1] == w.shape[1] * self.group and w.shape[0] % self.group == 0,
                     f"{x.shape[1]} channels in {self.group} groups for weights {w}")
        self.require(x.shape[1] % self.offset_group == 0, f"{x.shape[1]} channels in {self.offset_group} offset groups")
        sizes = tuple((n + pads[k] + pads[k + 2] - (kernel[k] - 1) * dilations[k] - 1) // strides[k] + 1 for k, n in enumerate(x.shape[2:]))
        taps = self.offset_group * math.prod(kernel)
        wanted = (x.shape[0], 2 * taps, *sizes)
        self.require(offset.shape == wanted, f"the offsets are {offset}, not {shape_text(wanted)}")
        self.require(self.mask is None or self.mask.shape == (x.shape[0], taps, *sizes), f"the mask is {self.mask and self.mask.type}")
        return x.with_shape((x.shape[0], w.shape[0], *sizes))

    @property
    def _walk(self) -> tuple[tuple, tuple, tuple]:
        return tuple(self.strides) or (1, 1), tuple(self.pads) or (0,) * 4, tuple(self.dilations) or (1, 1)

    def reference(self, x, w, offset, b, mask):
        (sy, sx), (py, px, *_), (dy, dx) = self._walk
        count, outs, rows, columns = self.output.shape
        kh, kw = w.shape[2:]
        result = np.zeros(self.output.shape)
        moves = offset.astype(np.float64).reshape(count, self.offset_group, kh, kw, 2, rows, columns)
        weights = (np.ones((count, self.offset_group, kh, kw, rows, columns)) if mask is None
                   else mask.astype(np.float64).reshape(count, self.offset_group, kh, kw, rows, columns))
        each, depth = x.shape[1] // self.offset_group, w.shape[1]
        for n, c, i, j, r, s in np.ndindex(count, x.shape[1], kh, kw, rows, columns):
            g = c // each
            y, z = r * sy - py + i * dy + moves[n, g, i, j, 0, r, s], s * sx - px + j * dx + moves[n, g, i, j, 1, r, s]
            value = _sampled(x[n, c].astype(np.float64), y, z) * weights[n, g, i, j, r, s]
            first = c // depth * (outs // self.group)
            result[n, first:first + outs // self.group, r, s] += w[first:first + outs // self.group, c % depth, i, j] * value
        result += 0 if b is None else b.astype(np.float64).reshape(-1, 1, 1)
        return rounded(result, self.x.dtype)

    def lower(self, at, x, w, offset, b, mask):
        n, out, row, column = at
        (sy, sx), (py, px, *_), (dy, dx) = self._walk
        kh, kw = w.shape[2:]
        wide = f64 if x.dtype is f64 else f32
        each, first = x.shape[1] // self.offset_group, out // (w.shape[0] // self.group) * w.shape[1]

        def term(c: Expr, i: Expr, j: Expr) -> Expr:
            channel = first + c
            tap = channel // each * (kh * kw) + i * kw + j
            y = cast(row * sy - py + i * dy, wide) + cast(offset(n, tap * 2, row, column), wide)
            z = cast(column * sx - px + j * dx, wide) + cast(offset(n, tap * 2 + 1, row, column), wide)
            value = between(lambda p, q: cast(x(n, channel, p, q), wide), y, z, x.shape[2], x.shape[3])
            value = value if mask is None else value * cast(mask(n, tap, row, column), wide)
            return value * cast(w(out, c, i, j), wide)
        total = fold((w.shape[1], kh, kw), "add", term)
        return cast(total if b is None else total + cast(b(out), wide), x.dtype)


def _sampled(image: np.ndarray, y: float, x: float) -> float:
    """Linear interpolation, zero outside."""
    a, b = math.floor(y), math.floor(x)
    total = 0.0
    for i, p in ((a, 1 - (y - a)), (a + 1, y - a)):
        for j, q in ((b, 1 - (x - b)), (b + 1, x - b)):
            if 0 <= i < image.shape[0] and 0 <= j < image.shape[1]:
                total += image[i, j] * p * q
    return total


class Col2Im(Op):
    """ONNX Col2Im: the image whose sliding blocks are the columns; where blocks overlap, their elements are added (Col2Im-18)."""

    x: Value
    image_shape: Value
    block_shape: Value
    dilations: tuple = ()
    pads: tuple = ()
    strides: tuple = ()

    def infer(self) -> TensorType:
        image, block = (known_numbers(self, v, w) for v, w in ((self.image_shape, "the image"), (self.block_shape, "the block")))
        self.require(len(image) == len(block) and self.x.type.rank == 3, f"an image of {shape_text(image)} from {self.x.type}")
        if not self.x.type.is_static:
            raise Unsupported("Col2Im of a symbolic shape", loc=self._pending_loc, hint="give the dimension a fixed size")
        strides, pads, dilations = self._walk(len(image))
        self._image, self._block = tuple(image), tuple(block)
        self._counts = tuple((n + pads[k] + pads[k + len(image)] - dilations[k] * (block[k] - 1) - 1) // strides[k] + 1
                             for k, n in enumerate(image))
        self.require(self.x.shape[1] % math.prod(block) == 0 and self.x.shape[2] == math.prod(self._counts),
                     f"{self.x.type} does not hold {shape_text(self._counts)} blocks {shape_text(block)} of {shape_text(image)}")
        return self.x.type.with_shape((self.x.shape[0], self.x.shape[1] // math.prod(block), *image))

    def _walk(self, rank: int) -> tuple[tuple, tuple, tuple]:
        return tuple(self.strides) or (1,) * rank, tuple(self.pads) or (0,) * 2 * rank, tuple(self.dilations) or (1,) * rank

    def reference(self, x, image_shape, block_shape):
        strides, pads, dilations = self._walk(len(self._image))
        parts = x.reshape(*self.output.shape[:2], *self._block, *self._counts)
        wide = np.zeros(self.output.shape, np.float64 if x.dtype.kind not in "iub" else x.dtype)
        for tap in np.ndindex(*self._block):
            for place in np.ndindex(*self._counts):
                where = tuple(p * s - a + t * d for p, s, a, t, d in zip(place, strides, pads, tap, dilations))
                if all(0 <= w < n for w, n in zip(where, self._image)):
                    wide[(slice(None), slice(None), *where)] += parts[(slice(None), slice(None), *tap, *place)]
        return wide.astype(x.dtype)

    def lower(self, at, x, image_shape, block_shape):
        n, channel, *place = at
        strides, pads, dilations = self._walk(len(place))

        def term(*tap: Expr) -> Expr:
            row, column, holds = channel, const(0, index), None
            for k, t in enumerate(tap):
                from_start = place[k] + pads[k] - t * dilations[k]
                whole = from_start // strides[k]
                fits = (whole >= 0) & (whole < self._counts[k]) & (from_start - whole * strides[k] <= 0)
                holds = fits if holds is None else holds & fits
                row, column = row * self._block[k] + t, column * self._counts[k] + maximum(minimum(whole, self._counts[k] - 1), 0)
            return select(holds, x(n, row, column), const(0, x.dtype))
        return fold(self._block, "add", term)


class Det(Op):
    """ONNX Det: the determinant of the matrix in the last two axes, by minors (so of up to 8 rows)."""

    x: Value

    def infer(self) -> TensorType:
        shape = self.x.shape
        square = len(shape) >= 2 and shape[-1] == shape[-2] and isinstance(shape[-1], int)
        self.require(square, f"needs square matrices, the operand is {self.x.type}")
        if shape[-1] > 8:
            raise Unsupported(f"Det of {shape[-1]} rows: more than 8", loc=self._pending_loc)
        return self.x.type.with_shape(shape[:-2])

    def reference(self, x: np.ndarray) -> np.ndarray:
        return rounded(np.linalg.det(x.astype(np.float64)), self.x.dtype)

    def lower(self, at: tuple[Expr, ...], x: Reader) -> Expr:
        size, minors = x.shape[-1], {(): const(1.0, f64)}

        def minor(columns: tuple[int, ...]) -> Expr:
            if columns not in minors:
                row = size - len(columns)
                terms = [cast(x(*at, row, c), f64) * minor(columns[:n] + columns[n + 1:]) for n, c in enumerate(columns)]
                total = terms[0]
                for n, term in enumerate(terms[1:], 1):
                    total = total - term if n % 2 else total + term
                minors[columns] = total
            return minors[columns]
        return cast(minor(tuple(range(size))), x.dtype)
