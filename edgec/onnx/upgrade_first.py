"""The upgrades of the first opsets, 1 to 6: no numpy broadcasting yet, shapes as attributes, and attributes only some frameworks needed.

The rules have the form of `edgec.onnx.upgrade`, which holds them in its table.

    add(x, b) axis=1 broadcast=1  ->  add(x, reshape(b, [3, 1, 1]))
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from onnx import TensorProto

from edgec.errors import Unsupported
from edgec.graph import Value, constant
from edgec.onnx.node import Node

Emit = Callable[..., Value]
Rule = Callable[[Node, Emit], Node | Sequence[Value]]


def _without(node: Node, *names: str) -> dict[str, Any]:
    return {n: v for n, v in node.attributes.items() if n not in names}


def _dropping(*names: str) -> Rule:
    """A rule that leaves out attributes without a meaning today."""
    return lambda node, emit: replace(node, attributes=_without(node, *names))


def _sizes(node: Node, sizes: Sequence[int], what: str) -> Value:
    return constant(np.array(sizes, np.int64), f"{node.outputs[0]}.{what}", node.loc)


def _with_axes_after(node: Node, emit: Emit, value: Value, count: int) -> Value:
    """The value with `count` axes of size 1 behind its own."""
    sizes = [d if isinstance(d, int) else 0 for d in value.shape]
    return emit("Reshape", value, _sizes(node, [*sizes, *[1] * count], "aligned")) if count > 0 else value


def legacy_broadcast(node: Node, emit: Emit) -> Node:
    """add(x, b) axis=1 broadcast=1  ->  add(x, b with axes of size 1 behind)"""
    a, b = node.inputs
    axis = node.attributes.get("axis")
    if node.attributes.get("broadcast") and axis is not None and len(b.shape):
        b = _with_axes_after(node, emit, b, len(a.shape) - axis % len(a.shape) - len(b.shape))
    return replace(node, inputs=(a, b), attributes=_without(node, "axis", "broadcast"))


def channel_slope(node: Node, emit: Emit) -> Node:
    """prelu(x, slope[c])  ->  prelu(x, slope[c, 1, 1])"""
    x, slope = node.inputs
    single = slope.type.is_static and slope.type.max_size == 1
    behind = 0 if single or len(slope.shape) != 1 else len(x.shape) - 2
    return replace(node, inputs=(x, _with_axes_after(node, emit, slope, behind)))


def type_by_name(node: Node, emit: Emit) -> Node:
    """cast(x) to="FLOAT"  ->  cast(x) to=1"""
    name = node.attributes.get("to")
    if name not in TensorProto.DataType.keys():
        raise Unsupported(f"Cast to {name!r}, which is no element type", loc=node.loc)
    return replace(node, attributes={"to": TensorProto.DataType.Value(name)})


def shape_to_operand(node: Node, emit: Emit) -> Node:
    """reshape(x) shape=[2, 3]  ->  reshape(x, [2, 3])"""
    return replace(node, inputs=(node.inputs[0], _sizes(node, node.attributes.get("shape", ()), "shape")), attributes={})


def paddings_renamed(node: Node, emit: Emit) -> Node:
    """pad(x) paddings=[0, 1]  ->  pad(x) pads=[0, 1]"""
    return replace(node, attributes={**_without(node, "paddings"), "pads": node.attributes.get("paddings", ())})


def scales_by_axis(node: Node, emit: Emit) -> Node:
    """upsample(x) height_scale=2 width_scale=3  ->  upsample(x) scales=[1, 1, 2, 3]"""
    factors = (1.0, 1.0, node.attributes.get("height_scale", 1.0), node.attributes.get("width_scale", 1.0))
    return replace(node, attributes={**_without(node, "height_scale", "width_scale"), "scales": factors})


def default_axis(node: Node, emit: Emit) -> Node:
    """concat(a, b)  ->  concat(a, b) axis=1"""
    return replace(node, attributes={"axis": 1, **node.attributes})


def tile_one_axis(node: Node, emit: Emit) -> Node:
    """tile(x, count, axis)  ->  tile(x, [1, count, 1])"""
    x, tiles, axis = node.inputs
    if not (tiles.is_constant and axis.is_constant):
        raise Unsupported("Tile of opset 1 with a count or axis that is not known at compile time", loc=node.loc)
    repeats = np.ones(len(x.shape), np.int64)
    repeats[int(axis.array.item())] = int(tiles.array.item())
    return replace(node, inputs=(x, _sizes(node, repeats, "repeats")))


def norm_for_inference(node: Node, emit: Emit) -> Node:
    """batchnorm(...) is_test=1  ->  batchnorm(...)"""
    if any(node.outputs[1:]):
        raise Unsupported("BatchNormalization in training mode", loc=node.loc, hint="export the model for inference")
    return replace(node, attributes=_without(node, "is_test"), outputs=node.outputs[:1])


ARITHMETIC = ("Add", "Sub", "Mul", "Div", "Pow", "And", "Or", "Xor", "Equal", "Greater", "Less")
IN_PLACE = ("Abs", "Add", "BatchNormalization", "Ceil", "Clip", "Div", "Dropout", "Elu", "Exp", "Floor", "HardSigmoid",
            "InstanceNormalization", "LeakyRelu", "Log", "Max", "Mean", "Min", "Mul", "Neg", "PRelu", "Reciprocal", "Relu", "Selu",
            "Sigmoid", "Sqrt", "Sub", "Sum", "Tanh")

FIRST_UPGRADES: dict[tuple[str, int], Rule] = {
    **{(name, 6): _dropping("consumed_inputs") for name in IN_PLACE},
    **{(name, 7): legacy_broadcast for name in ARITHMETIC},
    **{(name, 7): _dropping("output_sequence") for name in ("RNN", "GRU", "LSTM")},
    ("BatchNormalization", 7): norm_for_inference,
    ("Cast", 6): type_by_name,
    ("Concat", 4): default_axis,
    ("Dropout", 7): _dropping("is_test"),
    ("Gemm", 7): _dropping("broadcast"),
    ("PRelu", 7): channel_slope,
    ("Pad", 2): paddings_renamed,
    ("Reshape", 5): shape_to_operand,
    ("Tile", 6): tile_one_axis,
    ("Upsample", 7): scales_by_axis,
}
