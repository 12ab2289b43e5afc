"""Rounding and saturating conversions: vectors of any length by the rows of a target, exact at the ends of every range."""


import numpy as np
import pytest

from edgec.backends.codegen import compile_module
from edgec.backends.llvm import module_text
from edgec.backends.target import find
from edgec.compiler import lower
from edgec.edge_file import read_graph
from edgec.emission import emit
from edgec.expr import cast, cast_within, const, unary
from edgec.graph_parser import parse_graph
from edgec.interpreter import interpret
from edgec.loops import Loops, Param, Store, load
from edgec.types import DTYPES, f32, i32, index

NAMES = ["aarch64", "cortex-a7", "cortex-m4", "cortex-m55"]


def assembly(target, value, result, lanes) -> str:
    """A kernel that stores a value of one loaded vector."""
    source, to = Param("p0", f32, 64, False), Param("p1", result, 64, True)
    body = (Store(to, const(0, index), value(load(source, const(0, index), lanes))),)
    return compile_module(module_text(Loops("k", (source, to), (), body), target, "kernel"), target, "3", ("asm",)).asm


@pytest.mark.parametrize("name, round_, narrow", [
    ("aarch64", "fcvtns", "sqxtn2"), ("cortex-a7", "vcvtr.s32.f32", "vqmovn.s16"), ("cortex-m55", "vcvtn.s32.f32", "")])
def test_sixteen_bytes_are_made_by_the_rows(name, round_, narrow):
    text = assembly(find(name), lambda x: cast(cast_within(unary("round", x), i32), DTYPES["i8"], saturate=True), DTYPES["i8"], 16)
    assert round_ in text and narrow in text
    assert not narrow or "min" not in text and "max" not in text


def test_a_scalar_is_rounded_by_one_instruction_on_a_core_without_vectors():
    text = assembly(find("cortex-m4"), lambda x: cast_within(unary("round", x), i32), i32, 1)
    assert "vcvtr.s32.f32" in text and "vadd" not in text


def test_a_round_elsewhere_is_still_written_out():
    """Only the conversion is an instruction there: the rounded float itself is portable arithmetic, and no library is called."""
    text = assembly(find("cortex-m4"), lambda x: unary("round", x) + cast(cast_within(unary("round", x), i32), f32), f32, 1)
    assert "vcvtr.s32.f32" in text and "vadd" in text and "roundeven" not in text


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("dtype", ["i8", "u8", "i16"])
def test_quantizing_is_exact_at_halves_and_beyond_every_range(name, dtype, require_tools):
    """Elements around vectors of 16: halves round to even, large ones saturate, on whole vectors and on what is left."""
    target = find(name)
    require_tools(target)
    for count in (5, 16, 37):
        graph = read_graph(f"""graph g(%x: f32[{count}]) -> (%y) {{
          %s = Relu(%x) : f32[{count}]
          %d = Sub(%s, f32[1]{{40000.0}}) : f32[{count}]
          %y = QuantizeLinear(%d, f32[]{{0.5}}, {dtype}[]{{3}}) : {dtype}[{count}]
        }}""", "test")
        x = np.float32(40000) + np.resize(np.float32([0.25, 0.75, -0.25, 1e9, -1e9, 63.25, -65.75, 3e38, -40000, 16000.25]), count)
        found = emit(lower(graph, target), target, "net", "2", workers=0).run({"x": x})["y"]
        np.testing.assert_array_equal(found, interpret(graph, {"x": x})["y"])


@pytest.mark.parametrize("name", ["aarch64", "cortex-a76", "cortex-a710", "cortex-a7", "cortex-m4", "cortex-m55"])
def test_quantized_convolutions_equal_the_interpreter(name, require_tools):
    """Channels around four joined vectors, groups of one channel, windows over borders."""
    target = find(name)
    require_tools(target)
    random = np.random.default_rng(5)
    for outputs, channels, group in ((24, 8, 1), (37, 5, 1), (20, 20, 20), (7, 4, 1)):
        text = f"""graph g(%x: f32[1,{channels},5,5]) -> (%y) {{
          @w: i8[{outputs},{channels // group},3,3]
          @s: f32[{outputs}]
          @v: i8[{outputs}]
          @b: i32[{outputs}]
          %q = QuantizeLinear(%x, f32[]{{0.05}}, u8[]{{117}}) : u8[1,{channels},5,5]
          %y = QLinearConv(%q, f32[]{{0.05}}, u8[]{{117}}, @w, @s, @v, f32[]{{0.5}}, u8[]{{101}}, @b) pads=[1,1,1,1] group={group} : u8[1,{outputs},5,5]
        }}"""
        arrays = {"w": random.integers(-128, 128, (outputs, channels // group, 3, 3)).astype(np.int8), "v": np.zeros(outputs, np.int8),
                  "s": random.uniform(0.001, 0.02, outputs).astype(np.float32), "b": random.integers(-999, 999, outputs).astype(np.int32)}
        graph = parse_graph(text, arrays)
        x = random.uniform(-6, 7, (1, channels, 5, 5)).astype(np.float32)
        found = emit(lower(graph, target), target, "net", "2", workers=0).run({"x": x})["y"]
        np.testing.assert_array_equal(found, interpret(graph, {"x": x})["y"])
