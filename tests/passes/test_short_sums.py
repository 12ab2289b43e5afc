"""Products of bytes added up in 16 bits: as many as have room, exact at the ends of the ranges, under emulation and in plain Python."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from edgec.backends.emulate import missing_tools
from edgec.backends.instruction import multiplies_bytes
from edgec.backends.target import find
from edgec.compiler import lower
from edgec.emission import emit
from edgec.graph_parser import parse_graph
from edgec.interpreter import interpret
from edgec.loops import expressions, statements
from edgec.passes.tile import tile
from edgec.sweeps import walk
from edgec.testing.arrows import run_tiled
from edgec.types import DTYPES, i16

SIDE = 6


def depthwise(x_type, weights, stride=1, zero=0):
    """A graph of a convolution that slides over each channel by itself, between two others, and an input."""
    random, (channels, _, kernel, _) = np.random.default_rng(2), weights.shape
    whole = lambda t, *s: random.integers(DTYPES[t].low, DTYPES[t].high, s, endpoint=True).astype(DTYPES[t].numpy)
    pads, out = kernel // 2, (SIDE + 2 * (kernel // 2) - kernel) // stride + 1
    arrays = {"w": weights, "z": np.array(zero, DTYPES[x_type].numpy), "zero": np.array(0, np.int8), "s": np.array(0.05, np.float32),
              "f": whole("i8", channels, 3, 1, 1), "g": whole("i8", 2, channels, 1, 1), "one": np.array(1, np.float32)}
    text = f"""graph g(%x: {x_type}[1,3,{SIDE},{SIDE}]) -> (%y) {{
      @w: i8[{channels},1,{kernel},{kernel}]
      @f: i8[{channels},3,1,1]
      @g: i8[2,{channels},1,1]
      @s: f32[]
      @one: f32[]
      @z: {x_type}[]
      @zero: i8[]
      %a = QLinearConv(%x, @one, @z, @f, @one, @zero, @s, @z) : {x_type}[1,{channels},{SIDE},{SIDE}]
      %b = QLinearConv(%a, @s, @z, @w, @s, @zero, @s, @z) pads=[{pads},{pads},{pads},{pads}] strides=[{stride},{stride}]
        group={channels} : {x_type}[1,{channels},{out},{out}]
      %y = QLinearConv(%b, @s, @z, @g, @s, @zero, @s, @z) : {x_type}[1,2,{out},{out}]
    }}""".replace("\n        group", " group")
    return parse_graph(text, arrays), {"x": whole(x_type, 1, 3, SIDE, SIDE)}


def weights(channels, kernel, low, high):
    return np.random.default_rng(3).integers(low, high, (channels, 1, kernel, kernel), endpoint=True).astype(np.int8)


def sums(program, target):
    """How many products of bytes each sum of 16 bits in the window's loops has."""
    found = []
    for kernel in program.steps:
        for s in statements(tile(kernel, target).loops.body):
            wide = [n for n in walk(*expressions(s)) if n.op == "cast" and n.args[0].dtype is i16 and n.lanes > 1]
            found += [sum(n.op == "mul" for n in walk(n)) for n in wide]
    return found


NEON = ["aarch64", "cortex-a76", "cortex-a710"]


@pytest.mark.parametrize("name", NEON)
def test_two_products_have_room_unless_a_weight_is_the_least(name):
    target = find(name)
    graph, _ = depthwise("i8", weights(32, 3, -127, 127))
    assert multiplies_bytes(target.instructions) and set(sums(lower(graph, target), target)) == {2}
    least = weights(32, 3, -127, 127)
    least[5, 0, 1, 1] = -128
    assert not sums(lower(depthwise("i8", least)[0], target), target)


def test_small_weights_leave_room_for_more():
    target = find("aarch64")
    assert max(sums(lower(depthwise("i8", weights(32, 3, -28, 28))[0], target), target)) == 9
    assert max(sums(lower(depthwise("i8", weights(32, 3, -60, 60))[0], target), target)) == 4


@pytest.mark.parametrize("name", ["x86-64-v3", "wasm32", "cortex-a7", "cortex-m55", "riscv64-v128"])
def test_other_machines_are_left_alone(name):
    target = find(name)
    assert not sums(lower(depthwise("i8", weights(32, 3, -127, 127))[0], target), target)


@pytest.mark.parametrize("kernel, stride, channels", [(3, 1, 16), (3, 2, 24), (5, 1, 19), (5, 2, 8)])
@pytest.mark.parametrize("sign", [1, -1])
def test_the_ends_of_the_ranges(kernel, stride, channels, sign):
    """All weights +127 or -127 under activations that saturate at both ends; borders of every kind."""
    target = find("aarch64")
    graph, inputs = depthwise("i8", np.full((channels, 1, kernel, kernel), 127 * sign, np.int8), stride, zero=-128)
    program = lower(graph, target)
    expected = interpret(graph, inputs)["y"]
    np.testing.assert_array_equal(run_tiled(program, [tile(k, target) for k in program.steps], inputs)["y"], expected)


@settings(max_examples=5)
@given(st.integers(4, 40), st.sampled_from([2, 3, 5]), st.integers(1, 2), st.sampled_from(["i8", "u8"]),
       st.sampled_from([127, 80, 40, 13, 128]), st.sampled_from(["aarch64", "cortex-a710"]))
def test_any_window(channels, kernel, stride, x_type, most, name):
    target = find(name)
    if missing_tools(target):
        target = replace(target, emulator=None)
    graph, inputs = depthwise(x_type, weights(channels, kernel, -most, min(most, 127)), stride, zero=3)
    program = lower(graph, target)
    expected = interpret(graph, inputs)["y"]
    np.testing.assert_array_equal(run_tiled(program, [tile(k, target) for k in program.steps], inputs)["y"], expected)
    if target.emulator:
        np.testing.assert_array_equal(emit(program, target, "net", "2", workers=0).run(inputs)["y"], expected)
