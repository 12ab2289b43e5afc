"""Four vectors of a table by one load: which they are, that nothing else is loaded, and that the sums stay what they were."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings

from edgec.backends.emulate import missing_tools
from edgec.backends.llvm import _Function
from edgec.backends.target import all_targets, find
from edgec.compiler import compile, lower
from edgec.expr import const, fresh, mul_add
from edgec.graph_parser import parse_graph
from edgec.interpreter import interpret
from edgec.loops import For, Let, Loops, Param, Register, get, lane, load, statements
from edgec.passes.tile import tile
from edgec.testing.emulated import assert_exact
from edgec.testing.graphs import graphs, whole_inputs
from edgec.types import f32, index

ARM = find("aarch64")
BY_FOURS = [t for t in all_targets() if t.loads_four and not t.in_order]
# Channels, outputs, side, kernel: whole fours, tiles of other widths, ragged rows, windows cut at borders, sums of few steps.
SIZES = [(16, 16, 7, 1), (24, 48, 5, 1), (40, 33, 6, 1), (8, 64, 5, 3), (12, 20, 9, 3), (96, 4, 3, 1), (64, 16, 1, 1), (9, 32, 4, 1)]


def contraction(channels: int, outputs: int, side: int, kernel: int):
    """A layer between two others, so that channels are neighbours in memory on both sides of it."""
    rng, pad, pool, left = np.random.default_rng(channels), kernel // 2, min(side, 2), max(side - 1, 1)
    weights = {"w": rng.integers(-3, 4, (outputs, channels, kernel, kernel)), "b": rng.integers(-9, 9, outputs)}
    return parse_graph(f"""graph g(%x: f32[1,{channels},{side},{side}]) -> (%y) {{
      @w: f32[{outputs},{channels},{kernel},{kernel}]
      @b: f32[{outputs}]
      %r = Relu(%x) : f32[1,{channels},{side},{side}]
      %a = Conv(%r, @w, @b) pads=[{pad},{pad},{pad},{pad}] : f32[1,{outputs},{side},{side}]
      %y = MaxPool(%a) kernel_shape=[{pool},{pool}] : f32[1,{outputs},{left},{left}]
    }}""", {name: array.astype(np.float32) for name, array in weights.items()})


def body(rows: int, columns: int, steps: int, apart: int = 4, order=None) -> For:
    """The innermost loop of a tile: rows x columns sums a step, the vectors of a step `apart` elements apart."""
    k, x, w = fresh("k", 0, 64), Param("x", f32, 4096), Param("w", f32, 1 << 16, constant=True)
    registers = {(r, v): Register(f"acc{r}.{v}", f32, 4) for r in range(rows) for v in range(columns)}
    places = [(s, r, v) for s in range(steps) for r in range(rows) for v in range(columns)]
    sums = [Let(registers[r, v], mul_add(lane(load(x, k + 64 * r, 4), s % 4), load(w, k * 256 + (s * columns + v) * apart, 4),
                                         get(registers[r, v]))) for s, r, v in (order(places) if order else places)]
    return For(k, const(0, index), const(64, index), steps, tuple(sums))


def fours(loop: For, target=ARM) -> set[tuple[int, ...]]:
    """Where the vectors of each four begin, relative to the loop's variable."""
    found = _Function(Loops("k", (), (), (loop,)), target, "k", frozenset())._side_by_side_in(loop.body)
    return {tuple(n.args[0].data[0] if n.args[0].op == "linear" else 0 for n in four.vectors) for four in found.values()}


def test_the_vectors_of_a_step_come_together():
    assert fours(body(5, 4, 8)) == {tuple(16 * s + 4 * v for v in range(4)) for s in range(8)}


def test_two_steps_of_two_vectors_are_four():
    assert len(fours(body(9, 2, 4))) == 2


@pytest.mark.parametrize("loop, why", [
    (body(6, 4, 8), "34 registers"), (body(5, 4, 1), "one four has no next"), (body(5, 3, 6), "a four would span two steps in part"),
    (body(5, 4, 8, apart=8), "apart in memory"), (body(4, 4, 4, order=lambda p: sorted(p, key=lambda q: q[2])), "several fours at a time"),
], ids=lambda x: x if isinstance(x, str) else "")
def test_what_stays(loop, why):
    assert not fours(loop), why


@pytest.mark.parametrize("target", [replace(ARM, in_order=True), replace(ARM, loads_four=""), find("x86-64-v3")], ids=["in order", "none", "x86"])
def test_other_targets_load_one_by_one(target):
    assert not fours(body(5, 4, 8), target)


def test_assembly_has_the_load_and_no_addition_for_each():
    assembly = compile(contraction(64, 32, 5, 1), ARM, workers=0, keep=("asm",)).asm
    loads = [line for line in assembly.splitlines() if "\tld1\t" in line and line.count("4s") == 4]
    assert len(loads) >= 8 and sum("], #64" in line for line in loads) >= len(loads) - len(loads) // 8 - 1


@pytest.mark.parametrize("target", BY_FOURS, ids=lambda t: t.name)
def test_sums_are_exact_at_every_extent(target):
    if missing_tools(target):
        pytest.skip(f"{target.name}: {', '.join(missing_tools(target))} not installed")
    for sizes in SIZES if target is ARM else SIZES[1:4]:
        assert_exact(contraction(*sizes), target, samples=1, winograd=False, workers=0)


@settings(max_examples=6)
@given(graphs(max_steps=2, choices=("conv", "pointwise_conv", "matmul", "gemm")))
def test_random_contractions_under_emulation(graph):
    arrays = whole_inputs(graph)
    found = compile(graph, ARM, winograd=False, workers=0).run(arrays)
    for name, expected in interpret(graph, arrays).items():
        np.testing.assert_array_equal(found[name], expected)


def test_tiles_of_four_vectors_are_preferred_where_others_cost_the_same():
    """14 rows of a map and 576 outputs: 4 x 5 tiles and 5 x 4 tiles take as many multiply-adds."""
    graph = parse_graph("""graph g(%x: f32[1,96,14,14]) -> (%y) {
      @w: f32[576,96,1,1]
      %r = Relu(%x) : f32[1,96,14,14]
      %a = Conv(%r, @w) : f32[1,576,14,14]
      %y = MaxPool(%a) kernel_shape=[2,2] : f32[1,576,13,13]
    }""", {"w": np.zeros((576, 96, 1, 1), np.float32)})
    chosen = []
    for kernel in lower(graph, ARM).steps:
        loops = tile(kernel, ARM).loops
        chosen += [len(fours(s)) for s in statements(loops.body) if isinstance(s, For)]
    assert max(chosen) == 8
