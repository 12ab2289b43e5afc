"""One graph that holds every integer operator once, drawn at random: for tests that machine code and interpreter agree in every bit.

Each operator stands by itself behind inputs of its own, so a graph costs one compilation and one start of an emulator, and the output that
differs names the operator. Extents lie around tiles and groups, scales make results use the range of their type and saturate now and then.

    graph = integer_operators(seed=3)
    expected = interpret(integer_form(graph), byte_inputs(graph, seed=3))       # byte_inputs is that of quantized.py
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import prod
from random import Random
from typing import Any

import numpy as np

from edgec.graph import Graph, Value, constant, graph_input
from edgec.onnx.tensor import CODE_OF_DTYPE
from edgec.ops import quantized, quantized_arithmetic, quantized_contrib, quantized_gemm, quantized_pooling, quantized_transposed
from edgec.ops.cast import Cast
from edgec.ops.convolution import Conv
from edgec.ops.fixed_softmax import FixedReciprocal, FixedShare
from edgec.ops.integer_pool import IntegerAveragePool
from edgec.ops.lookup import Lookup
from edgec.ops.matmul import MatMul
from edgec.ops.quantization import DequantizeLinear, DynamicQuantizeLinear, QuantizeLinear
from edgec.ops.rescale import Rescale, RoundAway
from edgec.ops.reshape import Transpose
from edgec.testing.contributed import CONTRIBUTED
from edgec.testing.quantized import CHANNELS, SIDES
from edgec.testing.whole_numbers import ANY
from edgec.types import DType, TensorType, f32, i4, i8, i16, i32, u4, u8, u16

MOST_PRODUCTS = 300_000
BYTES = (u8, i8)


def integer_operators(seed: int, names: Sequence[str] = ()) -> Graph:
    """A graph with an output for each of OPERATORS (or of those named, of ANY as well, which are then the same), called like it."""
    inputs, outputs = list[Value](), list[tuple[str, Value]]()
    for name in names or OPERATORS:
        drawn = Drawing(seed, name)
        made = (OPERATORS.get(name) or ANY[name])(drawn)
        inputs += drawn.inputs
        outputs += [(f"{name}_{n}", v) for n, v in enumerate(made if isinstance(made, tuple) else (made,))]
    return Graph(tuple(inputs), tuple(v for _, v in outputs), tuple(n for n, _ in outputs), f"operators{seed}")


class Drawing:
    """Where the operands of one operator come from; `inputs` are those so far."""

    def __init__(self, seed: int, name: str):
        self.name, self.random = name, Random(f"{seed} {name}")
        self.numbers = np.random.default_rng(self.random.randrange(1 << 32))
        self.inputs: list[Value] = []

    def pick(self, options: Sequence[Any]) -> Any:
        return self.random.choice(list(options))

    def sometimes(self, one_in: int = 2) -> bool:
        return self.random.randrange(one_in) == 0

    def input(self, dtype: DType, *shape: int) -> Value:
        self.inputs.append(graph_input(f"{self.name}_x{len(self.inputs)}", TensorType(dtype, shape)))
        return self.inputs[-1]

    def image(self, dtype: DType, channels: int, height: int, width: int) -> Value:
        """An input [n, c, y, x]; half of them lie in memory with the channels last."""
        n = self.pick((1, 1, 2))
        if self.sometimes():
            return self.input(dtype, n, channels, height, width)
        return Transpose(self.input(dtype, n, height, width, channels), (0, 3, 1, 2)).output

    def whole(self, dtype: DType, *shape: int) -> Value:
        """Constants over the whole range of a type."""
        return constant(self.numbers.integers(dtype.low, dtype.high, shape, endpoint=True).astype(dtype.numpy), "w")

    def weights(self, dtype: DType, *shape: int) -> Value:
        """Constants over the whole range, or those of i8 in half of the cases without -128, whose products pair up in 16 bits."""
        w = self.whole(dtype, *shape)
        return constant(np.maximum(w.array, -127), "w") if dtype is i8 and self.sometimes() else w

    def zero(self, dtype: DType) -> Value:
        """A zero point: anywhere, at an end of the range, or 0."""
        return constant(np.array(self.pick((dtype.low, dtype.high, 0, self.random.randint(dtype.low, dtype.high))), dtype.numpy))

    def scale(self, size: float, *shape: int) -> Value:
        return constant((size * self.numbers.uniform(0.5, 2, shape)).astype(np.float32))

    def bias(self, count: int, size: int = 5000) -> Value | None:
        return constant(self.numbers.integers(-size, size, count).astype(np.int32)) if self.sometimes(3) is False else None

    def channelwise(self, count: int) -> tuple[int, ...]:
        return self.pick(((), (count,), (count,)))

    def window(self, height: int, width: int, kernel: Sequence[int] = (1, 2, 3, 5)) -> dict[str, tuple[int, ...]]:
        """Kernel, strides, dilations and pads, all different on the two axes and the four sides, that fit a size."""
        sizes = [self.pick(kernel) for _ in range(2)]
        dilations = [self.pick((1, 1, 2)) for _ in range(2)]
        reach = [(k - 1) * d for k, d in zip(sizes, dilations)]
        begin, end = ([self.random.randint(0, min(r, 2)) for r in reach] for _ in range(2))
        end = [max(e, r + 1 - b - n) for e, r, b, n in zip(end, reach, begin, (height, width))]
        return {"kernel_shape": tuple(sizes), "strides": (self.pick((1, 1, 2)), self.pick((1, 1, 2, 3))), "dilations": tuple(dilations),
                "pads": (*begin, *end)}

    def operands(self, kind: str, x: DType) -> tuple[Value, Value, dict[str, Any]]:
        """Input, weights and attributes of a convolution: "plain", "depthwise" (one or two outputs a channel) or "grouped"."""
        while True:
            height, width, channels = self.pick(SIDES), self.pick(SIDES), self.pick(CHANNELS)
            group = {"plain": 1, "depthwise": channels, "grouped": self.pick([g for g in (2, 3, 4) if channels % g == 0] or [1])}[kind]
            outputs = group * self.pick((1, 1, 2) if kind == "depthwise" else CHANNELS)
            window = self.window(height, width)
            if 2 * outputs * (channels // group) * height * width * prod(window["kernel_shape"]) < MOST_PRODUCTS:
                break
        w = self.weights(self.pick((i8, i8, u8)), outputs, channels // group, *window["kernel_shape"])
        return self.image(x, channels, height, width), w, {"group": group, **window}


def _fitted(w: Value, axes: tuple[int, ...], x: DType, y: DType) -> float:
    """About the scale of a result that makes sums of products, with scales of 1, reach the ends of its range."""
    taps = w.type.max_size / prod(n for axis, n in enumerate(w.shape) if axis not in axes)
    return 74 * float(np.sqrt(taps)) * 2.0 ** (x.bits - y.bits)


def _conv(kind: str, types: Sequence[DType] = BYTES) -> Callable[[Drawing], Value]:
    def make(d: Drawing) -> Value:
        x_type, y_type = d.pick(types), d.pick(types)
        x, w, attributes = d.operands(kind, x_type)
        scales = d.channelwise(w.shape[0])
        zeros = constant(np.zeros(scales, w.dtype.numpy)) if d.sometimes() else d.whole(w.dtype, *scales)
        size = _fitted(w, (1, 2, 3), x_type, y_type)
        return quantized.QLinearConv(x, d.scale(0.02), d.zero(x_type), w, d.scale(0.01, *scales), zeros, d.scale(2e-4 * size),
                                     d.zero(y_type), d.bias(w.shape[0], 5000 << x_type.bits - 8), **attributes).output
    return make


def _conv_integer(d: Drawing) -> Value:
    x_type = d.pick(BYTES)
    x, w, attributes = d.operands(d.pick(("plain", "grouped", "depthwise")), x_type)
    zeros = [d.zero(x_type), d.whole(w.dtype, *d.channelwise(w.shape[0]))][:d.random.randint(0, 2)]
    return quantized.ConvInteger(x, w, *zeros, **attributes).output


def _conv_transpose(types: Sequence[DType]) -> Callable[[Drawing], Value]:
    def make(d: Drawing) -> Value:
        x_type, y_type, group = d.pick(types), d.pick(BYTES), d.pick((1, 1, 2))
        inputs, outputs, height, width = group * d.pick((1, 3, 8)), d.pick((1, 4, 5, 16)), d.pick((2, 3, 5)), d.pick((2, 3, 5))
        kernel, strides = (d.pick((1, 2, 3)), d.pick((2, 3, 4))), (d.pick((1, 2)), d.pick((1, 2)))
        w = d.whole(d.pick(BYTES), inputs, outputs, *kernel)
        scales, size = d.channelwise(outputs), _fitted(w, (0, 2, 3), x_type, y_type)
        pads = tuple(d.random.randint(0, (k - 1) // 2) for k in kernel * 2)
        return quantized_transposed.QLinearConvTranspose(
            d.image(x_type, inputs, height, width), d.scale(0.02), d.zero(x_type), w, d.scale(0.01, *scales),
            constant(np.zeros(scales, w.dtype.numpy)), d.scale(1e-4 * size), d.zero(y_type), d.bias(group * outputs), group=group,
            strides=strides, pads=pads).output
    return make


def _matrices(d: Drawing, types: Sequence[DType]) -> tuple[DType, tuple[int, ...], int, int]:
    return d.pick(types), d.pick(((), (), (2,))) + (d.pick(SIDES),), d.pick(CHANNELS), d.pick(CHANNELS)


def _qlinear_matmul(types: Sequence[DType], computed: bool = False) -> Callable[[Drawing], Value]:
    def make(d: Drawing) -> Value:
        a_type, rows, inner, columns = _matrices(d, types)
        b_type, y_type = d.pick(BYTES), d.pick(types)
        b = d.input(b_type, *rows[:-1], inner, columns) if computed else d.weights(b_type, inner, columns)
        scales = () if computed else d.channelwise(columns)
        zeros = d.zero(b_type) if computed else d.whole(b_type, *scales)
        y_scale = d.scale(2e-4 * 74 * inner ** 0.5 * 2.0 ** (a_type.bits - y_type.bits))
        return quantized.QLinearMatMul(d.input(a_type, *rows, inner), d.scale(0.02), d.zero(a_type), b, d.scale(0.01, *scales), zeros,
                                       y_scale, d.zero(y_type)).output
    return make


def _matmul_integer(computed: bool) -> Callable[[Drawing], Value]:
    def make(d: Drawing) -> Value:
        a_type, rows, inner, columns = _matrices(d, BYTES)
        b_type = d.pick(BYTES)
        b = d.input(b_type, *rows[:-1], inner, columns) if computed else d.weights(b_type, inner, columns)
        zeros = [d.zero(a_type), d.zero(b_type) if computed else d.whole(b_type, *d.channelwise(columns))][:d.random.randint(0, 2)]
        return quantized.MatMulInteger(d.input(a_type, *rows, inner), b, *zeros).output
    return make


def _qgemm(d: Drawing) -> Value:
    a_type, (*_, rows), inner, columns = _matrices(d, BYTES)
    b_type, transposed = d.pick(BYTES), d.random.randint(0, 1)
    turned, scales = d.random.randint(0, 1), d.channelwise(columns)
    a = d.input(a_type, *((inner, rows) if turned else (rows, inner)))
    b = d.weights(b_type, *((columns, inner) if transposed else (inner, columns)))
    result = (d.scale(2e-4 * 74 * inner ** 0.5), d.zero(a_type)) if d.sometimes(3) is False else ()
    return quantized_gemm.QGemm(a, d.scale(0.02), d.zero(a_type), b, d.scale(0.01, *scales), d.whole(b_type, *scales), d.bias(columns),
                                *result, transA=turned, transB=transposed, alpha=d.pick((1.0, 0.7))).output


def _dynamic(d: Drawing) -> tuple[Value, ...]:
    return DynamicQuantizeLinear(d.input(f32, d.pick(SIDES), d.pick(CHANNELS))).results


def _spread(d: Drawing, kind: str) -> tuple[tuple[int, ...], tuple[int, ...], dict[str, int]]:
    """Shapes of a tensor and of its scales ("tensor", "axis" or "block"), and the attributes that say so."""
    shape = (d.pick(SIDES), d.pick(CHANNELS), d.pick(CHANNELS))
    if kind == "tensor":
        return shape, (), {}
    axis = d.random.randrange(3)
    if kind == "axis":
        return shape, (shape[axis],), {"axis": axis}
    size = d.pick((2, 3, 16))
    return shape, (*shape[:axis], -(-shape[axis] // size), *shape[axis + 1:]), {"axis": axis, "block_size": size}


def _quantize(kind: str) -> Callable[[Drawing], Value]:
    def make(d: Drawing) -> Value:
        (shape, scales, attributes), dtype = _spread(d, kind), d.pick((u8, i8, u16, i16, i32, u4, i4))
        around = d.numbers.integers(dtype.low >> 1, (dtype.high >> 1) + 1, scales) * (dtype is not i32)
        zero = constant(around.astype(dtype.numpy))
        y = QuantizeLinear(d.input(f32, *shape), d.scale(3.0 / min(dtype.high, 1 << 15), *scales), zero, **attributes).output
        return Cast(y, to=CODE_OF_DTYPE[i32]).output if dtype in (u4, i4) else y
    return make


def _dequantize(kind: str) -> Callable[[Drawing], Value]:
    def make(d: Drawing) -> Value:
        (shape, scales, attributes), dtype = _spread(d, kind), d.pick((u8, i8, u16, i16, i32))
        return DequantizeLinear(d.input(dtype, *shape), d.scale(0.02, *scales), None if dtype is i32 else d.whole(dtype, *scales),
                                **attributes).output
    return make


def _two(cls: type, size: float) -> Callable[[Drawing], Value]:
    def make(d: Drawing) -> Value:
        dtype, shape = d.pick(BYTES), (d.pick(SIDES), d.pick(SIDES), d.pick(CHANNELS))
        other = d.pick((shape, shape, shape[-1:], ()))
        b = d.input(dtype, *other) if d.sometimes() else d.whole(dtype, *other)
        x = d.input(dtype, *shape)
        return cls(x, d.scale(0.02), d.zero(dtype), b, d.scale(0.02), d.zero(dtype), d.scale(size), d.zero(dtype)).output
    return make


def _concat(d: Drawing) -> Value:
    dtype, shape, axis = d.pick(BYTES), [d.pick(SIDES), d.pick(CHANNELS), d.pick(SIDES)], d.random.randrange(3)
    parts = []
    for _ in range(d.pick((2, 3))):
        sizes = [d.pick(CHANNELS) if n == axis else size for n, size in enumerate(shape)]
        parts += [d.input(dtype, *sizes), d.scale(0.02), d.zero(dtype)]
    return quantized_contrib.QLinearConcat(d.scale(0.02), d.zero(dtype), tuple(parts), axis=axis).output


def _average_pool(d: Drawing) -> Value:
    dtype, height, width = d.pick(BYTES), d.pick(SIDES), d.pick(SIDES)
    window = d.window(height, width, (1, 2, 3))
    x = d.image(dtype, d.pick(CHANNELS), height, width)
    return quantized_pooling.QLinearAveragePool(x, d.scale(0.02), d.zero(dtype), d.scale(0.015), d.zero(dtype),
                                                count_include_pad=d.random.randint(0, 1), **window).output


def _global_average_pool(d: Drawing) -> Value:
    dtype = d.pick((u8, i8, i16))
    x = d.image(dtype, d.pick(CHANNELS), d.pick(SIDES), d.pick(SIDES))
    zeros = [constant(np.int16(0)) if dtype is i16 else d.zero(dtype) for _ in range(2)]
    return quantized_pooling.QLinearGlobalAveragePool(x, d.scale(0.02), zeros[0], d.scale(0.01), zeros[1]).output


def _reduce_mean(d: Drawing) -> Value:
    dtype, axes = d.pick(BYTES), d.pick(((0,), (1,), (2,), (0, 2), (1, 2)))
    x = d.input(dtype, d.pick(SIDES), d.pick(CHANNELS), d.pick(CHANNELS))
    return quantized_pooling.QLinearReduceMean(x, d.scale(0.02), d.zero(dtype), d.scale(0.01), d.zero(dtype), axes=axes,
                                               keepdims=d.random.randint(0, 1)).output


def _function(cls: type, size: float, **attributes: Any) -> Callable[[Drawing], Value]:
    def make(d: Drawing) -> Value:
        dtype = d.pick(BYTES)
        zero = d.zero(dtype) if size > 0.01 else constant(np.array(dtype.low, dtype.numpy))
        return cls(d.input(dtype, d.pick(SIDES), d.pick(CHANNELS)), d.scale(0.05), d.zero(dtype), d.scale(size), zero, **attributes).output
    return make


def _narrow_weights(dtype: DType, dense: bool) -> Callable[[Drawing], Value]:
    """Weights of four bits in QDQ form."""
    def make(d: Drawing) -> Value:
        x_type, y_type, inputs, outputs = d.pick(BYTES), d.pick(BYTES), d.pick(CHANNELS), d.pick(CHANNELS)
        kernel = () if dense else (d.pick((1, 3)),) * 2
        shape, axis = ((inputs, outputs), 1) if dense else ((outputs, inputs, *kernel), 0)
        scales = d.channelwise(outputs)
        w = DequantizeLinear(d.whole(dtype, *shape), d.scale(0.1, *scales), d.whole(dtype, *scales), axis=axis).output
        q = d.input(x_type, d.pick(SIDES), inputs) if dense else d.image(x_type, inputs, 5, 4)
        x = DequantizeLinear(q, d.scale(0.02), d.zero(x_type)).output
        y = MatMul(x, w).output if dense else Conv(x, w, pads=(kernel[0] // 2,) * 4).output
        return QuantizeLinear(y, d.scale(0.06 * float(prod((inputs, *kernel))) ** 0.5), d.zero(y_type)).output
    return make


def _rescaled(rounding: str) -> Callable[[Drawing], Value]:
    """What TFLite makes of a convolution: sums in i32, scaled by whole numbers, one or one a channel."""
    def make(d: Drawing) -> Value:
        x, w, attributes = d.operands(d.pick(("plain", "depthwise")), i8)
        total = quantized.ConvInteger(x, w, d.zero(i8), **attributes).output
        channels = d.channelwise(w.shape[0])
        multiplier = constant(d.numbers.integers(1 << 30, 1 << 31, channels).astype(np.int32))
        shift = constant(d.numbers.integers(*d.pick(((38, 42), (29, 43))), channels).astype(np.int32))
        limits = d.pick(({}, {"low": -5, "high": 90}))
        return Rescale(total, multiplier, shift, axis=1, zero=d.random.randint(-128, 127), to=CODE_OF_DTYPE[i8], rounding=rounding,
                       **limits).output
    return make


def _round_away(d: Drawing) -> Value:
    return RoundAway(d.input(f32, d.pick(SIDES), d.pick(CHANNELS)), scale=0.0625, zero=3, to=CODE_OF_DTYPE[d.pick(BYTES)]).output


def _integer_pool(d: Drawing) -> Value:
    height, width = d.pick(SIDES), d.pick(SIDES)
    return IntegerAveragePool(d.image(d.pick((u8, i8, i16)), d.pick(CHANNELS), height, width), **d.window(height, width, (1, 2, 3))).output


def _fixed_share(d: Drawing) -> Value:
    """The end of TFLite's softmax: sums of exponentials, their reciprocals, shares of them."""
    x = Cast(d.input(u16, 3, d.pick(CHANNELS)), to=CODE_OF_DTYPE[i32]).output
    total = constant((d.numbers.integers(1 << 19, 1 << 30, (3, 1))).astype(np.int32))
    return FixedShare(x, FixedReciprocal(total).results[0], constant(np.array([[0], [1], [9]], np.int32)), to=CODE_OF_DTYPE[i16]).output


def _conv_last(d: Drawing) -> Value:
    """The channels as the last axis."""
    x_type, y_type = d.pick(BYTES), d.pick(BYTES)
    x, w, attributes = d.operands(d.pick(("plain", "depthwise")), x_type)
    last, y_scale = Transpose(x, (0, 2, 3, 1)).output, d.scale(2e-4 * _fitted(w, (1, 2, 3), x_type, y_type))
    return quantized_contrib.QLinearConv(last, d.scale(0.02), d.zero(x_type), w, d.scale(0.01), d.zero(w.dtype), y_scale, d.zero(y_type),
                                         channels_last=1, **attributes).output


def _conv_transpose_integer(d: Drawing) -> Value:
    x_type, inputs = d.pick(BYTES), d.pick((1, 3, 8))
    w = d.weights(d.pick(BYTES), inputs, d.pick((1, 4, 5, 16)), d.pick((1, 2, 3)), d.pick((2, 3, 4)))
    zeros = [d.zero(x_type), d.zero(w.dtype)][:d.random.randint(0, 2)]
    return quantized_transposed.ConvTransposeInteger(d.image(x_type, inputs, d.pick((2, 3, 5)), d.pick((2, 3, 5))), w, *zeros,
                                                     strides=(d.pick((1, 2)), d.pick((1, 2)))).output


def _to_float(d: Drawing) -> Value:
    a_type, rows, inner, columns = _matrices(d, BYTES)
    b_type, scales = d.pick(BYTES), d.channelwise(columns)
    zeros = [d.zero(a_type), d.whole(b_type, *scales)][:d.random.randint(0, 2)]
    return quantized_contrib.MatMulIntegerToFloat(d.input(a_type, *rows, inner), d.weights(b_type, inner, columns), d.scale(0.02),
                                                  d.scale(0.01, *scales), *zeros).output


def _dynamic_matmul(d: Drawing) -> Value:
    _, rows, inner, columns = _matrices(d, BYTES)
    a, b = d.input(f32, *rows, inner), d.weights(d.pick(BYTES), inner, columns)
    return quantized_contrib.DynamicQuantizeMatMul(a, b, d.scale(0.01)).output


def _where(d: Drawing) -> Value:
    dtype, shape = d.pick(BYTES), (d.pick(SIDES), d.pick(CHANNELS))
    parts = [v for _ in range(2) for v in (d.input(dtype, *shape), d.scale(0.02), d.zero(dtype))]
    condition = constant(d.numbers.integers(0, 2, shape).astype(bool))
    return quantized_contrib.QLinearWhere(condition, *parts, d.scale(0.02), d.zero(dtype)).output


def _contributed_scaling(d: Drawing) -> tuple[Value, ...]:
    """QuantizeLinear and DequantizeLinear of com.microsoft."""
    dtype, shape, axis = d.pick((u8, i8, u16, i16)), (d.pick(SIDES), d.pick(CHANNELS), d.pick(SIDES)), d.random.randrange(3)
    scales = d.pick(((), (shape[axis],)))
    narrow = quantized_contrib.QuantizeLinear(d.input(f32, *shape), d.scale(3.0 / dtype.high, *scales), d.whole(dtype, *scales), axis=axis)
    wide = quantized_contrib.DequantizeLinear(d.input(dtype, *shape), d.scale(0.02, *scales), d.whole(dtype, *scales), axis=axis)
    return narrow.output, wide.output


def _lookup(d: Drawing) -> Value:
    return Lookup(d.input(d.pick(BYTES), d.pick(SIDES), d.pick(CHANNELS)), d.whole(d.pick((u8, i8, i16)), 256)).output


OPERATORS: dict[str, Callable[[Drawing], Any]] = {
    "conv": _conv("plain"), "depthwise": _conv("depthwise"), "grouped": _conv("grouped"), "conv_16": _conv("plain", (i16, u16)),
    "depthwise_16": _conv("depthwise", (i16,)), "conv_transpose": _conv_transpose(BYTES), "conv_transpose_16": _conv_transpose((i16,)),
    "conv_integer": _conv_integer, "matmul_integer": _matmul_integer(False), "matmul_integer_computed": _matmul_integer(True),
    "qlinear_matmul": _qlinear_matmul(BYTES), "qlinear_matmul_computed": _qlinear_matmul(BYTES, True),
    "qlinear_matmul_16": _qlinear_matmul((i16, u16)), "qgemm": _qgemm, "dynamic_quantize": _dynamic,
    **{f"quantize_{kind}": _quantize(kind) for kind in ("tensor", "axis", "block")},
    **{f"dequantize_{kind}": _dequantize(kind) for kind in ("tensor", "axis", "block")},
    "qlinear_add": _two(quantized_arithmetic.QLinearAdd, 0.03), "qlinear_mul": _two(quantized_arithmetic.QLinearMul, 0.03),
    "qlinear_concat": _concat, "qlinear_average_pool": _average_pool, "qlinear_global_average_pool": _global_average_pool,
    "qlinear_reduce_mean": _reduce_mean, "qlinear_leaky_relu": _function(quantized_contrib.QLinearLeakyRelu, 0.05, alpha=0.1),
    "qlinear_sigmoid": _function(quantized_contrib.QLinearSigmoid, 1 / 256),
    "qlinear_softmax": _function(quantized_contrib.QLinearSoftmax, 1 / 256, axis=1, opset=13),
    "int4_conv": _narrow_weights(i4, False), "uint4_conv": _narrow_weights(u4, False), "int4_matmul": _narrow_weights(i4, True),
    "uint4_matmul": _narrow_weights(u4, True), "rescale_once": _rescaled("once"), "rescale_twice": _rescaled("twice"),
    "round_away": _round_away, "integer_pool": _integer_pool, "fixed_share": _fixed_share,
    "conv_last": _conv_last, "conv_transpose_integer": _conv_transpose_integer, "to_float": _to_float, "dynamic_matmul": _dynamic_matmul,
    "where": _where, "contributed_scaling": _contributed_scaling, "lookup": _lookup, **CONTRIBUTED,
}
