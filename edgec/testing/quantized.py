"""Random networks in QDQ form, for tests: every bit of what is compiled must equal the interpreter's integer form.

    graph = quantized_network(seed=3)
    expected = interpret(integer_form(graph), byte_inputs(graph, seed=3))

Extents lie around tiles and groups; scales are fitted to the layers, so that results use the range of their type and saturate now and then.
"""

from __future__ import annotations

from random import Random
from typing import Any

import numpy as np

from edgec.graph import Graph, Value, constant, graph_input
from edgec.ops.activation import HardSwish, LeakyRelu, Relu, Sigmoid
from edgec.ops.arithmetic import Add, Clip, Mul
from edgec.ops.convolution import Conv
from edgec.ops.joining import Concat
from edgec.ops.matmul import Gemm, MatMul
from edgec.ops.pooling import AveragePool, GlobalAveragePool, MaxPool
from edgec.ops.quantization import DequantizeLinear, DynamicQuantizeLinear, QuantizeLinear
from edgec.ops.quantized import MatMulInteger
from edgec.ops.reshape import Flatten, Transpose
from edgec.types import DType, TensorType, f32, i8, i16, u8

CHANNELS = (1, 2, 3, 4, 5, 8, 15, 16, 17, 24, 32, 33)
SIDES = (1, 2, 3, 5, 7, 8, 9)


def quantized_network(seed: int, steps: int = 4) -> Graph:
    """A chain of quantized layers on an image of bytes, or of 16-bit numbers."""
    return _Network(seed).graph(steps)


def byte_inputs(graph: Graph, seed: int = 0) -> dict[str, np.ndarray]:
    """Bytes over their whole range and normal real numbers, by input name."""
    random = np.random.default_rng(seed)
    return {v.name: random.integers(v.dtype.low, v.dtype.high, v.shape, endpoint=True).astype(v.dtype.numpy) if v.dtype.is_integer
            else random.normal(size=v.shape).astype(v.dtype.numpy) for v in graph.inputs}


class _Network:
    """One drawing: every layer takes the real form of a tensor of bytes and gives one."""

    def __init__(self, seed: int):
        self.random, self.numbers = Random(seed), np.random.default_rng(seed)
        self.type: DType = self.random.choice((u8, i8, u8, i8, i16))

    def graph(self, steps: int) -> Graph:
        shape = (self.random.choice((1, 1, 2)), self.random.choice(CHANNELS), self.random.choice(SIDES), self.random.choice(SIDES))
        q = graph_input("q", TensorType(self.type, shape))
        x = DequantizeLinear(q, self.number(0.02 * self.step), self.zero()).output
        layers = (self.conv, self.conv, self.conv, self.depthwise, self.residual, self.pool)
        if self.type is not i16:  # of which functions stay real, and as exact as the machine's exp
            layers += (self.join, self.function)
        for _ in range(steps):
            x = self.random.choice(layers)(x)
        x = self.random.choice((lambda v: v, self.dense, self.tokens, self.mean))(x)
        return Graph((q,), (x.op.x,), ("y",), f"network{self.random.randrange(10**6)}")

    def number(self, size: float) -> Value:
        return constant(np.float32(size * self.random.uniform(0.5, 2)))

    @property
    def step(self) -> float:
        """A quantum, where that of a byte is 1."""
        return 2.0 ** (8 - self.type.bits)

    def zero(self) -> Value:
        """A zero point: anything, or an end of the range; 0 of 16 bits."""
        if self.type is i16:
            return constant(np.int16(0))
        ends = (self.type.low, self.type.high, self.random.randint(self.type.low, self.type.high))
        return constant(np.array(self.random.choice(ends), self.type.numpy))

    def rounded(self, y: Value, spread: float) -> Value:
        """The layer's result as bytes, and as real numbers again; `spread` is about how far it reaches."""
        scale, zero = self.number(spread * self.step / 100), self.zero()
        act = self.random.choice((None, None, Relu, LeakyRelu, Clip))
        if act is Clip:
            y = Clip(y, self.number(-spread / 4), self.number(spread / 3)).output
        elif act is not None:
            y = act(y).output
        return DequantizeLinear(QuantizeLinear(y, scale, zero).output, scale, zero).output

    def weights(self, *shape: int, axis: int = 0) -> tuple[Value, float]:
        """Weights in real form with one scale or one a channel, and about how large the products of a row get."""
        w = constant(self.numbers.integers(-127, 127, shape, endpoint=True).astype(np.int8))
        channels = (shape[axis],) if self.random.random() < 0.7 else ()
        scale = constant(self.numbers.uniform(0.001, 0.004, channels).astype(np.float32))
        inner = np.prod(shape) / shape[axis]
        return DequantizeLinear(w, scale, None, axis=axis).output, 0.2 * float(np.sqrt(inner))

    def bias(self, x: Value, w: Value, count: int) -> Value | None:
        """None, integers in units of the sum, or real numbers."""
        kind = self.random.randrange(3)
        scale = (x.op.scale.array * w.op.scale.array).astype(np.float32)
        whole = self.numbers.integers(-5000, 5000, count).astype(np.int32)
        if kind == 1:
            return DequantizeLinear(constant(whole), constant(np.broadcast_to(scale, count)), None, axis=0).output
        return constant((whole * scale).astype(np.float32)) if kind else None

    def conv(self, x: Value, group: int = 1, outputs: int = 0) -> Value:
        kernel = [min(self.random.choice((1, 1, 3, 5)), n + 2) for n in x.shape[2:]]
        outputs = outputs or self.random.choice(CHANNELS)
        w, spread = self.weights(outputs, x.shape[1] // group, *kernel)
        pads = [self.random.randint(0, 1) if k > 1 else 0 for k in kernel]
        pads = [max(p, (k - n + 1) // 2) for p, k, n in zip(pads, kernel, x.shape[2:])] * 2
        y = Conv(x, w, self.bias(x, w, outputs), group=group, pads=tuple(pads), strides=(self.random.choice((1, 1, 2)),) * 2).output
        return self.rounded(y, spread)

    def depthwise(self, x: Value) -> Value:
        return self.conv(x, group=x.shape[1], outputs=x.shape[1])

    def residual(self, x: Value) -> Value:
        w, spread = self.weights(x.shape[1], x.shape[1], 1, 1)
        branch = self.rounded(Conv(x, w).output, spread)
        return self.rounded(self.random.choice((Add, Mul))(x, branch).output, spread)

    def pool(self, x: Value) -> Value:
        kind, size = self.random.choice((MaxPool, AveragePool)), [min(self.random.choice((2, 3)), n) for n in x.shape[2:]]
        return self.rounded(kind(x, kernel_shape=tuple(size), strides=(self.random.choice((1, 2)),) * 2).output, 2)

    def join(self, x: Value) -> Value:
        return self.rounded(Concat((x, self.function(x)), axis=1).output, 2)

    def function(self, x: Value) -> Value:
        return self.rounded(self.random.choice((Sigmoid, HardSwish))(x).output, 2)

    def dense(self, x: Value) -> Value:
        flat, outputs = DequantizeLinear(Flatten(x.op.x).output, x.op.scale, x.op.zero_point).output, self.random.choice(CHANNELS)
        w, spread = self.weights(flat.shape[1], outputs, axis=1)
        return self.rounded(Gemm(flat, w, self.bias(flat, w, outputs)).output, spread)

    def tokens(self, x: Value) -> Value:
        w, spread = self.weights(x.shape[1], self.random.choice(CHANNELS), axis=1)
        return self.rounded(MatMul(Transpose(x, (0, 2, 3, 1)).output, w).output, spread)

    def mean(self, x: Value) -> Value:
        return self.rounded(GlobalAveragePool(x).output, 1)


def dynamic_product(seed: int) -> Graph:
    """DynamicQuantizeLinear, then MatMulInteger with constant weights: integers and the parameters found on the way."""
    random, numbers = Random(seed), np.random.default_rng(seed)
    rows, inner, columns = (random.choice(CHANNELS) for _ in range(3))
    x = graph_input("x", TensorType(f32, (rows, inner)))
    q, scale, zero = DynamicQuantizeLinear(x).results
    dtype: Any = random.choice((np.int8, np.uint8))
    info = np.iinfo(dtype)
    w = constant(numbers.integers(info.min, info.max, (inner, columns), endpoint=True).astype(dtype))
    w_zero = constant(np.array(numbers.integers(info.min, info.max), dtype)) if random.random() < 0.5 else None
    return Graph((x,), (MatMulInteger(q, w, zero, w_zero).output, scale, zero), ("y", "scale", "zero"), "dynamic")

