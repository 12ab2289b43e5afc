"""Where scales of channels can move: an operator with constants, then only what scales with its input, then products with constant weights.

    conv -> relu -> conv        layer_normalization -> reshape -> gemm, gemm, gemm

    for place in places(graph): place.producer, place.between, place.consumers
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from edgec.graph import Graph, Op, Value
from edgec.ops.activation import LeakyRelu, Relu
from edgec.ops.convolution import Conv
from edgec.ops.matmul import Gemm, MatMul
from edgec.ops.normalization import LayerNormalization
from edgec.ops.pooling import AveragePool, GlobalAveragePool, MaxPool
from edgec.ops.reshape import Reshape
from edgec.types import f32


@dataclass(frozen=True, eq=False)
class Place:
    """A producer of `channels` channels, the operators `between` (in order) and all products that read what comes of it."""

    producer: Op
    between: tuple[Op, ...]
    consumers: tuple[Op, ...]
    channels: int

    @property
    def producer_is_product(self) -> bool:
        """Whether the producer has weights that will be rounded."""
        return is_product(self.producer)

    @property
    def input_axis(self) -> int:
        """The axis of the producer's input that counts its channels."""
        return self.axis_of(self.producer)

    @staticmethod
    def axis_of(op: Op) -> int:
        """The axis of channels of what a product reads."""
        return 1 if isinstance(op, Conv) else -1

    @staticmethod
    def largest_in(op: Op, w: np.ndarray) -> np.ndarray:
        """The largest weight of each input channel of a product, f64[channels]."""
        if isinstance(op, Conv):
            each = np.abs(w.reshape(op.group, -1, *w.shape[1:]))
            return each.max(axis=(1, *range(3, each.ndim))).reshape(-1).astype(np.float64)
        return np.abs(w).max(axis=0 if getattr(op, "transB", 0) else 1).astype(np.float64)

    def largest_out(self, w: np.ndarray) -> np.ndarray:
        """The largest weight of each output channel of the producer, f64[channels]."""
        axis = _output_axis(self.producer)
        return np.abs(w).max(axis=tuple(n for n in range(w.ndim) if n != axis)).astype(np.float64)


def places(graph: Graph) -> list[Place]:
    """The places of a prepared graph, in the order of the data flow."""
    found = []
    for op in graph.ops:
        if is_product(op) or isinstance(op, LayerNormalization) and _last_axis_alone(op):
            channels = op.operands[1].shape[_output_axis(op)] if is_product(op) else op.operands[1].shape[0]
            between: list[Op] = []
            consumers: list[Op] = []
            if _followed(graph, op.results[0], 1 if isinstance(op, Conv) else -1, channels, between, consumers) and consumers:
                inside = set(between)
                found.append(Place(op, tuple(o for o in graph.ops if o in inside), tuple(consumers), channels))
    return found


def is_product(op: Op) -> bool:
    """A convolution or matrix product with constant weights, and a constant bias of one number an output or none."""
    if isinstance(op, Gemm):
        plain = op.alpha == op.beta == 1 and not op.transA and op.operands[1].is_constant
        return plain and (op.c is None or op.c.is_constant and op.c.type.rank == 1) and op.operands[0].dtype is f32
    if isinstance(op, Conv):
        return op.w.is_constant and (op.b is None or op.b.is_constant) and op.operands[0].dtype is f32
    return isinstance(op, MatMul) and op.b.is_constant and op.b.type.rank == 2 and not op.a.is_constant and op.operands[0].dtype is f32


def weights_of_producer(op: Op) -> range:
    """Which operands of a producer count output channels: weights and bias, or scale and bias."""
    return range(1, len(op.operands))


def out_channels(op: Op, operand: int, s: np.ndarray) -> np.ndarray:
    """A scale an output channel in a shape that broadcasts against an operand of the producer."""
    if operand > 1 or not is_product(op):
        return s
    axis = _output_axis(op)
    return s.reshape([-1 if n == axis else 1 for n in range(op.operands[1].type.rank)])


def in_channels(op: Op, w: np.ndarray, s: np.ndarray) -> np.ndarray:
    """A product's weights times a scale an input channel."""
    if isinstance(op, Conv):
        grouped = w.reshape(op.group, -1, *w.shape[1:])
        return (grouped * s.reshape(op.group, 1, w.shape[1], *[1] * (w.ndim - 2))).reshape(w.shape)
    return w * (s if getattr(op, "transB", 0) else s[:, None])


def _output_axis(op: Op) -> int:
    return 0 if isinstance(op, Conv) or getattr(op, "transB", 0) else 1


def _last_axis_alone(op: LayerNormalization) -> bool:
    constants = all(v.is_constant and v.type.rank == 1 for v in op.operands[1:])
    return constants and op.axis in (-1, op.operands[0].type.rank - 1) and op.operands[0].dtype is f32


def _followed(graph: Graph, value: Value, axis: int, channels: int, between: list[Op], consumers: list[Op]) -> bool:
    """Whether all that reads a value is a product of its channels, maybe behind operators that scale with it; collects both."""
    if value in graph.outputs:
        return False
    for op in dict.fromkeys(graph.users.get(value, ())):
        if is_product(op) and op.operands[0] is value and list(op.operands).count(value) == 1:
            if Place.axis_of(op) != axis or len(Place.largest_in(op, op.operands[1].array)) != channels:
                return False
            consumers.append(op)
        elif _scales(op, axis, channels) and op.operands[0] is value:
            between.append(op)
            if not _followed(graph, op.output, axis, channels, between, consumers):
                return False
        else:
            return False
    return True


def _scales(op: Op, axis: int, channels: int) -> bool:
    """Whether an operator on scaled channels gives scaled channels, along the same axis."""
    if isinstance(op, (Relu, LeakyRelu)):
        return True
    if isinstance(op, (AveragePool, GlobalAveragePool)) or isinstance(op, MaxPool) and len(op.results) == 1:
        return axis == 1
    if not isinstance(op, Reshape) or axis != -1 or not op.operands[1].is_constant:
        return False
    return op.output.shape[-1:] == (channels,) and op.operands[0].shape[-1:] == (channels,)
