"""The pass precision: which values become 16-bit floats, and how far that moves the result."""

import numpy as np
import pytest

from edgec.backends.emulate import missing_tools
from edgec.backends.target import all_targets, find
from edgec.compiler import compile, lower
from edgec.edge_file import read_graph
from edgec.errors import ModelError, Unsupported
from edgec.graph_parser import parse_graph
from edgec.graph_text import print_graph
from edgec.interpreter import interpret
from edgec.passes.precision import precision
from edgec.testing.graphs import normal_inputs
from edgec.verification import verify

NATIVE = find("native")
BF16 = pytest.mark.skipif("avx512bf16" not in NATIVE.features, reason="this computer has no dot product of bf16")
RESIDUAL = """graph g(%x: f32[1,8,6,6]) -> (%z) {
  @w: f32[16,8,3,3]
  @v: f32[8,16,1,1]
  %a = Relu(%x) : f32[1,8,6,6]
  %b = Conv(%a, @w) pads=[1,1,1,1] : f32[1,16,6,6]
  %c = Sigmoid(%b) : f32[1,16,6,6]
  %d = Conv(%c, @v) : f32[1,8,6,6]
  %z = Add(%d, %a) : f32[1,8,6,6]
}"""
DEPTHWISE = """graph g(%x: f32[1,8,6,6]) -> (%y) {
  @w: f32[8,1,3,3]
  %y = Conv(%x, @w) group=8 pads=[1,1,1,1] : f32[1,8,6,6]
}"""
JOINED = """graph g(%x: f32[1,4,6,6]) -> (%y) {
  @w: f32[16,8,1,1]
  %a = Relu(%x) : f32[1,4,6,6]
  %b = Neg(%x) : f32[1,4,6,6]
  %c = Concat(%a, %b) axis=1 : f32[1,8,6,6]
  %y = Conv(%c, @w) : f32[1,16,6,6]
}"""


def ops(graph):
    return [f"{type(op).__name__}:{op.output.dtype}" for op in graph.ops]


@BF16
def test_operands_lie_in_memory_as_bf16():
    """Producers round, the residual reads what the convolution reads, results and outputs are f32."""
    program = lower(precision(read_graph(RESIDUAL, "test"), NATIVE), NATIVE)
    assert [(b.name, b.dtype.name) for k in program.steps for b in k.targets] == [("a.bf16", "bf16"), ("c.bf16", "bf16"), ("z", "f32")]


@BF16
def test_sums_of_single_channels_stay():
    graph = read_graph(DEPTHWISE, "test")
    assert print_graph(precision(graph, NATIVE))[0] == print_graph(graph)[0]


@BF16
def test_joined_values_are_narrowed_before_they_are_joined():
    found = ops(precision(read_graph(JOINED, "test"), NATIVE))
    assert "Concat:bf16" in found and "Concat:f32" not in found


@BF16
def test_weights_become_constants():
    graph = precision(read_graph(RESIDUAL, "test"), NATIVE)
    assert {op.output.dtype.name for op in graph.ops if type(op).__name__ == "Constant"} == {"bf16"}


def test_f32_changes_nothing():
    graph = read_graph(RESIDUAL, "test")
    assert precision(graph, NATIVE, to="f32") is graph


def test_a_target_without_such_products_is_refused_by_name():
    with pytest.raises(Unsupported, match="x86-64-v3 has no dot product of bf16"):
        compile(read_graph(RESIDUAL, "test"), "x86-64-v3", precision="bf16", workers=0)


def test_f16_needs_conversions_of_vectors():
    for name in ("x86-64-v2", "cortex-a7"):
        with pytest.raises(Unsupported, match=f"{name} has no vector conversion of f16"):
            precision(read_graph(RESIDUAL, "test"), find(name), to="f16")


def test_f16_is_how_operands_lie_in_memory_where_scalars_are_lanes():
    target = find("aarch64")
    program = lower(precision(read_graph(RESIDUAL, "test"), target, to="f16"), target)
    assert [(b.name, b.dtype.name) for k in program.steps for b in k.targets] == [("a.f16", "f16"), ("c.f16", "f16"), ("z", "f32")]


def test_f16_is_for_weights_where_scalars_would_be_converted_one_by_one():
    target = find("x86-64-v3")
    graph = precision(read_graph(RESIDUAL, "test"), target, to="f16")
    assert {op.output.dtype.name for op in graph.ops if type(op).__name__ == "Constant"} == {"f16"}
    assert {b.dtype.name for k in lower(graph, target).steps for b in k.targets} == {"f32"}


def test_weights_of_f16_are_packed_as_such():
    target = find("x86-64-v3")
    artifact = compile(read_graph(RESIDUAL, "test"), target, precision="f16", workers=0, keep=("asm",))
    assert "vcvtph2ps" in artifact.asm
    arrays = normal_inputs(read_graph(RESIDUAL, "test"))
    expected = interpret(read_graph(RESIDUAL, "test"), arrays)["z"]  # its weights are whole numbers, which f16 holds
    np.testing.assert_allclose(artifact.run(arrays)["z"], expected, rtol=0, atol=1e-5 * np.abs(expected).max())


def test_a_weight_that_f16_cannot_hold_is_refused_by_name():
    weights = {"w": np.full((16, 8, 3, 3), -70000.0, np.float32), "v": np.ones((8, 16, 1, 1), np.float32)}
    graph = parse_graph(RESIDUAL, weights)
    with pytest.raises(ModelError, match="holds 70000, and f16 ends at 65504"):
        precision(graph, find("aarch64"), to="f16")


def test_an_unknown_precision_is_refused():
    with pytest.raises(ModelError, match="no precision 'f8'"):
        precision(read_graph(RESIDUAL, "test"), NATIVE, to="f8")


@BF16
@pytest.mark.parametrize("k", [2, 3, 31, 64, 255, 512])
def test_error_of_one_product(k):
    """|y - exact| <= (K + 8) 2^-24 sum|a b| for the exact sum of the products of rounded operands."""
    graph = read_graph(f"graph g(%x: f32[5,{k}]) -> (%y) {{\n  @w: f32[{k},40]\n  %y = MatMul(%x, @w) : f32[5,40]\n}}", "test")
    arrays = normal_inputs(graph)
    weights = next(op.output.array for op in graph.ops if type(op).__name__ == "Constant")
    rounded = [a.astype(precision_type()).astype(np.float64) for a in (arrays["x"], weights)]
    exact, bound = rounded[0] @ rounded[1], np.abs(rounded[0]) @ np.abs(rounded[1])
    found = compile(graph, NATIVE, precision="bf16", workers=0).run(arrays)["y"]
    assert np.all(np.abs(found - exact) <= (k + 8) * 2.0**-24 * bound)
    full = arrays["x"].astype(np.float64) @ weights
    assert np.abs(found - full).max() > (k + 8) * 2.0**-24 * bound.max()
    assert np.all(np.abs(found - full) <= (2.0**-8 + 2.0**-18 + (k + 8) * 2.0**-24) * (np.abs(arrays["x"]) @ np.abs(weights)) * 1.01)


def precision_type():
    from edgec.types import bf16
    return bf16.numpy


@BF16
def test_verify_reports_the_error_against_f32():
    graph = read_graph(RESIDUAL, "test")
    difference, = verify(graph, normal_inputs(graph), target="native", precision="bf16", workers=0).outputs
    assert difference.same and 1e-5 < difference.relative < 2e-2


@pytest.mark.parametrize("rows, instruction", [(1, "bfdot"), (5, "bfmmla")])
def test_error_of_one_product_on_arm(rows, instruction):
    """Both round to odd: within the same bound on these operands, under emulation."""
    target = next(t for t in all_targets() if "bf16" in t.features and t.emulator and t.emulator.qemu)
    if missing_tools(target):
        pytest.skip(f"{target.name}: {', '.join(missing_tools(target))} not installed")
    graph = read_graph(f"graph g(%x: f32[{rows},37]) -> (%y) {{\n  @w: f32[37,40]\n  %y = MatMul(%x, @w) : f32[{rows},40]\n}}", "test")
    arrays = normal_inputs(graph)
    weights = next(op.output.array for op in graph.ops if type(op).__name__ == "Constant")
    rounded = [a.astype(precision_type()).astype(np.float64) for a in (arrays["x"], weights)]
    artifact = compile(graph, target, precision="bf16", workers=0, keep=("asm",))
    assert f"\t{instruction}\t" in artifact.asm and "bfcvtn" in artifact.asm
    error = np.abs(artifact.run(arrays)["y"] - rounded[0] @ rounded[1])
    assert np.all(error <= (37 + 8) * 2.0**-24 * (np.abs(rounded[0]) @ np.abs(rounded[1])))
