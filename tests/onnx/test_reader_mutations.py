"""Models with a few fields changed at random are read, or refused with a CompileError; nothing else may come out."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import onnx
import pytest
from google.protobuf.message import Message
from onnx import TensorProto, helper, numpy_helper

from edgec import load
from edgec.errors import CompileError

INTEGERS = (0, 1, -1, 2, 3, 7, -7, 100, 2**31 - 1, -2**31, 2**31, 2**40, 2**62, -2**63)
FLOATS = (0.0, -1.0, 0.5, 1e30, float("nan"), float("inf"))
TEXTS = ("", "x", "y", "zzz", "Relu", "Add", "Reshape", "axis")


def model(*nodes, opset=17, **constants):
    """x f32[1,4,6,6] -> y, through the given nodes."""
    made = [helper.make_node(op, inputs, outputs, **attributes) for op, inputs, outputs, attributes in nodes]
    tensors = [numpy_helper.from_array(np.asarray(array), name) for name, array in constants.items()]
    graph = helper.make_graph(made, "g", [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 4, 6, 6])],
                              [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)], tensors)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=10)


W, B = np.ones((2, 4, 3, 3), np.float32), np.ones(2, np.float32)
MODELS = (
    model(("Conv", ["x", "w", "b"], ["h"], {"pads": [1, 1, 1, 1], "strides": [2, 2], "group": 1}), ("Relu", ["h"], ["y"], {}), w=W, b=B),
    model(("MaxPool", ["x"], ["h"], {"kernel_shape": [2, 2]}), ("Reshape", ["h", "s"], ["r"], {}), ("Softmax", ["r"], ["y"], {"axis": 1}),
          s=[1, -1]),
    model(("Slice", ["x", "a", "b", "c"], ["h"], {}), ("Pad", ["h", "p"], ["q"], {}), ("Transpose", ["q"], ["y"], {"perm": [0, 2, 3, 1]}),
          a=[1], b=[5], c=[2], p=[0, 0, 1, 1, 0, 0, 1, 1]),
    model(("Shape", ["x"], ["s"], {}), ("Gather", ["s", "i"], ["n"], {}), ("Concat", ["n", "m"], ["t"], {"axis": 0}),
          ("Reshape", ["x", "t"], ["y"], {}), i=[1], m=[-1]),
    model(("Split", ["x"], ["a", "b"], {"axis": 1, "split": [1, 3]}), ("Squeeze", ["a"], ["c"], {"axes": [0]}),
          ("Upsample", ["c"], ["y"], {"scales": [1.0, 2.0, 2.0]}), opset=8),
    model(("BatchNormalization", ["x", "v", "v", "v", "v"], ["h"], {}), ("Softmax", ["h"], ["k"], {"axis": 1}),
          ("Clip", ["k"], ["y"], {"min": 0.1, "max": 0.9}), opset=9, v=np.ones(4, np.float32)),
)


def fields(message: Message, found: list[tuple[Message, Any]]) -> list[tuple[Message, Any]]:
    """Every set field of a message and the messages in it."""
    for described, value in message.ListFields():
        found.append((message, described))
        if described.type == described.TYPE_MESSAGE:
            for inner in [value] if isinstance(value, Message) else value:
                fields(inner, found)
    return found


def other(value: Any, draw: random.Random) -> Any:
    if isinstance(value, str):
        return draw.choice(TEXTS)
    if isinstance(value, bytes):
        return draw.choice((b"", value[:-1], value + b"\0", b"SAME_UPPER", b"\xff"))
    return draw.choice(FLOATS) if isinstance(value, float) else draw.choice(INTEGERS)


def mutate(message: Message, described: Any, draw: random.Random) -> None:
    """Change, drop or repeat one field."""
    value = getattr(message, described.name)
    if isinstance(value, (str, bytes, int, float)):
        setattr(message, described.name, other(value, draw))
    elif isinstance(value, Message) or not len(value):
        message.ClearField(described.name)
    elif draw.random() < 0.4:
        del value[draw.randrange(len(value))]
    elif described.type == described.TYPE_MESSAGE:
        value.add().CopyFrom(value[draw.randrange(len(value))])
    else:
        value[draw.randrange(len(value))] = other(value[0], draw)


@pytest.mark.parametrize("number", range(len(MODELS)))
def test_mutated_models(number):
    refused = 0
    for seed in range(250):
        draw, changed = random.Random(seed), onnx.ModelProto.FromString(MODELS[number].SerializeToString())
        for _ in range(draw.choice((1, 1, 2, 3))):
            try:
                mutate(*draw.choice(fields(changed.graph, [])), draw)
            except (ValueError, TypeError, OverflowError):
                continue  # protobuf itself refuses the value
        try:
            load(changed)
        except CompileError as error:
            assert str(error)
            refused += 1
    assert 50 < refused < 250


@pytest.mark.parametrize("number", range(len(MODELS)))
def test_the_models_themselves_are_read(number):
    assert load(MODELS[number]).outputs[0].dtype.name == "f32"
