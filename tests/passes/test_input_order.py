"""Inputs of bytes in the order of ONNX: copied where a padded convolution would gather its sums byte by byte, and only there."""

import numpy as np
import pytest

from edgec.backends.target import find
from edgec.compiler import lower, optimise_graph
from edgec.emission import emit
from edgec.graph import Graph, constant, graph_input
from edgec.interpreter import run
from edgec.ops.convolution import Conv
from edgec.ops.quantized import ConvInteger
from edgec.ops.reshape import Transpose
from edgec.passes.fuse import fuse
from edgec.passes.input_order import input_order
from edgec.program_interpreter import run_program
from edgec.types import TensorType, f32, i8, u8

V4 = find("x86-64-v4")


def layer(dtype=u8, channels: int = 12, filters: int = 24, size: int = 9, pad: int = 1, last: bool = False, kernel: int = 3) -> Graph:
    shape = (1, size, size, channels) if last else (1, channels, size, size)
    x = graph_input("x", TensorType(dtype, shape))
    w = np.random.default_rng(1).integers(-128, 128, (filters, channels, kernel, kernel)).astype(np.int8)
    first = Transpose(x, (0, 3, 1, 2)).output if last else x
    y = ConvInteger(first, constant(w), pads=(pad,) * 4).output if dtype is not f32 else \
        Conv(x, constant(w.astype(np.float32)), pads=(pad,) * 4).output
    return Graph((x,), (y,), ("y",), "net")


def copies(graph: Graph, target=V4) -> int:
    before = fuse(graph, target)
    return len(input_order(before, target).steps) - len(before.steps)


@pytest.mark.parametrize("dtype", [u8, i8])
@pytest.mark.parametrize("target", ["native", "x86-64-v2"])
def test_copied_inputs_give_the_same_sums(dtype, target):
    graph = layer(dtype)
    given = {"x": np.random.default_rng(2).integers(dtype.low, dtype.high + 1, (1, 12, 9, 9)).astype(dtype.numpy)}
    expected, = run(graph, [given["x"]])
    machine = find(target)
    assert copies(graph, machine) == 1
    np.testing.assert_array_equal(run_program(input_order(fuse(graph, machine), machine), given)["y"], expected)
    np.testing.assert_array_equal(emit(lower(graph, machine), machine, "net", optimize="1", workers=0).run(given)["y"], expected)


def test_the_copy_has_channels_innermost():
    program = lower(optimise_graph(layer(), V4), V4)
    buffer, = (b for k in program.steps for b in k.targets if b.name == "x.ordered")
    assert buffer.order == (0, 2, 3, 1)


@pytest.mark.parametrize("graph, why", [
    (layer(f32), "floats are read one by one in any order"),
    (layer(last=True), "channels are neighbours"),
    (layer(pad=0), "columns are neighbours, and no padding cuts them off"),
    (layer(filters=3), "too few products share a byte"),
    (layer(filters=24, kernel=1, pad=0), "too few products share a byte"),
    (layer(channels=1), "there are no channels to put together"),
])
def test_others_stay_where_they_are(graph, why):
    assert copies(graph) == 0, why


def test_a_machine_without_dot_products_copies_nothing():
    assert copies(layer(), find("riscv64")) == 0
