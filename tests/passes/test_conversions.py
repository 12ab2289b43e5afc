"""Conversions of floats to 8 and 16 bits by way of i32: the same values, infinities and NaN included, and clamps only where needed."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from edgec.backends.target import find
from edgec.compiler import lower
from edgec.expr import binary, cast, const, fresh, read, sum_over, unary
from edgec.graph_parser import parse_graph
from edgec.interpreter import interpret
from edgec.kernel import Axis, Buffer, Stage
from edgec.loops import expressions, statements
from edgec.loops_parser import parse_loops
from edgec.loops_text import print_loops
from edgec.passes.conversions import conversions
from edgec.passes.nest import flatten
from edgec.passes.pack import Tables
from edgec.passes.tile import tile
from edgec.passes.value_bounds import value_bounds
from edgec.sweeps import walk
from edgec.testing.arrows import run_machine_code, run_tiled
from edgec.types import DTYPES, f32, i8, i32, u8

NATIVE = find("native")
MACHINES = {"native": NATIVE, "native-256": replace(NATIVE, vector_bits=256, masks=False),
            **{name: find(name) for name in ("x86-64-v2", "x86-64-v3")}}
SPECIAL = [0.0, -0.0, 0.5, 1.5, 2.5, -0.5, -1.5, 126.5, 127.5, -128.5, 254.5, 255.5, 32766.5, 65535.5, 2.0**23 + 1, -(2.0**24), 2.0**31,
           -(2.0**31), 2.0**40, 1e38, -1e38, np.inf, -np.inf, np.nan, 1e-40]


def quantized(dtype: str, zero: int, count: int):
    """A graph that quantizes `count` numbers, scale 1."""
    scale, point = np.float32(1), np.array(zero, DTYPES[dtype].numpy)
    return parse_graph(f"""graph g(%x: f32[{count}]) -> (%y) {{
      @s: f32[]
      @z: {dtype}[]
      %y = QuantizeLinear(%x, @s, @z) : {dtype}[{count}]
    }}""", {"s": scale, "z": point})


@pytest.mark.parametrize("name", MACHINES)
@pytest.mark.parametrize("dtype, zero", [("u8", 0), ("u8", 7), ("i8", 0), ("i8", -3), ("i8", 127), ("i16", -5), ("u16", 300)])
def test_quantized_numbers_are_those_of_the_definition(name, dtype, zero):
    target, random = MACHINES[name], np.random.default_rng(0)
    x = np.concatenate([np.float32(SPECIAL), np.float32(random.standard_normal(57) * 200)])
    graph = quantized(dtype, zero, x.size)
    program = lower(graph, target)
    tiled = [tile(kernel, target) for kernel in program.steps]
    expected = interpret(graph, {"x": x})["y"]
    for found in (run_tiled(program, tiled, {"x": x}), run_machine_code(program, tiled, target, {"x": x})):
        np.testing.assert_array_equal(found["y"], expected)


@settings(max_examples=20, deadline=None)
@given(st.lists(st.floats(width=32), min_size=1, max_size=40), st.sampled_from(["u8", "i8"]), st.integers(0, 127))
def test_any_float(values, dtype, zero):
    x, graph = np.float32(values), quantized(dtype, zero, len(values))
    program = lower(graph, NATIVE)
    tiled = [tile(kernel, NATIVE) for kernel in program.steps]
    np.testing.assert_array_equal(run_machine_code(program, tiled, NATIVE, {"x": x})["y"], interpret(graph, {"x": x})["y"])


def narrowed_between(dtype: str, zero: int, taken: int, scale: float):
    """The sum of two tensors of bytes, from -2 to 2, as a quantized one of this zero point, and that as floats again less `taken`."""
    point, scales = lambda n: np.array(n, DTYPES[dtype].numpy), {"s": np.float32(1 / 128), "t": np.float32(scale)}
    return parse_graph(f"""graph g(%a: u8[256,16], %b: u8[256,16]) -> (%y) {{
      @s: f32[]
      @t: f32[]
      @c: u8[]
      @z: {dtype}[]
      @w: {dtype}[]
      %d = DequantizeLinear(%a, @s, @c) : f32[256,16]
      %e = DequantizeLinear(%b, @s, @c) : f32[256,16]
      %f = Add(%d, %e) : f32[256,16]
      %q = QuantizeLinear(%f, @t, @z) : {dtype}[256,16]
      %y = DequantizeLinear(%q, @t, @w) : f32[256,16]
    }}""", {**scales, "c": np.uint8(128), "z": point(zero), "w": point(taken)})


@pytest.mark.parametrize("name", MACHINES)
@pytest.mark.parametrize("dtype, zero, taken, scale",
                         [("i8", 0, 0, 1 / 32), ("i8", 0, 0, 1.0), ("u8", 0, 0, 1 / 200), ("u8", 128, 128, 1 / 100), ("u8", 7, 7, 1 / 32),
                          ("i8", -3, -3, 1 / 64), ("i8", 5, -5, 1 / 64), ("u8", 3, 0, 1 / 200)])
def test_a_byte_between_two_floats_is_a_clamp(name, dtype, zero, taken, scale):
    """The same floats bit for bit: halves, both ends of the range, and no -0.0, which no byte can be."""
    target, random, graph = MACHINES[name], np.random.default_rng(0), narrowed_between(dtype, zero, taken, scale)
    values = {key: random.permuted(np.tile(np.arange(256, dtype=np.uint8), 16)).reshape(256, 16) for key in "ab"}
    values["b"][:, 0] = -values["a"][:, 0] - (values["a"][:, 0] % 3).astype(np.uint8)    # sums of zero, and a little less
    program = lower(graph, target)
    tiled = [tile(kernel, target) for kernel in program.steps]
    assert not any(f"<{dtype}>" in print_loops(each.loops) for each in tiled)
    expected = interpret(graph, values)["y"].view(np.uint32)
    for found in (run_tiled(program, tiled, values), run_machine_code(program, tiled, target, values)):
        np.testing.assert_array_equal(found["y"].view(np.uint32), expected)


@pytest.mark.parametrize("name, expected", [("x86-64-v3", True), ("aarch64", False), ("cortex-m55", True), ("wasm32", False)])
def test_where_floats_stay_floats(name, expected):
    target, graph = find(name), narrowed_between("u8", 0, 0, 1 / 200)
    texts = [print_loops(tile(kernel, target).loops) for kernel in lower(graph, target).steps]
    assert any("<u8>" in text for text in texts) != expected


X, Y = Buffer("x", u8, (64,), "input"), Buffer("y", u8, (4,), "output")
W = Buffer("w", i8, (4, 64), "constant", data=np.full((4, 64), -100, np.int8))
M = Buffer("m", f32, (4,), "constant", data=np.float32([0.5, 1, 2, 1]))


def nest_of(factor: float = 1.0):
    """A row of a quantized product, and its tables."""
    i = fresh("i", 0, 3)
    total = sum_over(64, lambda k: cast(read(X, (k,)), i32) * cast(read(W, (i, k)), i32))
    value = cast(unary("round", cast(total, f32) * (read(M, (i,)) * factor)) + 3.0, u8)
    tables = Tables([Y, X, W, M], [Y])
    return flatten([Stage("y", (), value, Y, (i,))], (Axis(i, 4),), tables.params), tables


def test_bounds_follow_from_types_and_constants():
    nest, tables = nest_of()
    total = next(n for n in walk(*nest.values) if n.op == "reduce")
    bounds = value_bounds(nest, tables)
    assert bounds[total] == (-100.0 * 255 * 64, 0.0)
    low, high = bounds[next(n for n in walk(*nest.values) if n.op == "round").args[0]]
    assert -2.0 * 100 * 255 * 64 * 1.0001 < low <= -2.0 * 100 * 255 * 64 and high == 0.0


def test_a_shift_bounds_what_may_be_anything():
    """A sum that wraps has the bounds of its type, and a shift of it to the right by a constant as many bits fewer."""
    i = fresh("i", 0, 3)
    shifted = binary("shr", cast(read(X, (i,)), i32) * const(1 << 30, i32), const(6, i32))
    tables = Tables([Y, X], [Y])
    nest = flatten([Stage("y", (), cast(shifted, u8), Y, (i,))], (Axis(i, 4),), tables.params)
    found = value_bounds(nest, tables)
    assert found[next(n for n in walk(*nest.values) if n.op == "shr")] == (-2.0**25, 2.0**25 - 1)


@pytest.mark.parametrize("factor, clamps", [(1.0, 0), (1e4, 2)])
def test_values_that_stay_within_bounds_are_not_clamped(factor, clamps):
    nest, tables = nest_of(factor)
    found = walk(*conversions(nest, tables).values)
    assert sum(n.op == "select" for n in found) == clamps
    assert [n.data for n in found if n.op == "cast" and n.dtype in (u8, i32) and n.args[0].dtype is not u8 and n.args[0].dtype is not i8] \
        == ["within", "saturate"]


def test_the_text_of_such_loops_reads_back():
    loops = tile(lower(quantized("u8", 7, 40), NATIVE).steps[-1], NATIVE).loops
    text = print_loops(loops)
    assert "within<i32>(round(" in text and "saturate<u8>(" in text
    assert print_loops(parse_loops(text)) == text


def test_f32_results_are_left_alone():
    graph = parse_graph("graph g(%x: f32[9]) -> (%y) {\n  %y = Exp(%x) : f32[9]\n}", {})
    loops = tile(lower(graph, NATIVE).steps[-1], NATIVE).loops
    assert not [n for s in statements(loops.body) for n in walk(*expressions(s)) if n.op == "cast"]
