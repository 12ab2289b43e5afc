"""Sums of f16 in blocks: exact on whole numbers for extents around blocks, tiles and borders, and within the bound of the rounding errors."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from edgec.backends.emulate import missing_tools
from edgec.backends.target import all_targets, find
from edgec.compiler import compile, lower
from edgec.edge_file import read_graph
from edgec.graph_parser import parse_graph
from edgec.interpreter import interpret
from edgec.loops import Let, expressions, statements
from edgec.passes.halves import BLOCK, multiplies_halves
from edgec.passes.precision import precision
from edgec.passes.tile import tile
from edgec.sweeps import walk
from edgec.testing.arrows import run_tiled, schedules
from edgec.testing.graphs import graphs, normal_inputs, whole_inputs
from edgec.types import f16

HALVES = next(t for t in all_targets() if multiplies_halves(t) and t.emulator)
WIDENING = next(t for t in all_targets() if any("fmlal" in row.llvm for row in t.instructions))
CONTRACTIONS = ("conv", "pointwise_conv", "matmul", "gemm", "product")
CONVOLUTIONS = [(16, 20, 6, 1, 0), (33, 24, 5, 3, 1), (40, 9, 4, 3, 1), (64, 33, 7, 3, 0), (3, 17, 9, 5, 2), (96, 8, 3, 1, 0)]


def convolution(channels: int, outputs: int, side: int, kernel: int, pads: int) -> str:
    spatial = side + 2 * pads - kernel + 1
    return f"""graph g(%x: f32[1,{channels},{side},{side}]) -> (%y) {{
      @w: f32[{outputs},{channels},{kernel},{kernel}]
      @b: f32[{outputs}]
      %a = Relu(%x) : f32[1,{channels},{side},{side}]
      %c = Conv(%a, @w, @b) pads=[{pads},{pads},{pads},{pads}] : f32[1,{outputs},{spatial},{spatial}]
      %y = MaxPool(%c) kernel_shape=[2,2] : f32[1,{outputs},{spatial - 1},{spatial - 1}]
    }}"""


def loops(graph, target, choose=None):
    program = lower(precision(graph, target, to="f16"), target)
    return program, [tile(kernel, target, **({"choose": choose} if choose else {})) for kernel in program.steps]


def sums_of_halves(tiled) -> list:
    """Multiply-adds of f16 in the loops."""
    values = [s.value for one in tiled for s in statements(one.loops.body) if isinstance(s, Let)]
    return [v for v in values if v.op == "mul_add" and v.dtype is f16]


def agree(graph, target, choose=None) -> None:
    """Loops compute exactly what the narrowed graph says."""
    arrays = whole_inputs(graph)
    expected = interpret(precision(graph, target, to="f16"), arrays)
    for name, found in run_tiled(*loops(graph, target, choose), arrays).items():
        np.testing.assert_array_equal(found, expected[name])


@pytest.mark.parametrize("shape", CONVOLUTIONS, ids=str)
def test_convolutions_around_blocks_and_borders(shape):
    graph = read_graph(convolution(*shape), "test")
    agree(graph, HALVES)
    assert bool(sums_of_halves(loops(graph, HALVES)[1])) == (shape[0] > 3)


@settings(max_examples=15)
@given(graphs(max_steps=1, choices=CONTRACTIONS))
def test_random_contractions(graph):
    agree(graph, HALVES)


@settings(max_examples=15)
@given(st.data())
def test_any_schedule(data):
    graph = data.draw(graphs(max_steps=1, choices=CONTRACTIONS))
    agree(graph, HALVES, lambda nest, machine: data.draw(schedules(nest, machine)))


@pytest.mark.parametrize("channels, block", [(96, 32), (24, 24), (144, 24), (40, 20), (8, 8)])
def test_blocks_divide_the_channels(channels, block):
    """The longest divisor up to BLOCK: the sum of the blocks goes on in f32, once per block and point."""
    _, tiled = loops(read_graph(convolution(channels, 16, 4, 1, 0), "test"), HALVES)
    registers = {s.register for one in tiled for s in statements(one.loops.body) if isinstance(s, Let)}
    assert block <= BLOCK and {r.dtype.name for r in registers if r.lanes == 8} >= {"f16"}
    wide = [n for one in tiled for s in statements(one.loops.body) for n in walk(*expressions(s)) if n.op == "cast" and n.dtype.name == "f32"]
    assert wide and channels % block == 0


def test_channels_without_a_fitting_divisor_are_summed_in_f32():
    assert not sums_of_halves(loops(read_graph(convolution(37, 16, 4, 1, 0), "test"), HALVES)[1])


def test_a_target_that_adds_halves_to_f32_needs_no_blocks():
    assert not sums_of_halves(loops(read_graph(convolution(64, 16, 4, 1, 0), "test"), WIDENING)[1])


def test_vectors_without_f16_multiply_in_f32():
    assert not sums_of_halves(loops(read_graph(convolution(64, 16, 4, 1, 0), "test"), find("aarch64"))[1])
    assert not multiplies_halves(replace(HALVES, vector_bits=0))


def product(k: int):
    """A matrix product with weights that f16 has to round, its inputs, and both operands as f16 rounds them."""
    weights = np.random.default_rng(k).standard_normal((k, 40)).astype(np.float32)
    graph = parse_graph(f"graph g(%x: f32[5,{k}]) -> (%y) {{\n  @w: f32[{k},40]\n  %r = Neg(%x) : f32[5,{k}]\n"
                        f"  %y = MatMul(%r, @w) : f32[5,40]\n}}", {"w": weights})
    arrays = normal_inputs(graph)
    return graph, arrays, [a.astype(np.float16).astype(np.float64) for a in (-arrays["x"], weights)]


@pytest.mark.parametrize("target", ["aarch64", HALVES.name, WIDENING.name])
def test_error_of_one_product_under_emulation(target):
    """|y - exact| <= (K + 8) 2^-24 sum|a b|, and where f16 are summed 1/63 sum|a b| + K 2^-25 more."""
    machine = find(target)
    if missing_tools(machine):
        pytest.skip(f"{target}: {', '.join(missing_tools(machine))} not installed")
    mnemonic = {"aarch64": "fcvtl", HALVES.name: ".8h", WIDENING.name: "fmlal"}[target]
    for k in (37, 320):
        graph, arrays, (a, w) = product(k)
        artifact = compile(graph, machine, precision="f16", workers=0, keep=("asm",))
        assert mnemonic in artifact.asm or k == 37
        error, size = np.abs(artifact.run(arrays)["y"] - a @ w), np.abs(a) @ np.abs(w)
        in_blocks = multiplies_halves(machine) and k != 37
        bound = (k + 8) * 2.0**-24 * size + in_blocks * (size / 63 + k * 2.0**-25)
        assert np.all(error <= bound)
        assert np.any(error > (k + 8) * 2.0**-24 * size) == in_blocks


@pytest.mark.parametrize("shape", [(33, 24, 5, 3, 1), (96, 20, 4, 1, 0)], ids=str)
@pytest.mark.parametrize("target", [HALVES.name, WIDENING.name])
def test_convolutions_under_emulation(target, shape):
    machine = find(target)
    if missing_tools(machine):
        pytest.skip(f"{target}: {', '.join(missing_tools(machine))} not installed")
    graph = read_graph(convolution(*shape), "test")
    arrays = whole_inputs(graph)
    expected = interpret(precision(graph, machine, to="f16"), arrays)["y"]
    np.testing.assert_array_equal(compile(graph, machine, precision="f16", workers=0).run(arrays)["y"], expected)


def two_layers(channels: int, middle: int, outputs: int, side: int):
    """A window over the input, whose scalars lie side by side, then a pointwise layer that reads its result as f16."""
    rng = np.random.default_rng(channels)
    weights = {"w": rng.integers(-2, 3, (middle, channels, 3, 3)), "v": rng.integers(-2, 3, (outputs, middle, 1, 1))}
    return parse_graph(f"""graph g(%x: f32[1,{channels},{side},{side}]) -> (%y) {{
      @w: f32[{middle},{channels},3,3]
      @v: f32[{outputs},{middle},1,1]
      %a = Conv(%x, @w) pads=[1,1,1,1] : f32[1,{middle},{side},{side}]
      %r = Relu(%a) : f32[1,{middle},{side},{side}]
      %y = Conv(%r, @v) : f32[1,{outputs},{side},{side}]
    }}""", {name: array.astype(np.float32) for name, array in weights.items()})


@pytest.mark.parametrize("shape", [(3, 16, 16, 9), (2, 24, 9, 6), (12, 20, 33, 5)], ids=str)
@pytest.mark.parametrize("target", ["aarch64", HALVES.name, WIDENING.name])
def test_results_stored_as_f16_are_exact_under_emulation(target, shape):
    """Sums of eight lanes, since as many f16 fill a vector: one row of the target adds them by both halves of its operands."""
    machine = find(target)
    if missing_tools(machine):
        pytest.skip(f"{target}: {', '.join(missing_tools(machine))} not installed")
    graph = two_layers(*shape)
    arrays = whole_inputs(graph)
    artifact = compile(graph, machine, precision="f16", winograd=False, workers=0, keep=("asm",))
    assert ("fmlal2" in artifact.asm) == (target == WIDENING.name)
    np.testing.assert_array_equal(artifact.run(arrays)["y"], interpret(precision(graph, machine, to="f16"), arrays)["y"])


def test_scalars_of_f16_that_lie_side_by_side_come_as_vectors():
    loaded = [n for one in loops(two_layers(3, 16, 16, 9), WIDENING)[1] for s in statements(one.loops.body) if isinstance(s, Let)
              for e in expressions(s) for n in walk(e) if n.op == "load" and not n.data[0].constant and n.dtype is f16]
    assert {n.lanes for n in loaded} == {4, 8}  # of the window, and of the second layer's channels
