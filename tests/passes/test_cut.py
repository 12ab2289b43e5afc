"""Cutting loops into ranges of positions: any parts, in any order, store what the whole stores, and no more."""

import itertools
from collections.abc import Sequence
from dataclasses import replace
from random import Random

import numpy as np
import pytest

from edgec.backends.target import find
from edgec.compiler import lower, optimise_graph
from edgec.edge_file import read_graph
from edgec.loops import For, statements
from edgec.loops_interpreter import run_loops
from edgec.loops_verifier import verify_loops
from edgec.passes.cut import Cuttable, balance, cuttable, ranged, trips
from edgec.passes.tile import tile
from edgec.program_parser import parse_program
from edgec.testing.arrows import random_schedule, run_tiled
from edgec.testing.graphs import normal_inputs, random_graph, random_integer_graph

NATIVE = replace(find("x86-64-v3"), hand_over=1)
MACHINES = [NATIVE, replace(NATIVE, masks=True), replace(NATIVE, vector_bits=0), replace(NATIVE, vector_bits=128, scalar_operand="lane")]


def in_parts(one, cut: Cuttable, random: Random):
    """A run function of `_run`: the kernel in a random number of random parts, in a random order."""
    whole = ranged(cut)
    verify_loops(whole.loops)
    first, last = (s.data for s in whole.loops.symbols[-2:])
    inner = sorted(random.randrange(cut.positions + 1) for _ in range(random.randrange(1, 9)))
    bounds = [0, *inner, cut.positions]
    parts = list(itertools.pairwise(bounds))
    random.shuffle(parts)

    def run(flat, bindings):
        for start, stop in parts:
            run_loops(whole.loops, flat, {**bindings, first: start, last: stop})
    return run


@pytest.mark.parametrize("seed", range(60))
def test_any_parts_in_any_order_compute_the_same_bits(seed, monkeypatch):
    random, target = Random(seed), MACHINES[seed % len(MACHINES)]
    draw = Random(700 + seed)
    graph = random_integer_graph(draw, 4) if seed % 5 == 4 else random_graph(draw, 4, symbolic=seed % 3 == 2)
    program = lower(optimise_graph(graph, target), target)
    tiled = [tile(kernel, target, choose=lambda nest, target: random_schedule(random, nest, target)) for kernel in program.steps]
    arrays = normal_inputs(graph, seed=seed, size=3)
    expected = run_tiled(program, tiled, arrays)

    def run(loops, flat, bindings, ran):
        one = next(each for each in tiled if each.loops is loops)
        found = cuttable(one, target)
        in_parts(one, found, random)(flat, bindings) if found else run_loops(loops, flat, bindings, ran)

    monkeypatch.setattr("edgec.testing.arrows.run_loops", run)
    found = run_tiled(program, tiled, arrays)
    for name, array in expected.items():
        assert array.tobytes() == found[name].tobytes(), name


def cut_of(text: str, target=NATIVE, step: int = -1, without: Sequence[str] = ()) -> Cuttable | None:
    return cuttable(tile(lower(read_graph(text, "test"), target, without=without).steps[step], target), target)


def test_as_few_loops_are_entered_as_balance_the_parts():
    rows = cut_of("graph g(%x: f32[960,8]) -> (%y) {\n @w: f32[8,8]\n %y = MatMul(%x, @w) : f32[960,8]\n}")
    assert rows.depth == 1 and balance(rows) > 0.9
    tiles = cut_of("graph g(%x: f32[1,64]) -> (%y) {\n @w: f32[64,1024]\n %y = MatMul(%x, @w) : f32[1,1024]\n}")
    assert tiles.depth == 1 and tiles.positions > 8
    planes = cut_of("graph g(%x: f32[2,64,48,48]) -> (%y) {\n %a = Neg(%x) : f32[2,64,48,48]\n"
                    " %y = MaxPool(%a) kernel_shape=[3,3] strides=[2,2] pads=[1,1,1,1] : f32[2,64,24,24]\n}", without=["bands", "images"])
    assert planes.depth == 2 and planes.positions >= 48 and balance(planes) > 0.9


def test_bounds_share_the_cycles_evenly():
    weights = np.float64([1] * 50 + [9] * 10 + [0] * 7 + [1] * 10)
    cut = Cuttable(None, weights, 1)
    for parts in (1, 2, 3, 8, 24):
        bounds = cut.bounds(parts)
        shares = [weights[a:b].sum() for a, b in itertools.pairwise(bounds)]
        assert bounds[0] == 0 and bounds[-1] == len(weights) and len(shares) == parts and list(bounds) == sorted(bounds)
        assert max(shares) <= weights.sum() / parts + 9


UPDATES = """
program histogram(x, at) -> (y)
input x: f32[600]
input at: i32[600]
output y: f32[300]

kernel clear(i0 < 300)
  store clear() y[i0] = 0.0

kernel count(i0 < 600)
  merge count() y[cast<index>(at[i0])] add = x[i0] where cast<index>(at[i0]) < 300

kernel scatter(i0 < 600)
  store scatter() y[cast<index>(at[i0])] = x[i0] where cast<index>(at[i0]) < 300
"""


def test_points_that_may_meet_are_never_cut():
    clear, count, scatter = (cuttable(tile(kernel, NATIVE), NATIVE) for kernel in parse_program(UPDATES).steps)
    assert clear is not None and count is None and scatter is None


def test_stages_without_outer_axes_are_never_cut():
    for size in (9, 3000):
        assert cut_of(f"graph g(%x: f32[{size}]) -> (%y) {{\n %y = Softmax(%x) axis=0 : f32[{size}]\n}}") is None
    assert cut_of("graph g(%x: f32[7,3000]) -> (%y) {\n %y = Softmax(%x) axis=1 : f32[7,3000]\n}").positions == 7


def test_blocks_count_their_own_steps():
    text = "graph g(%x: f32[4096,512]) -> (%y) {\n @w: f32[512,96]\n %y = MatMul(%x, @w) : f32[4096,96]\n}"
    tiled = tile(lower(read_graph(text, "test"), NATIVE).steps[0], NATIVE)
    loops = [s for s in statements(tiled.pieces) if isinstance(s, For) and s.var in tiled.parallel]
    inner = next(loop for loop in loops if loop.stop.op == "min") if any(loop.stop.op == "min" for loop in loops) else None
    assert inner is None or trips(inner) < 4096
