"""Normalisations: a statistic of a row, image, group or channel window, then each element scaled by it.

The statistics are written as reductions inside the element's formula; they do not depend on the element within its row, so the compiler
computes them once a row. Variances are two-pass (mean of squared distances), which is stable and what the ONNX functions say.

    LayerNormalization(x, scale, bias, axis=-1)      # (x - mean) / sqrt(variance + epsilon) * scale + bias over the last axes
"""

from __future__ import annotations

import numpy as np

from edgec.errors import Unsupported
from edgec.expr import Expr, binary, cast, compare, const, select, unary
from edgec.graph import Op, Value
from edgec.ops.accumulation import fold, mean, narrow, rounded, widen
from edgec.ops.shape_arithmetic import broadcast_shapes, normal_axes, normal_axis, same_shape, shape_text
from edgec.types import DType, TensorType, bf16, f16, f32, f64

EPSILON = float(np.float32(1e-5))
STASH_TYPES = {1: f32, 10: f16, 11: f64, 16: bf16}  # TensorProto.DataType


def square(v: Expr) -> Expr:
    return v * v


def moments(extents, x) -> tuple[Expr, Expr]:
    """Mean and variance of x(*indices) over a box."""
    m = mean(extents, x)
    return m, mean(extents, lambda *i: square(x(*i) - m))


def inverse_deviation(variance: Expr, epsilon: float) -> Expr:
    """1 / sqrt(variance + epsilon)."""
    return 1.0 / unary("sqrt", variance + epsilon)


def standardized(x: np.ndarray, axes: tuple[int, ...], epsilon: float) -> np.ndarray:
    """(x - mean) / sqrt(variance + epsilon) over `axes`, in float64."""
    centered = x - x.mean(axis=axes, keepdims=True)
    return centered / np.sqrt((centered * centered).mean(axis=axes, keepdims=True) + epsilon)


def per_channel(array: np.ndarray, rank: int) -> np.ndarray:
    """A float64 vector as [1, c, 1, ...]."""
    return array.astype(np.float64).reshape(1, -1, *[1] * (rank - 2))


def require_image(op: Op, x: Value, *vectors: Value) -> None:
    """x is a float [n, c, ...] and each vector has one element a channel."""
    op.require(x.type.rank >= 2, f"input has rank {x.type.rank}; [n, c, ...] is needed")
    op.require(all(v.dtype.is_float for v in op.operands), "operands must be of float types")
    for v in vectors:
        op.require(same_shape(v.shape, x.shape[1:2]), f"%{v.name} has shape {shape_text(v.shape)}, one element for each of "
                   f"{x.shape[1]} channels is needed")


class BatchNormalization(Op):
    """ONNX BatchNormalization (inference): scale * (x - mean) / sqrt(var + epsilon) + b, one of each a channel (BatchNormalization-15)."""

    x: Value
    scale: Value
    b: Value
    input_mean: Value
    input_var: Value
    epsilon: float = EPSILON
    momentum: float = float(np.float32(0.9))
    training_mode: int = 0

    def infer(self) -> TensorType:
        if self.training_mode:
            raise Unsupported("BatchNormalization: training_mode=1 updates running statistics", loc=self._pending_loc,
                              hint="export the model for inference (model.eval() in PyTorch)")
        require_image(self, self.x, self.scale, self.b, self.input_mean, self.input_var)
        return self.x.type

    def reference(self, x, scale, b, input_mean, input_var):
        scale, b, m, variance = (per_channel(v, x.ndim) for v in (scale, b, input_mean, input_var))
        return rounded(scale * (x.astype(np.float64) - m) / np.sqrt(variance + self.epsilon) + b, self.x.dtype)

    def lower(self, at, x, scale, b, input_mean, input_var):
        wide = f64 if any(v.dtype is f64 for v in self.operands) else f32
        scale, b, m, variance = (cast(v(at[1]), wide) for v in (scale, b, input_mean, input_var))
        return narrow((cast(x(*at), wide) - m) * (scale * inverse_deviation(variance, self.epsilon)) + b, x.dtype)


class InstanceNormalization(Op):
    """ONNX InstanceNormalization: scale * (x - mean) / sqrt(variance + epsilon) + b, statistics of each image and channel."""

    x: Value
    scale: Value
    b: Value
    epsilon: float = EPSILON

    def infer(self) -> TensorType:
        require_image(self, self.x, self.scale, self.b)
        self.require(self.x.type.rank >= 3, f"input has rank {self.x.type.rank}; [n, c, spatial...] is needed")
        return self.x.type

    def reference(self, x, scale, b):
        y = standardized(x.astype(np.float64), tuple(range(2, x.ndim)), self.epsilon)
        return rounded(y * per_channel(scale, x.ndim) + per_channel(b, x.ndim), self.x.dtype)

    def lower(self, at, x, scale, b):
        m, variance = moments(x.shape[2:], lambda *i: widen(x(*at[:2], *i)))
        y = (widen(x(*at)) - m) * (widen(scale(at[1])) * inverse_deviation(variance, self.epsilon)) + widen(b(at[1]))
        return narrow(y, x.dtype)


class GroupNormalization(Op):
    """ONNX GroupNormalization: as InstanceNormalization, with statistics over num_groups groups of channels (GroupNormalization-21)."""

    x: Value
    scale: Value
    bias: Value
    epsilon: float = EPSILON
    num_groups: int
    stash_type: int = 1

    def infer(self) -> TensorType:
        require_image(self, self.x, self.scale, self.bias)
        channels = self.x.shape[1]
        self.require(isinstance(channels, int), f"the number of channels {channels} must be known")
        self.require(self.num_groups > 0 and channels % self.num_groups == 0,
                     f"{channels} channels do not divide into {self.num_groups} groups")
        return self.x.type

    def reference(self, x, scale, bias):
        groups = x.astype(np.float64).reshape(x.shape[0], self.num_groups, -1)
        y = standardized(groups, (2,), self.epsilon).reshape(x.shape)
        return rounded(y * per_channel(scale, x.ndim) + per_channel(bias, x.ndim), self.x.dtype)

    def lower(self, at, x, scale, bias):
        n, c, *_ = at
        channels = x.shape[1] // self.num_groups
        first = c // channels * channels
        m, variance = moments((channels, *x.shape[2:]), lambda k, *i: widen(x(n, first + k, *i)))
        y = (widen(x(*at)) - m) * (widen(scale(c)) * inverse_deviation(variance, self.epsilon)) + widen(bias(c))
        return narrow(y, x.dtype)


def require_broadcast(op: Op, x: Value, *others: Value | None) -> None:
    """Each other operand broadcasts to the shape of x (ONNX "unidirectional broadcasting")."""
    for v in others:
        if v is not None:
            fits = v.type.rank <= x.type.rank and same_shape(broadcast_shapes(op, x.shape, v.shape), x.shape)
            op.require(fits, f"%{v.name} of shape {shape_text(v.shape)} does not broadcast to {shape_text(x.shape)}")


class LayerNormalization(Op):
    """ONNX LayerNormalization: (x - mean) / sqrt(variance + epsilon) * scale + b, statistics over axes [axis, ...) (LayerNormalization-17).

    Further results, when asked for: the mean and 1 / sqrt(variance + epsilon), of the type that stash_type names.
    """

    x: Value
    scale: Value
    b: Value | None = None
    axis: int = -1
    epsilon: float = EPSILON
    stash_type: int = 1
    outputs: int = 1

    def infer(self):
        self.require(all(v.dtype is self.x.dtype for v in self.operands) and self.x.dtype.is_float, "operands must have one float type")
        axis = normal_axis(self, self.axis, self.x.type.rank)
        require_broadcast(self, self.x, self.scale, self.b)
        self.require(self.stash_type in STASH_TYPES, f"stash_type is {self.stash_type}; a float type is needed")
        row = TensorType(self._stash, (*self.x.shape[:axis], *(1 for _ in self.x.shape[axis:])))
        return (self.x.type, row, row)[:self.outputs] if self.outputs > 1 else self.x.type

    @property
    def _stash(self) -> DType:
        return STASH_TYPES[self.stash_type]

    def reference(self, x, scale, b):
        axes = tuple(range(self.axis % x.ndim, x.ndim))
        x = x.astype(np.float64)
        m, variance = x.mean(axis=axes, keepdims=True), x.var(axis=axes, keepdims=True)
        inverse = 1.0 / np.sqrt(variance + self.epsilon)
        y = (x - m) * inverse * scale.astype(np.float64) + (0.0 if b is None else b.astype(np.float64))
        results = (rounded(y, self.x.dtype), rounded(m, self._stash), rounded(inverse, self._stash))
        return results[:self.outputs]

    def lower(self, at, x, scale, b):
        axis = self.axis % x.rank
        m, variance = moments(x.shape[axis:], lambda *i: widen(x(*at[:axis], *i)))
        inverse = inverse_deviation(variance, self.epsilon)
        y = (widen(x(*at)) - m) * inverse * widen(scale.broadcast(at))
        if b is not None:
            y = y + widen(b.broadcast(at))
        return (narrow(y, x.dtype), narrow(m, self._stash), narrow(inverse, self._stash))[:self.outputs]


class RMSNormalization(Op):
    """ONNX RMSNormalization: x / sqrt(mean(x^2) + epsilon) * scale over axes [axis, ...), in the type of scale (RMSNormalization-23)."""

    x: Value
    scale: Value
    axis: int = -1
    epsilon: float = EPSILON
    stash_type: int = 1

    def infer(self) -> TensorType:
        self.require(self.x.dtype.is_float and self.scale.dtype.is_float, "operands must be of float types")
        normal_axis(self, self.axis, self.x.type.rank)
        require_broadcast(self, self.x, self.scale)
        return self.x.type.with_dtype(self.scale.dtype)

    def reference(self, x, scale):
        axes = tuple(range(self.axis % x.ndim, x.ndim))
        x = x.astype(np.float64)
        y = x / np.sqrt((x * x).mean(axis=axes, keepdims=True) + self.epsilon)
        return rounded(y * scale.astype(np.float64), self.scale.dtype)

    def lower(self, at, x, scale):
        axis = self.axis % x.rank
        power = mean(x.shape[axis:], lambda *i: square(widen(x(*at[:axis], *i))))
        factor = widen(scale.broadcast(at))
        y = widen(x(*at)) * inverse_deviation(power, self.epsilon)
        return narrow(cast(y, factor.dtype) * factor, scale.dtype)


class LpNormalization(Op):
    """ONNX LpNormalization: x divided by its 1- or 2-norm along an axis; 0 where the norm is 0 (LpNormalization-22)."""

    x: Value
    axis: int = -1
    p: int = 2

    def infer(self) -> TensorType:
        self.require(self.x.dtype.is_float, f"input is {self.x.dtype}; a float type is needed")
        self.require(self.p in (1, 2), f"p is {self.p}; it must be 1 or 2")
        normal_axis(self, self.axis, self.x.type.rank)
        return self.x.type

    def reference(self, x):
        wide = x.astype(np.float64)
        norm = np.linalg.norm(wide, ord=self.p, axis=self.axis, keepdims=True)
        return rounded(np.divide(wide, norm, out=np.zeros_like(wide), where=norm != 0), self.x.dtype)

    def lower(self, at, x):
        axis = self.axis % x.rank
        row = lambda k: widen(x(*at[:axis], k, *at[axis + 1:]))
        if self.p == 1:
            norm = fold((x.shape[axis],), "add", lambda k: unary("abs", row(k)))
        else:
            norm = unary("sqrt", fold((x.shape[axis],), "add", lambda k: square(row(k))))
        zero = compare("eq", norm, const(0.0, norm.dtype))
        return narrow(select(zero, const(0.0, norm.dtype), widen(x(*at)) / norm), x.dtype)


class LRN(Op):
    """ONNX LRN: x / (bias + alpha/size * sum of x^2 over `size` neighbouring channels)^beta (Krizhevsky et al. 2012; LRN-13)."""

    x: Value
    alpha: float = float(np.float32(1e-4))
    beta: float = 0.75
    bias: float = 1.0
    size: int

    def infer(self) -> TensorType:
        require_image(self, self.x)
        self.require(self.size > 0, f"size is {self.size}; it must be positive")
        return self.x.type

    def reference(self, x):
        wide = x.astype(np.float64)
        before = (self.size - 1) // 2
        padded = np.pad(wide * wide, [(0, 0), (before, self.size - 1 - before)] + [(0, 0)] * (x.ndim - 2))
        total = sum(padded[:, k:k + x.shape[1]] for k in range(self.size))
        return rounded(wide / (self.bias + self.alpha / self.size * total) ** self.beta, self.x.dtype)

    def lower(self, at, x):
        n, c, *i = at
        first = c - (self.size - 1) // 2
        total = fold((self.size,), "add", lambda k: square(widen(x(n, first + k, *i, fill=0.0))))
        scale = binary("pow", total * (self.alpha / self.size) + self.bias, const(self.beta, total.dtype))
        return narrow(widen(x(*at)) / scale, x.dtype)


class MeanVarianceNormalization(Op):
    """ONNX MeanVarianceNormalization: (x - mean) / (sqrt(variance) + 1e-9) over `axes` (the function body of version 13)."""

    x: Value
    axes: tuple = (0, 2, 3)

    def infer(self) -> TensorType:
        self.require(self.x.dtype.is_float, f"input is {self.x.dtype}; a float type is needed")
        normal_axes(self, self.axes, self.x.type.rank)
        return self.x.type

    def reference(self, x):
        wide = x.astype(np.float64)
        centered = wide - wide.mean(axis=self.axes, keepdims=True)
        return rounded(centered / (wide.std(axis=self.axes, keepdims=True) + 1e-9), self.x.dtype)

    def lower(self, at, x):
        axes = sorted(a % x.rank for a in self.axes)

        def row(*i):
            inner = iter(i)
            return widen(x(*(next(inner) if axis in axes else index for axis, index in enumerate(at))))

        m, variance = moments(tuple(x.shape[a] for a in axes), row)
        return narrow((widen(x(*at)) - m) / (unary("sqrt", variance) + 1e-9), x.dtype)
