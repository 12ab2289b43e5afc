"""Cores without floats: f32 models run, by routines that the object holds itself, and scaled integers are exact next to every tie."""

import numpy as np
import pytest

import edgec
from edgec.backends.codegen import compile_module
from edgec.backends.emulate import missing_tools
from edgec.backends.inspect_object import defined_globals, undefined_symbols
from edgec.backends.soft_routines import OPERATIONS, routine_text, soft_routines
from edgec.backends.target import all_targets, find
from edgec.edge_file import read_graph
from edgec.graph_parser import parse_graph
from edgec.interpreter import interpret

SOFT = [t for t in all_targets() if t.soft_floats]
REAL = """graph real(%x: f32[2,9]) -> (%y, %z) {
  %a = Softmax(%x) : f32[2,9]
  %b = Sqrt(%a) : f32[2,9]
  %y = Div(%b, f32[9]{3,-7,0.1,5,1e9,2,-0.3,11,13}) : f32[2,9]
  %c = Floor(%x) : f32[2,9]
  %z = Cast(%c) to=6 : i32[2,9]
}"""


def emulated(target):
    if missing_tools(target):
        pytest.skip(f"the emulator of {target.name} is not installed")
    return target


@pytest.mark.parametrize("target", SOFT, ids=lambda t: t.name)
def test_real_numbers(target):
    graph, x = read_graph(REAL, "test"), {"x": (np.random.default_rng(1).normal(size=(2, 9)) * 5).astype(np.float32)}
    artifact = edgec.compile(graph, emulated(target), workers=0)
    assert undefined_symbols(artifact.object) == [] and not any("aeabi" in name for name in defined_globals(artifact.object))
    found, expected = artifact.run(x), interpret(graph, x)
    np.testing.assert_allclose(found["y"], expected["y"], rtol=1e-6)
    np.testing.assert_array_equal(found["z"], expected["z"])


@pytest.mark.parametrize("target", SOFT, ids=lambda t: t.name)
def test_scaled_integers_around_ties(target):
    """Sums next to the middle of two results, for factors within the bounds of the quick way, beyond them, and rounding to even."""
    random, numbers = np.random.default_rng(4), 40
    chosen = [2.0**-12, 2.0**-13, 2.0**-20, 0.5, 0.25, 0.75, 0.49999997, 3.0]
    factors = np.float32([*random.uniform(2.0**-12, 0.02, 24), *chosen, *(2.0**-9 + random.uniform(0, 1e-6, 8))])
    ties = [np.rint((random.integers(-140, 140, 40) + 0.5) / m) + random.integers(-1, 2, 40) for m in factors.astype(np.float64)]
    sums = np.clip(np.concatenate(ties), -2**21, 2**21 - 1).astype(np.int64)
    text = f"""graph scaled(%x: i16[{sums.size},2]) -> (%y) {{
      @w: i8[2,{numbers}]
      @m: f32[{numbers}]
      %y = QLinearMatMul(%x, f32[]{{1}}, i16[]{{0}}, @w, @m, i8[]{{0}}, f32[]{{1}}, i8[]{{-3}}) : i8[{sums.size},{numbers}]
    }}"""
    graph = parse_graph(text, {"m": factors, "w": np.repeat(np.int8([[64], [1]]), numbers, axis=1)})
    artifact = edgec.compile(graph, emulated(target), workers=0, keep=("llvm",))
    assert "@edgec_scale(" in artifact.llvm and "i64" in artifact.llvm
    parts = {"x": np.stack([sums >> 6, sums & 63], axis=1).astype(np.int16)}
    np.testing.assert_array_equal(artifact.run(parts)["y"], interpret(graph, parts)["y"])


@pytest.mark.parametrize("target", SOFT, ids=lambda t: t.name)
def test_no_routine_needs_itself(target):
    """LLVM knows some of them by heart: it must not make a call of the routine out of its own body."""
    for symbol, operation in target.calls:
        called = undefined_symbols(compile_module(routine_text(symbol, operation, target), target, "3").object)
        assert symbol not in called and set(called) <= set(dict(target.calls))


def test_an_object_gets_what_it_calls():
    target = find("cortex-m0plus")
    caller = compile_module("declare float @__aeabi_fmul(float, float)\ndefine float @k(float %a) nounwind {\n %b = fmul float %a, %a\n"
                            " ret float %b\n}\n", target, "3").object
    made = soft_routines([caller], target, lambda texts: {n: compile_module(t, target, "3") for n, t in texts.items()})
    assert {n for one in made for n in defined_globals(one.object)} >= {"__aeabi_fmul"}
    assert soft_routines([caller], find("cortex-m4"), dict) == []
    assert {operation for _, operation in target.calls} <= set(OPERATIONS)
