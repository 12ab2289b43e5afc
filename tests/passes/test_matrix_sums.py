"""Sums in blocks of rows and columns: exact for extents around blocks, words and borders, under any schedule; chosen where it pays."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from edgec.backends.codegen import compile_module
from edgec.backends.emulate import missing_tools
from edgec.backends.instruction import dots, matrices
from edgec.backends.llvm import module_text
from edgec.backends.target import find
from edgec.compiler import lower
from edgec.edge_file import read_graph
from edgec.emission import emit
from edgec.graph_parser import parse_graph
from edgec.interpreter import interpret
from edgec.loops import expressions, statements
from edgec.loops_parser import parse_loops
from edgec.loops_text import print_loops
from edgec.loops_verifier import verify_loops
from edgec.passes.explain import explain
from edgec.passes.matrix_tiles import cycles, registers
from edgec.passes.precision import precision
from edgec.passes.schedule import schedule
from edgec.passes.tile import tile
from edgec.sweeps import walk
from edgec.testing.arrows import run_tiled, schedules
from edgec.testing.graphs import whole_inputs
from edgec.types import DTYPES

A710 = find("cortex-a710")
EMULATED = pytest.mark.skipif(bool(missing_tools(A710)), reason="the emulator of AArch64 is not installed")
SIDE = 5


def convolutions(x_type, w_type, shapes, zero=0, w_zero=0):
    """A graph of convolutions of (channels, outputs, kernel, stride), each between two small ones, so that it finds and leaves channels
    together."""
    random = np.random.default_rng(5)
    whole = lambda t, *s: random.integers(DTYPES[t].low, DTYPES[t].high, s, endpoint=True).astype(DTYPES[t].numpy)
    arrays = {"z": np.array(zero, DTYPES[x_type].numpy), "v": np.array(w_zero, DTYPES[w_type].numpy), "f": whole("i8", 3, 3, 1, 1),
              "s": np.array(0.02, np.float32), "zero": np.array(0, np.int8)}
    inputs, lines, results = {}, [], []
    for n, (channels, outputs, kernel, stride) in enumerate(shapes):
        pads, out = kernel // 2, (SIDE + 2 * (kernel // 2) - kernel) // stride + 1
        arrays[f"f{n}"], arrays[f"w{n}"] = whole("i8", channels, 3, 1, 1), whole(w_type, outputs, channels, kernel, kernel)
        inputs[f"x{n}"] = whole(x_type, 1, 3, SIDE, SIDE)
        lines += [f"@f{n}: i8[{channels},3,1,1]", f"@w{n}: {w_type}[{outputs},{channels},{kernel},{kernel}]",
                  f"%a{n} = QLinearConv(%x{n}, @s, @z, @f{n}, @s, @zero, @s, @z) : {x_type}[1,{channels},{SIDE},{SIDE}]",
                  f"%y{n} = QLinearConv(%a{n}, @s, @z, @w{n}, @s, @v, @s, @z) pads=[{pads},{pads},{pads},{pads}] "
                  f"strides=[{stride},{stride}] : {x_type}[1,{outputs},{out},{out}]",
                  f"@g{n}: i8[2,{outputs},1,1]",
                  f"%z{n} = QLinearConv(%y{n}, @s, @z, @g{n}, @s, @zero, @s, @z) : {x_type}[1,2,{out},{out}]"]
        arrays[f"g{n}"] = whole("i8", 2, outputs, 1, 1)
        results.append(f"%z{n}")
    heads = ", ".join(f"%x{n}: {x_type}[1,3,{SIDE},{SIDE}]" for n in range(len(shapes)))
    constants = f"@z: {x_type}[]\n@v: {w_type}[]\n@s: f32[]\n@zero: i8[]\n"
    return parse_graph(f"graph g({heads}) -> ({', '.join(results)}) {{\n{constants}" + "\n".join(lines) + "\n}", arrays), inputs


def nodes(tiled, op):
    return [n for s in statements(tiled.loops.body) for n in walk(*expressions(s)) if n.op == op]


def blocks_of(program, target, **choice):
    """The tiled kernels, and how many of them multiply matrices."""
    tiled = [tile(kernel, target, **choice) for kernel in program.steps]
    for each in tiled:
        verify_loops(each.loops)
    return tiled, sum(bool(nodes(each, "dot_block")) for each in tiled)


AROUND = [(8, 16, 1, 1), (7, 9, 3, 1), (12, 3, 1, 1), (17, 1, 3, 2), (24, 20, 3, 1), (32, 33, 1, 2), (16, 2, 5, 1)]


@EMULATED
@pytest.mark.parametrize("x_type, w_type, zero, w_zero",
                         [("i8", "i8", -3, 0), ("u8", "i8", 131, 0), ("u8", "u8", 4, 120), ("i8", "u8", 9, 7), ("i8", "i8", 127, -128)])
def test_exact_around_blocks_words_and_borders(x_type, w_type, zero, w_zero):
    graph, inputs = convolutions(x_type, w_type, AROUND, zero, w_zero)
    program = lower(graph, A710)
    tiled, found = blocks_of(program, A710)
    assert found >= 5 or w_zero
    expected = interpret(graph, inputs)
    there = emit(program, A710, "net", "2", workers=0).run(inputs)
    here = run_tiled(program, tiled, inputs)
    for name in expected:
        np.testing.assert_array_equal(there[name], expected[name])
        np.testing.assert_array_equal(here[name], expected[name])


SHAPES = st.tuples(st.integers(4, 40), st.integers(1, 40), st.sampled_from([1, 2, 3]), st.integers(1, 2))


@EMULATED
@settings(max_examples=4)
@given(SHAPES, st.sampled_from(["i8", "u8"]), st.integers(0, 127))
def test_any_convolution(shape, x_type, zero):
    graph, inputs = convolutions(x_type, "i8", [shape], zero)
    found = emit(lower(graph, A710), A710, "net", "2", workers=0).run(inputs)
    np.testing.assert_array_equal(found["z0"], interpret(graph, inputs)["z0"])


@settings(max_examples=12)
@given(SHAPES, st.data())
def test_any_schedule(shape, data):
    """Odd rows, columns of any width, several sums of a point; vectors along the rows of the first matrix do without it."""
    target = data.draw(st.sampled_from([A710, replace(A710, vector_bits=256), replace(A710, masks=True)]))
    graph, inputs = convolutions("u8", "i8", [shape], 9)
    program = lower(graph, target)
    tiled, _ = blocks_of(program, target, choose=lambda nest, machine: data.draw(schedules(nest, machine)))
    np.testing.assert_array_equal(run_tiled(program, tiled, inputs)["z0"], interpret(graph, inputs)["z0"])


def product(rows: int, k: int) -> str:
    return f"""graph g(%x: i8[{rows},{k}]) -> (%z) {{
      @w: i8[{k},32]
      %a = Relu(%x) : i8[{rows},{k}]
      %z = MatMulInteger(%a, @w) : i32[{rows},32]
    }}"""


@pytest.mark.parametrize("rows, k, op", [(1, 64, "dot"), (2, 64, "dot_block"), (9, 64, "dot_block"), (9, 4, "dot"), (9, 8, "dot_block")])
def test_chosen_where_it_takes_less(rows, k, op):
    """One row, or no more of k than half a word, is left to dot products."""
    graph = parse_graph(product(rows, k), {"w": np.ones((k, 32), np.int8)})
    tiled = tile(lower(graph, A710).steps[-1], A710)
    assert nodes(tiled, op) and not nodes(tiled, "dot" if op == "dot_block" else "dot_block")


def test_left_alone_where_no_row_is():
    graph, _ = convolutions("i8", "i8", [(16, 16, 1, 1)])
    assert matrices(A710.instructions) and all(d.rows == 1 for d in dots(A710.instructions))
    for name in ("cortex-a76", "aarch64", "x86-64-v4"):
        assert blocks_of(lower(graph, find(name)), find(name))[1] == 0


def test_the_tile_has_even_rows_and_fits():
    seen = []
    graph, _ = convolutions("i8", "i8", [(64, 64, 1, 1)])
    tiled = tile(lower(graph, A710).steps[-2], A710, choose=lambda nest, target: seen.append(schedule(nest, target)) or seen[-1])
    plan, matrix = seen[-1], matrices(A710.instructions)[0]
    vectors = plan.segments[0].piece.width // 4
    assert plan.rows % 2 == 0 and registers(plan.rows, vectors, matrix, A710) <= 32
    assert registers(4, 4, matrix, A710) == 23 and cycles(4, 4, matrix, A710) < 2 * cycles(2, 4, matrix, A710)
    assembly = compile_module(module_text(tiled.loops, A710, "kernel"), A710, "3", ("asm",)).asm
    assert assembly.count("smmla") >= 4 * plan.rows and "sdot" not in assembly


def test_the_text_reads_back():
    graph, _ = convolutions("u8", "i8", [(24, 20, 3, 1)])
    text = print_loops(tile(lower(graph, A710).steps[-2], A710).loops)
    assert "dot_block(" in text and " as u8x8]" in text and "i8x8" in text
    assert print_loops(parse_loops(text)) == text


def test_the_reasons_name_the_instruction():
    graph, _ = convolutions("u8", "i8", [(64, 16, 1, 1)])
    seen = []
    choose = lambda nest, target: seen.append(explain(nest, target, schedule(nest, target))) or seen[-1].schedule
    tile(lower(graph, A710).steps[-2], A710, choose=choose)
    assert any("u8 x i8 by usmmla: 2 rows and 2 columns at once, 8 products each" in reason for reason in seen[-1].reasons)


def test_words_of_a_constant_take_its_bytes():
    graph, _ = convolutions("i8", "i8", [(24, 32, 3, 1)])
    tiled = tile(lower(graph, A710).steps[-2], A710)
    assert [b.bytes for b in tiled.buffers if b.kind == "constant" and b.dtype.kind == "w"] == [24 * 32 * 9]


@EMULATED
@pytest.mark.parametrize("channels, outputs, kernel", [(8, 16, 1), (5, 7, 3)])
def test_half_precision(channels, outputs, kernel):
    """bf16 in matrices of four: whole numbers, whose products and sums are exact."""
    text = f"""graph g(%x: f32[1,{channels},6,6]) -> (%y) {{
      @w: f32[{outputs},{channels},{kernel},{kernel}]
      %a = Relu(%x) : f32[1,{channels},6,6]
      @v: f32[3,{outputs},1,1]
      %b = Conv(%a, @w) pads=[{kernel // 2},{kernel // 2},{kernel // 2},{kernel // 2}] : f32[1,{outputs},6,6]
      %y = Conv(%b, @v) : f32[1,3,6,6]
    }}"""
    graph = precision(read_graph(text, "test"), A710, to="bf16")
    arrays = whole_inputs(graph)
    program = lower(graph, A710)
    assert blocks_of(program, A710)[1]
    np.testing.assert_array_equal(emit(program, A710, "net", "2", workers=0).run(arrays)["y"], interpret(graph, arrays)["y"])
