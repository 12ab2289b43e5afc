"""Dot products of whole vectors: reductions of bytes a vector at a time, exact for any length, with one instruction a vector and point."""

import re

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from edgec.backends.codegen import compile_module
from edgec.backends.emulate import missing_tools
from edgec.backends.instruction import wide_row
from edgec.backends.llvm import module_text
from edgec.backends.target import find
from edgec.compiler import lower
from edgec.emission import emit
from edgec.graph_parser import parse_graph
from edgec.interpreter import interpret
from edgec.passes.tile import tile
from edgec.testing.arrows import run_tiled
from edgec.types import DTYPES

M55 = find("cortex-m55")
EMULATED = pytest.mark.skipif(bool(missing_tools(M55)), reason="the emulator of the Cortex-M55 is not installed")


def convolutions(x_type, w_type, shapes, zero=0):
    """A graph of several convolutions of channels that are neighbours, and an input for it: whole ranges of both types."""
    random, side = np.random.default_rng(3), 5
    whole = lambda t, *s: random.integers(DTYPES[t].low, DTYPES[t].high, s, endpoint=True).astype(DTYPES[t].numpy)
    arrays, inputs, lines, results = {"z": np.array(zero, DTYPES[x_type].numpy)}, {}, [], []
    for n, (channels, outputs, kernel, stride) in enumerate(shapes):
        pads, out = kernel // 2, (side + 2 * (kernel // 2) - kernel) // stride + 1
        arrays[f"w{n}"], inputs[f"x{n}"] = whole(w_type, outputs, channels, kernel, kernel), whole(x_type, 1, side, side, channels)
        lines += [f"@w{n}: {w_type}[{outputs},{channels},{kernel},{kernel}]",
                  f"%a{n} = Transpose(%x{n}) perm=[0,3,1,2] : {x_type}[1,{channels},{side},{side}]",
                  f"%y{n} = ConvInteger(%a{n}, @w{n}, @z) pads=[{pads},{pads},{pads},{pads}] strides=[{stride},{stride}] : "
                  f"i32[1,{outputs},{out},{out}]"]
        results.append(f"%y{n}")
    heads = ", ".join(f"%x{n}: {x_type}[1,{side},{side},{c}]" for n, (c, *_) in enumerate(shapes))
    return parse_graph(f"graph g({heads}) -> ({', '.join(results)}) {{\n@z: {x_type}[]\n" + "\n".join(lines) + "\n}", arrays), inputs


SHAPES = [(16, 2, 1, 1), (17, 3, 3, 1), (80, 1, 1, 2), (9, 5, 3, 2), (31, 7, 1, 1), (3, 2, 3, 1)]  # channels, outputs, kernel, stride


@EMULATED
@pytest.mark.parametrize("x_type, w_type, zero", [("i8", "i8", 0), ("u8", "i8", 131), ("u8", "u8", 4)])
def test_exact_around_vectors_tiles_and_borders(x_type, w_type, zero):
    """Channels around vectors of 16 (of 8 where signs differ), in loops and written out, outputs around columns, windows over borders."""
    graph, inputs = convolutions(x_type, w_type, SHAPES, zero)
    found = emit(lower(graph, M55), M55, "net", "2", workers=0).run(inputs)
    for name, expected in interpret(graph, inputs).items():
        np.testing.assert_array_equal(found[name], expected)


@EMULATED
@settings(max_examples=4)
@given(st.tuples(st.integers(1, 40), st.integers(1, 7), st.sampled_from([1, 3]), st.integers(1, 2)), st.integers(-128, 127))
def test_any_convolution(shape, zero):
    graph, inputs = convolutions("i8", "i8", [shape], zero)
    found = emit(lower(graph, M55), M55, "net", "2", workers=0).run(inputs)
    np.testing.assert_array_equal(found["y0"], interpret(graph, inputs)["y0"])


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_the_loops_mean_the_same(shape):
    graph, inputs = convolutions("i8", "i8", [shape], 3)
    program = lower(graph, M55)
    found = run_tiled(program, [tile(kernel, M55) for kernel in program.steps], inputs)
    np.testing.assert_array_equal(found["y0"], interpret(graph, inputs)["y0"])


def test_one_instruction_for_sixteen_products_and_no_byte_more_of_flash():
    graph, _ = convolutions("i8", "i8", [(64, 8, 1, 1)])
    tiled = tile(lower(graph, M55).steps[-1], M55)
    assert [b.bytes for b in tiled.buffers if b.kind == "constant"] == [64 * 8]
    assembly = compile_module(module_text(tiled.loops, M55, "kernel"), M55, "3", ("asm",)).asm
    products, loads = (len(re.findall(name, assembly)) for name in (r"\bvmlava\.s8\b|\bvmladava\.s8\b", r"\bvldrb"))
    assert products >= 12 and loads <= products + 4 and "smlabb" not in assembly


def test_the_row_for_two_types():
    assert wide_row(M55.instructions, "i8", "i8")[1:] == (16, "i8")
    assert wide_row(M55.instructions, "u8", "i8")[1:] == (8, "i16")
    assert wide_row(find("aarch64").instructions, "i8", "i8") is None
