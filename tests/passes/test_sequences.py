"""Sequences as one function: which kernels are joined, where loops stand, tables walked there and back, and the same numbers as ever."""

from dataclasses import replace

import numpy as np
import pytest

from edgec.backends.target import find
from edgec.compiler import lower, optimise_graph
from edgec.emission import emit
from edgec.graph import Graph, constant, graph_input
from edgec.interpreter import run
from edgec.kernel import Program
from edgec.loops import For, statements
from edgec.ops.recurrent import GRU, LSTM, RNN
from edgec.passes.schedule import schedule
from edgec.passes.tile import tile
from edgec.program_interpreter import run_program
from edgec.repeats import alone, outside
from edgec.types import TensorType, f32

V4 = find("x86-64-v4")


def network(cell, steps: int, hidden: int, inputs: int = 5, batch: int = 1, **attributes) -> Graph:
    """One recurrent layer with biases; weights are small enough for sums not to saturate."""
    rng, sides = np.random.default_rng(3), 2 if attributes.get("direction") == "bidirectional" else 1
    gates = {LSTM: 4, GRU: 3, RNN: 1}[cell]
    array = lambda *shape: constant((rng.standard_normal(shape) / np.sqrt(hidden)).astype(np.float32))
    x = graph_input("x", TensorType(f32, (steps, batch, inputs)))
    weights = array(sides, gates * hidden, inputs), array(sides, gates * hidden, hidden), array(sides, 2 * gates * hidden)
    y, last, *_ = cell(x, *weights, hidden_size=hidden, outputs=2, **attributes).results
    return Graph((x,), (y, last), ("y", "last"), "net")


def samples(graph: Graph) -> dict[str, np.ndarray]:
    return {v.op.name: np.random.default_rng(4).standard_normal(v.type.shape).astype(np.float32) for v in graph.inputs}


def lowered(graph: Graph, target, without=()) -> Program:
    return lower(optimise_graph(graph, target), target, without=without)


def repeated(program: Program) -> list:
    return [k for k in program.steps if k.repeat]


@pytest.mark.parametrize("cell", [LSTM, GRU, RNN])
def test_a_layer_is_one_kernel_in_its_loop(cell):
    kernel, = repeated(lowered(network(cell, 6, 16), V4))
    apart = repeated(lowered(network(cell, 6, 16), V4, without=["sequences", "cells"]))
    cells = repeated(lowered(network(cell, 6, 16), V4, without=["sequences"]))
    assert len(apart) > len(cells) and len(kernel.stages) == sum(len(k.stages) for k in cells)
    assert kernel.axes == () and [a.extent for a in kernel.repeat] == [6]


def test_both_directions_are_loops_of_their_own():
    assert len(repeated(lowered(network(LSTM, 6, 16, direction="bidirectional"), V4))) == 2


def test_weights_beyond_the_cache_keep_their_kernels_apart():
    """Then a step takes long enough for calls not to count, and threads may share each kernel."""
    small = replace(V4, l2_bytes=64 << 10)
    assert len(repeated(lowered(network(RNN, 3, 520), small, without=["cells"]))) > 1
    assert len(repeated(lowered(network(RNN, 3, 40), small, without=["cells"]))) == 1


@pytest.mark.parametrize("steps", [2, 3, 7])
@pytest.mark.parametrize("cell, hidden", [(LSTM, 72), (LSTM, 9), (GRU, 72), (GRU, 17), (RNN, 130), (RNN, 3)])
def test_native_code_agrees(cell, hidden, steps):
    """Pairs of steps and a last one; tables above and below the first-level cache; both directions."""
    graph = network(cell, steps, hidden, direction="bidirectional", **({"linear_before_reset": steps % 2} if cell is GRU else {}))
    expected = run(graph, list(samples(graph).values()))
    found = emit(lowered(graph, find("native")), find("native"), "net", workers=0).run(samples(graph))
    for name, value in zip(("y", "last"), expected):
        np.testing.assert_allclose(found[name], value, rtol=0, atol=1e-5)


@pytest.mark.parametrize("batch", [1, 3])
def test_the_program_means_the_same(batch):
    graph = network(GRU, 5, 20, batch=batch)
    joined, apart = (run_program(lowered(graph, V4, without=left), samples(graph)) for left in ((), ("sequences", "cells")))
    for name, value in apart.items():
        np.testing.assert_array_equal(joined[name], value)


def loops_of(hidden: int, steps: int, inside: int) -> tuple[list[For], int]:
    """(the outermost loops of a layer's kernel, how many tables it has)."""
    kernel, = repeated(lowered(network(LSTM, steps, hidden), V4))
    one = tile(kernel, V4, inside=inside)
    return [s for s in one.loops.body if isinstance(s, For)], sum(b.kind == "constant" for b in one.buffers)


def test_tables_beyond_the_first_level_are_walked_there_and_back():
    (pairs,), tables = loops_of(72, 8, inside=1)
    assert pairs.stop.data == 4 and tables == loops_of(72, 8, inside=0)[1]
    (pairs, *last), _ = loops_of(72, 9, inside=1)
    assert pairs.stop.data == 4 and last
    (every,), _ = loops_of(8, 8, inside=1)
    assert every.stop.data == 8
    assert len(list(statements(pairs.body))) > len(list(statements(every.body)))


def test_loops_around_one_step_stand_inside_it():
    program = lowered(network(LSTM, 6, 16), V4)
    number = next(n for n, k in enumerate(program.steps) if k.repeat)
    assert [n for n, depth in enumerate(alone(program.steps)) if depth] == [number]
    assert not any(k.repeat for k in outside(program).steps)
    apart = lowered(network(LSTM, 6, 16), V4, without=["sequences", "cells"])
    assert not any(alone(apart.steps)) and [k.repeat for k in outside(apart).steps] == [k.repeat for k in apart.steps]


def test_schedules_are_asked_for_once():
    """However often a step is written out, a stored schedule for each of its nests is enough."""
    kernel, = repeated(lowered(network(LSTM, 7, 72), V4))
    asked = {inside: [] for inside in (0, 1)}
    for inside, found in asked.items():
        tile(kernel, V4, inside=inside, choose=lambda nest, target, found=found: found.append(nest) or schedule(nest, target))
    assert len(asked[0]) == len(asked[1])
