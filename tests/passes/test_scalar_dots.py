"""Dot products of scalars: register tiles by general registers, four bytes a word, exact under emulation for extents around tiles."""

import re

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from edgec.backends.codegen import compile_module
from edgec.backends.emulate import missing_tools
from edgec.backends.instruction import call, dots
from edgec.backends.llvm import module_text
from edgec.backends.target import find, row
from edgec.compiler import lower
from edgec.emission import emit
from edgec.graph_parser import parse_graph
from edgec.interpreter import interpret
from edgec.passes.scalar_dots import calls_of, instructions, registers
from edgec.passes.schedule import schedule, tile_choices
from edgec.passes.tile import tile
from edgec.types import DTYPES

M4 = find("cortex-m4")
EMULATED = pytest.mark.skipif(bool(missing_tools(M4)), reason="the emulator of the Cortex-M4 is not installed")


def convolutions(x_type, w_type, shapes, zero=0):
    """A graph of several convolutions of one input, and an input: whole ranges of both types."""
    random, side = np.random.default_rng(3), 6
    whole = lambda t, *s: random.integers(DTYPES[t].low, DTYPES[t].high, s, endpoint=True).astype(DTYPES[t].numpy)
    arrays, inputs, lines, results = {"z": np.array(zero, DTYPES[x_type].numpy)}, {}, [], []
    for n, (channels, outputs, kernel, stride) in enumerate(shapes):
        pads, out = kernel // 2, (side + 2 * (kernel // 2) - kernel) // stride + 1
        arrays[f"w{n}"], inputs[f"x{n}"] = whole(w_type, outputs, channels, kernel, kernel), whole(x_type, 1, channels, side, side)
        lines += [f"@w{n}: {w_type}[{outputs},{channels},{kernel},{kernel}]",
                  f"%a{n} = Relu(%x{n}) : {x_type}[1,{channels},{side},{side}]" if x_type == "i8" else
                  f"%a{n} = Max(%x{n}, %x{n}) : {x_type}[1,{channels},{side},{side}]",
                  f"%y{n} = ConvInteger(%a{n}, @w{n}, @z) pads=[{pads},{pads},{pads},{pads}] strides=[{stride},{stride}] : "
                  f"i32[1,{outputs},{out},{out}]"]
        results.append(f"%y{n}")
    heads = ", ".join(f"%x{n}: {x_type}[1,{c},{side},{side}]" for n, (c, *_) in enumerate(shapes))
    return parse_graph(f"graph g({heads}) -> ({', '.join(results)}) {{\n@z: {x_type}[]\n" + "\n".join(lines) + "\n}", arrays), inputs


@EMULATED
@pytest.mark.parametrize("x_type, w_type, zero", [("i8", "i8", 0), ("u8", "i8", 131), ("u8", "u8", 4)])
def test_exact_around_groups_tiles_and_borders(x_type, w_type, zero):
    """Channels around words of four, outputs around columns of two, windows over borders, strides."""
    shapes = [(4, 2, 1, 1), (5, 3, 3, 1), (8, 1, 3, 2), (9, 5, 1, 2), (12, 4, 5, 1), (3, 2, 3, 1)]
    graph, inputs = convolutions(x_type, w_type, shapes, zero)
    found = emit(lower(graph, M4), M4, "net", "2", workers=0).run(inputs)
    for name, expected in interpret(graph, inputs).items():
        np.testing.assert_array_equal(found[name], expected)


@EMULATED
@settings(max_examples=4)
@given(st.tuples(st.integers(1, 18), st.integers(1, 7), st.sampled_from([1, 3]), st.integers(1, 2)), st.integers(-128, 127))
def test_any_convolution(shape, zero):
    graph, inputs = convolutions("i8", "i8", [shape], zero)
    found = emit(lower(graph, M4), M4, "net", "2", workers=0).run(inputs)
    np.testing.assert_array_equal(found["y0"], interpret(graph, inputs)["y0"])


def test_bytes_come_in_words_and_are_widened_in_registers():
    """Four products take four bytes of flash, no byte is loaded by itself, and pairs of products are one instruction."""
    graph, _ = convolutions("i8", "i8", [(32, 8, 1, 1)])
    tiled = tile(lower(graph, M4).steps[-1], M4)
    assert [b.bytes for b in tiled.buffers if b.kind == "constant"] == [32 * 8]
    assembly = compile_module(module_text(tiled.loops, M4, "kernel"), M4, "3", ("asm",)).asm
    assert len(re.findall(r"\bsmlad\b", assembly)) >= 2 * len(re.findall(r"\bsxtb16\b", assembly)) / 3
    assert "ldrsb" not in assembly and "ror #8" in assembly


def test_the_tile_is_the_one_that_fits_the_general_registers():
    assert registers(2, 2, calls=2) == 13 and registers(3, 2, calls=2) == 15
    assert instructions(2, 2, calls=2) == 21 and instructions(1, 1, calls=1) == 4
    graph, _ = convolutions("i8", "i8", [(32, 8, 1, 1)])
    seen = []
    tile(lower(graph, M4).steps[-1], M4, choose=lambda nest, target: seen.append((nest, schedule(nest, target))) or seen[-1][1])
    nest, plan = seen[-1]
    assert calls_of(nest, M4) == 2 and (plan.rows, len(plan.segments[0].piece.lanes)) == (2, 2)
    assert all(t.registers <= M4.general_registers for t in tile_choices(nest, M4, plan.vector, plan.row, 1))


def test_a_row_of_several_instructions():
    """Steps are calls of their own, results of earlier ones are their arguments, and each intrinsic is declared once."""
    two = row("smlad", "dsp", "h:i32 = llvm.arm.smlad(a:i32, b:i32, acc); llvm.arm.smlad(a:i32, b:i32, h)",
              "acc:i32[1] += dot(a:i16[2], b:i16[2], group=2)")
    declared, lines = call(two, {"acc": "%s", "a": "%x", "b": "%y"})
    assert declared == "declare i32 @llvm.arm.smlad(i32, i32, i32)"
    assert lines[2] == "%r.h = call i32 @llvm.arm.smlad(i32 %r.h.0.a, i32 %r.h.1.b, i32 %s)"
    assert lines[-1] == "%r = call i32 @llvm.arm.smlad(i32 %r.0.a, i32 %r.1.b, i32 %r.h)"
    assert [d.calls for d in dots((two, *M4.instructions)) if d.group == 2] == [2, 1]
