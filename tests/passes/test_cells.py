"""Recurrent cells in one walk: what merges, what does not, and the same numbers from every merged program."""

from dataclasses import replace
from random import Random

import numpy as np
import pytest

from edgec.accesses import buffer_reads, program_buffers
from edgec.backends.target import find
from edgec.compiler import lower, optimise_graph
from edgec.edge_file import read_graph
from edgec.graph import Graph, constant, graph_input
from edgec.interpreter import run
from edgec.kernel import Kernel
from edgec.ops.recurrent import GRU, LSTM, RNN
from edgec.ops.reshape import Reshape
from edgec.passes import cells as passes_cells, uses as passes_uses
from edgec.passes.cut import cuttable
from edgec.passes.schedule import schedule
from edgec.passes.shared_loops import shared_loops
from edgec.passes.tile import tile, walked_together
from edgec.program_interpreter import run_program
from edgec.repeats import alone
from edgec.types import TensorType, f32

V4 = find("x86-64-v4")


def layer(cell, steps: int, hidden: int, batch: int = 1, **attributes) -> Graph:
    """One recurrent layer of small random weights; y, the last h and, of an LSTM, the last c."""
    rng, gates = np.random.default_rng(5), {LSTM: 4, GRU: 3, RNN: 1}[cell]
    array = lambda *shape: constant((rng.standard_normal(shape) / np.sqrt(hidden)).astype(np.float32))
    x = graph_input("x", TensorType(f32, (steps, batch, 6)))
    weights = array(1, gates * hidden, 6), array(1, gates * hidden, hidden), array(1, 2 * gates * hidden)
    results = cell(x, *weights, hidden_size=hidden, outputs=3 if cell is LSTM else 2, **attributes).results
    return Graph((x,), tuple(results), ("y", "h", "c")[:len(results)], "net")


def stack(layers: int) -> Graph:
    """LSTM layers, each over the results of the one before."""
    rng = np.random.default_rng(5)
    x = y = graph_input("x", TensorType(f32, (4, 1, 8)))
    for n in range(layers):
        w, r = (constant(rng.standard_normal((1, 32, 8)).astype(np.float32), f"{name}{n}") for name in "wr")
        y = Reshape(LSTM(y, w, r, hidden_size=8, outputs=1).results[0], constant(np.array([4, 1, 8]))).output
    return Graph((x,), (y,), ("y",), "stack")


def lowered(graph: Graph, target=V4, without=()):
    return lower(optimise_graph(graph, target), target, without=without)


@pytest.mark.parametrize("cell, results", [(LSTM, 3), (GRU, 2), (RNN, 2)])
def test_a_step_is_one_walk_over_the_units(cell, results):
    kernel, = (k for k in lowered(layer(cell, 6, 40, linear_before_reset=1) if cell is GRU else layer(cell, 6, 40)).steps if k.repeat)
    assert len(kernel.stages) == results and len(walked_together(kernel.stages)) == 1
    assert [a.extent for a in kernel.stages[0].axes] == [40]


def test_gates_take_no_memory():
    apart, merged = (lowered(layer(LSTM, 6, 40), without=left) for left in (("cells",), ()))
    gates = [{b.name for b in program_buffers(p) if b.kind == "temporary" and b.max_shape == (1, 160)} for p in (apart, merged)]
    assert len(gates[0]) == 1 and not gates[1]


def test_a_sum_that_every_unit_reads_stays_by_itself():
    """A GRU that resets before its product needs the reset gates of all units: they are stored before the walk that reads them."""
    kernel, = (k for k in lowered(layer(GRU, 6, 40, linear_before_reset=0)).steps if k.repeat)
    first, *_ = walked_together(kernel.stages)
    assert [a.extent for s in first for a in s.axes] == [80] and len(kernel.stages) > 1


def test_machines_without_threads_keep_their_kernels():
    lean = find("cortex-m7")
    assert [k.name for k in lowered(layer(LSTM, 4, 8), lean).steps] == [k.name for k in lowered(layer(LSTM, 4, 8), lean, ("cells",)).steps]


def test_questions_grow_with_the_layers(monkeypatch):
    """Of each kernel the pass asks as often in a long chain of layers as in a short one: the chain compiles in linear time."""
    def asked(layers: int) -> float:
        counted: list[Kernel] = []
        for module in (passes_cells, passes_uses):
            monkeypatch.setattr(module, "buffer_reads", lambda kernel: counted.append(kernel) or buffer_reads(kernel))
        merged, apart = (lowered(stack(layers), without=left) for left in ((), ("cells",)))
        assert sum(len(k.stages) for k in merged.steps) < sum(len(k.stages) for k in apart.steps)
        return len(counted) / layers
    assert asked(12) <= asked(3) * 1.1


@pytest.mark.parametrize("seed", range(12))
def test_the_program_means_the_same(seed):
    random = Random(seed)
    cell, attributes = random.choice([(LSTM, {}), (GRU, {"linear_before_reset": 1}), (GRU, {"linear_before_reset": 0}), (RNN, {})])
    graph = layer(cell, random.randint(1, 5), random.choice([1, 7, 16, 33]), random.randint(1, 3),
                  direction=random.choice(["forward", "reverse"]), **attributes)
    arrays = {"x": np.random.default_rng(seed).standard_normal(graph.inputs[0].type.shape).astype(np.float32)}
    expected = run(graph, list(arrays.values()))
    merged, apart = (run_program(lowered(graph, without=left), arrays) for left in ((), ("cells",)))
    for name, value in zip(graph.output_names, expected):
        np.testing.assert_array_equal(merged[name], apart[name])
        np.testing.assert_allclose(merged[name], value, rtol=0, atol=1e-5)


CROSSING = """graph g(%x: f32[6,1,8]) -> (%y) {
  @w: f32[1,8,8]
  @r: f32[1,8,8]
  %y = RNN(%x, @w, @r) hidden_size=8 : f32[6,1,1,8]
}"""


def test_what_threads_share_is_a_step_and_pairs_of_steps_where_tables_go_back():
    plain = replace(V4, l1_bytes=0)
    for target, steps, loops in ((V4, 7, [3, 3, None]), (V4, 8, [4, 4]), (plain, 8, [8])):
        program = lowered(layer(LSTM, steps, 128), target)
        tiled = [tile(k, target, inside=n) for k, n in zip(program.steps, alone(program.steps))]
        threaded, nests = shared_loops(program, tiled, target, lambda kernel: schedule)
        new = [(k, n) for k, n in zip(threaded.steps, nests) if n not in tiled]
        assert [k.repeat[-1].extent if k.repeat else None for k, _ in new] == loops
        assert all(cuttable(nest, target) is not None for _, nest in new)
        assert len(threaded.steps) == len(nests)


def test_small_steps_stay_inside_their_loop():
    program = lowered(read_graph(CROSSING, "test"))
    tiled = [tile(k, V4, inside=n) for k, n in zip(program.steps, alone(program.steps))]
    threaded, nests = shared_loops(program, tiled, V4, lambda kernel: schedule)
    assert nests == tiled and not any(k.repeat for k in threaded.steps)
