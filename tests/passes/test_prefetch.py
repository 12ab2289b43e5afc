"""Weights of the next tile that are asked for ahead: every line of them, in time, and nothing else of the code depends on it."""

from dataclasses import replace

import numpy as np
import pytest

from edgec.backends.target import find
from edgec.compiler import compile, lower
from edgec.graph_text import parse_graph
from edgec.loops import Prefetch, statements
from edgec.loops_interpreter import _Machine
from edgec.loops_text import print_loops
from edgec.passes.prefetch import LINE
from edgec.passes.tile import tile

TARGET = replace(find("x86-64-v3"), l2_bytes=8 << 10, max_flash_growth=1.0)


def product(rows, steps, columns):
    weights = np.linspace(-1, 1, steps * columns).astype(np.float32).reshape(steps, columns)
    text = f"graph g(%x: f32[{rows},{steps}]) -> (%y) {{\n  @w: f32[{steps},{columns}]\n  %y = MatMul(%x, @w) : f32[{rows},{columns}]\n}}\n"
    return parse_graph(text, {"w": weights})


def convolution(size):
    """Two layers, so that channels lie innermost in what the second one reads."""
    weights = {"w": np.linspace(-1, 1, 32 * 8 * 9).astype(np.float32).reshape(32, 8, 3, 3), "v": np.ones((8, 4, 1, 1), np.float32)}
    return parse_graph(f"""
graph g(%x: f32[1,4,{size},{size}]) -> (%z) {{
  @v: f32[8,4,1,1]
  @w: f32[32,8,3,3]
  %a = Conv(%x, @v) : f32[1,8,{size},{size}]
  %y = Conv(%a, @w) pads=[1,1,1,1] : f32[1,32,{size},{size}]
  %z = Softmax(%y) axis=1 : f32[1,32,{size},{size}]
}}
""", weights)


class Recorder(_Machine):
    """Runs loops and keeps the lines of a table that are asked for, and those that are loaded without having been."""

    def __init__(self, loops, arrays):
        super().__init__(loops, arrays, {}, set())
        self.asked, self.late = set(), set()

    def statement(self, statement):
        if isinstance(statement, Prefetch) and statement.param.constant:
            self.table = statement.param
            self.asked.add(self.value(statement.index) * statement.param.dtype.bytes // LINE)
        super().statement(statement)

    def load(self, node, at):
        if node.data[0].constant and node.lanes > 1:
            self.late |= {at * 4 // LINE} - self.asked
        return super().load(node, at)


def recorded(graph, target):
    kernel = next(k for k in lower(graph, target).steps if k.name == "y")
    tiled = tile(kernel, target)
    generator = np.random.default_rng(0)
    arrays = [b.data.ravel() if b.data is not None else generator.standard_normal(p.size).astype(np.float32)
              for b, p in zip(tiled.buffers, tiled.loops.params)]
    machine = Recorder(tiled.loops, arrays)
    machine.body(tiled.loops.body)
    return machine, tiled


@pytest.mark.parametrize("graph", [product(40, 24, 64), product(37, 30, 48)], ids=["even", "ragged"])
def test_every_line_of_the_second_tile_is_asked_for_before_it_is_read(graph):
    machine, tiled = recorded(graph, TARGET)
    first_tile = min(machine.asked)
    assert 0 < first_tile < machine.table.size * 4 // LINE
    assert machine.late == set(range(first_tile))


def test_a_window_misses_what_its_taps_beyond_the_border_would_have_asked_for():
    machine, _ = recorded(convolution(9), TARGET)
    first_tile = min(machine.asked)
    assert len(machine.late - set(range(first_tile))) <= 0.03 * len(machine.asked)


def test_what_is_asked_for_is_the_next_tile_and_little_more():
    machine, tiled = recorded(product(40, 24, 64), TARGET)
    table, = (p for p in tiled.loops.params if p.constant)
    width = min(machine.asked) * LINE // 4 // 24
    assert max(machine.asked) * LINE // 4 < table.size + 3 * width * 24


@pytest.mark.parametrize("graph, target", [
    (product(40, 24, 64), find("x86-64-v3")),                   # a table that may still be in the second-level cache
    (product(2, 24, 640), TARGET),                              # too few rows to hide it
    (product(40, 24, 8), replace(TARGET, l2_bytes=1 << 10)),    # one tile
    (product(40, 24, 64), replace(TARGET, compact=True)),
    (product(40, 24, 64), replace(TARGET, prefetches=False)),
], ids=["small", "few rows", "one tile", "compact", "target"])
def test_nothing_is_asked_for_where_it_cannot_help(graph, target):
    kernel, = lower(graph, target).steps
    assert not any(isinstance(s, Prefetch) and s.param.constant for s in statements(tile(kernel, target).loops.body))


def test_results_are_the_same_bits():
    target = replace(find("native"), l2_bytes=8 << 10, prefetches=True)
    graph, x = product(37, 30, 96), np.random.default_rng(1).standard_normal((37, 30)).astype(np.float32)
    kernel, = lower(graph, target).steps
    assert "prefetch " in print_loops(tile(kernel, target).loops)
    plain, asking = (compile(graph, each).run({"x": x})["y"] for each in (replace(target, prefetches=False), target))
    np.testing.assert_array_equal(plain, asking)
