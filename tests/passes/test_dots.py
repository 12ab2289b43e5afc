"""Dot products: reductions over groups of neighbours, exact on whole numbers, for extents around tiles, groups and borders."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from edgec.backends.emulate import missing_tools
from edgec.backends.target import find
from edgec.compiler import lower
from edgec.edge_file import read_graph
from edgec.emission import emit
from edgec.graph_parser import parse_graph
from edgec.interpreter import interpret
from edgec.loops import For, Let, expressions, statements
from edgec.loops_parser import parse_loops
from edgec.loops_text import print_loops
from edgec.passes.precision import precision
from edgec.passes.tile import tile
from edgec.sweeps import walk
from edgec.testing.arrows import run_machine_code, run_tiled, schedules
from edgec.testing.graphs import graphs, whole_inputs
from edgec.types import DTYPES

NATIVE = find("native")
BF16 = pytest.mark.skipif("avx512bf16" not in NATIVE.features, reason="this computer has no dot product of bf16")
WIDTHS = [replace(NATIVE, vector_bits=bits, masks=bits > 256) for bits in (128, 256, 512)]
EXACT = ("conv", "pointwise_conv", "matmul", "gemm", "product", "add", "concat", "split", "slice", "pad", "transpose", "reshape")


def narrowed(graph, target):
    return precision(graph, target, to="bf16")


def agree(graph, target, arrays, choose=None) -> None:
    """Loops and machine code of a graph compute what it says, bit for bit."""
    expected = interpret(graph, arrays)
    program = lower(graph, target)
    tiled = [tile(kernel, target, **({"choose": choose} if choose else {})) for kernel in program.steps]
    for found in (run_tiled(program, tiled, arrays), run_machine_code(program, tiled, target, arrays)):
        for name in expected:
            np.testing.assert_array_equal(found[name], expected[name])


def nodes(tiled, op):
    return [n for s in statements(tiled.loops.body) for n in walk(*expressions(s)) if n.op == op]


def convolution(channels: int, outputs: int, side: int, kernel: int, pads: int) -> str:
    spatial = side + 2 * pads - kernel + 1
    return f"""graph g(%x: f32[1,{channels},{side},{side}]) -> (%y) {{
      @w: f32[{outputs},{channels},{kernel},{kernel}]
      %y = Conv(%x, @w) pads=[{pads},{pads},{pads},{pads}] : f32[1,{outputs},{spatial},{spatial}]
    }}"""


@BF16
@pytest.mark.parametrize("target", WIDTHS, ids=lambda t: str(t.vector_bits))
@pytest.mark.parametrize("channels", [2, 3, 7, 17])
@pytest.mark.parametrize("outputs, side, kernel, pads", [(16, 6, 1, 0), (33, 5, 3, 1), (5, 9, 5, 2)])
def test_convolutions_around_groups_and_borders(target, channels, outputs, side, kernel, pads):
    graph = read_graph(convolution(channels, outputs, side, kernel, pads), "test")
    agree(narrowed(graph, target), target, whole_inputs(graph))


@BF16
@settings(max_examples=12)
@given(graphs(max_steps=3, choices=EXACT), st.sampled_from(WIDTHS))
def test_random_graphs(graph, target):
    agree(narrowed(graph, target), target, whole_inputs(graph))


@BF16
@settings(max_examples=12)
@given(st.data())
def test_any_schedule(data):
    target = data.draw(st.sampled_from(WIDTHS))
    graph = narrowed(data.draw(graphs(max_steps=2, choices=("conv", "pointwise_conv", "matmul", "gemm"))), target)
    agree(graph, target, whole_inputs(graph), lambda nest, machine: data.draw(schedules(nest, machine)))


@BF16
def test_the_reduction_is_loads_and_dot_products():
    """Nothing is gathered in the loop over whole groups, and the packed weights take the bytes of the bf16 ones."""
    graph = narrowed(read_graph(convolution(33, 48, 9, 3, 1), "test"), NATIVE)
    tiled = tile(lower(graph, NATIVE).steps[-1], NATIVE)
    inner = [s for s in statements(tiled.loops.body) if isinstance(s, For) and not any(isinstance(c, For) for c in statements(s.body))
             and any(isinstance(c, Let) and c.value.op == "dot" for c in s.body)]
    assert inner
    for loop in inner:
        assert not [n for s in loop.body for n in walk(*expressions(s)) if n.op in ("word", "inside", "cast")]
    tables = [b for b in tiled.buffers if b.kind == "constant"]
    assert [b.dtype.name for b in tables] == ["bf16x2"] and tables[0].bytes == 48 * 9 * 34 * 2


@BF16
def test_the_text_of_dot_loops_reads_back():
    graph = narrowed(read_graph(convolution(5, 20, 6, 3, 1), "test"), NATIVE)
    text = print_loops(tile(lower(graph, NATIVE).steps[-1], NATIVE).loops)
    assert " as bf16x2]" in text and "dot(" in text and "word(" in text
    assert print_loops(parse_loops(text)) == text


@pytest.mark.parametrize("name", ["x86-64-v3", "aarch64", "cortex-m4"])
def test_f32_is_left_alone(name):
    target = find(name)
    for kernel in lower(read_graph(convolution(8, 16, 6, 3, 1), "test"), target).steps:
        assert not nodes(tile(kernel, target), "dot")


# ------------------------------------------------------------------------------------------------------------------- integers

MACHINES = {"native": NATIVE, "native-256": replace(NATIVE, vector_bits=256, masks=False),
            **{name: find(name) for name in ("x86-64-v2", "x86-64-v3")}}
# channels, outputs, side, kernel, pads, stride
SHAPES = [(16, 20, 5, 3, 1, 1), (7, 33, 6, 3, 1, 2), (9, 16, 3, 1, 0, 1), (9, 40, 1, 1, 0, 1)]


def quantized(x_type, w_type, shape, zero, w_zero=0, seed=0):
    """A graph of one convolution whose input has been stored by another kernel, and an input for it: whole ranges of both types."""
    channels, outputs, side, kernel, pads, stride = shape
    random = np.random.default_rng(seed)
    out = (side + 2 * pads - kernel) // stride + 1
    text = f"""graph g(%x: {x_type}[1,{channels},{side},{side}]) -> (%y) {{
      @w: {w_type}[{outputs},{channels},{kernel},{kernel}]
      @one: {x_type}[]
      @z: {x_type}[]
      @v: {w_type}[]
      %a = Add(%x, @one) : {x_type}[1,{channels},{side},{side}]
      %y = ConvInteger(%a, @w, @z, @v) pads=[{pads},{pads},{pads},{pads}] strides=[{stride},{stride}] : i32[1,{outputs},{out},{out}]
    }}"""
    x, w = DTYPES[x_type].numpy, DTYPES[w_type].numpy
    whole = lambda t, *s: random.integers(np.iinfo(t).min, np.iinfo(t).max, s, endpoint=True).astype(t)
    arrays = {"w": whole(w, outputs, channels, kernel, kernel), "one": np.array(1, x), "z": np.array(zero, x), "v": np.array(w_zero, w)}
    return parse_graph(text, arrays), {"x": whole(x, 1, channels, side, side)}


@pytest.mark.parametrize("name", MACHINES)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("x_type, w_type, zero, w_zero", [("u8", "i8", 117, 0), ("i8", "i8", 0, 0), ("i8", "u8", 5, 100)])
def test_integer_convolutions_are_exact(name, shape, x_type, w_type, zero, w_zero):
    """Zero points and changed signs become sums of weights, exact at every border; there is a dot product where channels are side by side.

    They are but for nine pixels of a 1x1 layer, where turning the picture there and back can cost more than the sums.
    """
    target = MACHINES[name]
    graph, arrays = quantized(x_type, w_type, shape, zero, w_zero)
    expected = interpret(graph, arrays)["y"]
    program = lower(graph, target)
    tiled = [tile(kernel, target) for kernel in program.steps]
    side_by_side = program.steps[0].targets[0].order == (0, 2, 3, 1)
    assert side_by_side or shape == SHAPES[2]
    assert bool(nodes(tiled[-1], "dot")) == side_by_side
    np.testing.assert_array_equal(run_machine_code(program, tiled, target, arrays)["y"], expected)
    if shape[0] < 9:
        np.testing.assert_array_equal(run_tiled(program, tiled, arrays)["y"], expected)


@pytest.mark.parametrize("name", ["aarch64", "cortex-a76", "cortex-a7", "cortex-m4", "cortex-m55"])
@pytest.mark.parametrize("x_type, zero", [("u8", 7), ("i8", -3)])
def test_integer_convolutions_under_emulation(name, x_type, zero):
    target = find(name)
    if missing_tools(target):
        pytest.skip(f"{name}: {', '.join(missing_tools(target))} not installed")
    for shape in SHAPES[1:2]:
        graph, arrays = quantized(x_type, "i8", shape, zero)
        program = lower(graph, target)
        if "dotprod" in target.features:
            assert nodes(tile(program.steps[-1], target), "dot")
        found = emit(program, target, "net", "2", workers=0).run(arrays)["y"]
        np.testing.assert_array_equal(found, interpret(graph, arrays)["y"])


def test_products_of_widened_bytes_are_multiply_adds_of_16_bits_on_armv7():
    """Also where one factor is a scalar; no element is multiplied as 32 bits."""
    graph, _ = quantized("u8", "i8", (16, 32, 6, 3, 1, 1), 0)
    target = find("cortex-a7")
    text = emit(lower(graph, target), target, "net", "2", ("asm",), workers=0).asm
    assert "vmlal.s16" in text and "vmla.i32" not in text and "vmul.i32" not in text


@pytest.mark.parametrize("b_zero", [0, 3])
@pytest.mark.parametrize("a_zero", [0, 120])
def test_integer_matmul_is_exact(a_zero, b_zero):
    random = np.random.default_rng(1)
    text = """graph g(%x: u8[2,5,27]) -> (%y) {
      @b: i8[2,27,40]
      @one: u8[]
      @za: u8[]
      @zb: i8[]
      %a = Add(%x, @one) : u8[2,5,27]
      %y = MatMulInteger(%a, @b, @za, @zb) : i32[2,5,40]
    }"""
    weights = random.integers(-120, 120, (2, 27, 40)).astype(np.int8)
    arrays = {"b": weights, "one": np.array(1, np.uint8), "za": np.array(a_zero, np.uint8), "zb": np.array(b_zero, np.int8)}
    graph = parse_graph(text, arrays)
    agree(graph, NATIVE, {"x": random.integers(0, 256, (2, 5, 27)).astype(np.uint8)})
    program = lower(graph, NATIVE)
    assert nodes(tile(program.steps[-1], NATIVE), "dot")


def loops_of(shape, target):
    graph, _ = quantized("u8", "i8", shape, 9)
    return tile(lower(graph, target).steps[-1], target).loops


@pytest.mark.parametrize("pads", [0, 1])
def test_incomplete_groups_are_whole_words_where_memory_goes_on(pads):
    """Three channels: the fourth byte of a word belongs to the next point and meets a weight of zero; only the last point is gathered."""
    gathers = sum(n.op == "word" for s in statements(loops_of((3, 32, 30, 3, pads, 1), NATIVE).body) for n in walk(*expressions(s)))
    dotted = sum(isinstance(s, Let) and s.value.op == "dot" for s in statements(loops_of((3, 32, 30, 3, pads, 1), NATIVE).body))
    assert gathers <= dotted // 10


def test_narrow_tiles_read_each_word_once_for_the_taps_of_a_row():
    body = loops_of((16, 16, 16, 3, 1, 1), NATIVE).body
    most = max((s for s in statements(body) if isinstance(s, For)), key=lambda s: sum(isinstance(c, Let) for c in s.body))
    loads = {n for s in most.body for n in walk(*expressions(s)) if n.op == "load" and n.lanes == 1}
    products = sum(isinstance(s, Let) and s.value.op == "dot" for s in most.body)
    order = [n for s in most.body for n in walk(*expressions(s)) if n.op == "load" and n.lanes == 1]
    assert products > 2 * len(loads)
    assert max(len(order) - order[::-1].index(n) - order.index(n) for n in loads) < len(order) // 3  # not kept over other words
