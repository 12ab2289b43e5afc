"""Dot products: reductions over groups of neighbours, exact on whole numbers, for extents around tiles, groups and borders."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from edgec.backends.target import find
from edgec.compiler import lower
from edgec.edge_file import read_graph
from edgec.expr import walk
from edgec.interpreter import interpret
from edgec.loops import For, Let, expressions, statements
from edgec.loops_parser import parse_loops
from edgec.loops_text import print_loops
from edgec.passes.precision import precision
from edgec.passes.tile import tile
from edgec.testing_arrows import run_machine_code, run_tiled, schedules
from edgec.testing_graphs import graphs, whole_inputs

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
