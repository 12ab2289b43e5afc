"""Positions numbered across two loops: what a part stores lies together, in the same bits; and when that is left alone."""

import itertools
from dataclasses import replace
from random import Random

import numpy as np
import pytest

from edgec.backends.target import find
from edgec.compiler import lower, optimise_graph
from edgec.edge_file import read_graph
from edgec.loops_interpreter import run_loops
from edgec.passes.cut import cuttable, ranged
from edgec.passes.tile import tile
from edgec.testing.graphs import normal_inputs

V4 = replace(find("x86-64-v4"), hand_over=1)


def product(rows: int, inner: int, columns: int):
    """The loops of a product whose constants are outermost, and where they are cut."""
    graph = read_graph(f"graph g(%x: f32[{rows},{inner}]) -> (%y) {{\n @w: f32[{inner},{columns}]\n"
                       f" %y = MatMul(%x, @w) : f32[{rows},{columns}]\n}}", "test")
    program = lower(optimise_graph(graph, V4), V4)
    one = tile(program.steps[-1], V4)
    return graph, one, cuttable(one, V4)


@pytest.mark.parametrize("rows, inner, columns, across", [(196, 96, 576, True), (40, 96, 1280, False)])
def test_small_constants_are_read_by_every_thread(rows, inner, columns, across):
    assert product(rows, inner, columns)[2].across is across


@pytest.mark.parametrize("rows", [100, 103])
def test_halves_store_rows_that_lie_together(rows):
    """All columns of the first rows are stored by the first half, also where the last rows are a tile of their own."""
    graph, one, cut = product(rows, 8, 288)
    assert cut.across
    whole = ranged(cut)
    first, last = (s.data for s in whole.loops.symbols[-2:])
    _, half, end = cut.bounds(2)
    arrays = [normal_inputs(graph)["x"], *(b.data for b in one.buffers if b.kind == "constant")]
    stored = []
    for start, stop in ((0, half), (half, end)):
        memory = [_memory(p, b, arrays) for p, b in zip(whole.loops.params, whole.buffers)]
        run_loops(whole.loops, memory, {first: start, last: stop})
        result = next(m for p, m in zip(whole.loops.params, memory) if p.writable)
        stored.append(~np.isnan(result.reshape(rows, 288)))
    assert not (stored[0] & stored[1]).any() and (stored[0] | stored[1]).all()
    full = [np.flatnonzero(part.all(axis=1)) for part in stored]
    assert len(full[0]) + len(full[1]) >= rows - 12 and full[0].max() < full[1].min()


def _memory(param, buffer, arrays):
    if param.writable:
        return np.full(param.size, np.nan, np.float32)
    return np.ascontiguousarray(arrays[0] if buffer.kind == "input" else buffer.data, np.float32).ravel().copy()


@pytest.mark.parametrize("seed", range(3))
def test_any_parts_compute_the_same_bits(seed):
    random = Random(seed)
    graph, one, cut = product(random.choice([97, 120]), random.choice([4, 8]), 288)
    whole = ranged(cut)
    first, last = (s.data for s in whole.loops.symbols[-2:])
    arrays = [normal_inputs(graph)["x"]]
    results = []
    for parts in (1, random.randint(2, 9)):
        bounds = [0, *sorted(random.randrange(cut.positions) for _ in range(parts - 1)), cut.positions]
        memory = [_memory(p, b, arrays) for p, b in zip(whole.loops.params, whole.buffers)]
        for start, stop in random.sample(list(itertools.pairwise(bounds)), parts):
            run_loops(whole.loops, memory, {first: start, last: stop})
        results.append(next(m for p, m in zip(whole.loops.params, memory) if p.writable).tobytes())
    assert results[0] == results[1]
