"""Activations that are asked for ahead: all that a tile's end touches, all rows of the next tile, and no value depends on it."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from edgec.backends.target import find
from edgec.compiler import compile, lower
from edgec.graph_text import parse_graph
from edgec.interpreter import run
from edgec.loops import Prefetch, Store, statements
from edgec.loops_interpreter import _Machine
from edgec.passes.activations_ahead import LINE
from edgec.passes.tile import tile

TARGET = replace(find("x86-64-v3"), l2_bytes=4 << 10, max_flash_growth=1.0)


def residual(rows, steps, columns):
    """A product of a matrix and weights to which another matrix is added."""
    weights = np.linspace(-1, 1, steps * columns).astype(np.float32).reshape(steps, columns)
    return parse_graph(f"""
graph g(%x: f32[{rows},{steps}], %r: f32[{rows},{columns}]) -> (%z) {{
  @w: f32[{steps},{columns}]
  %y = MatMul(%x, @w) : f32[{rows},{columns}]
  %z = Add(%y, %r) : f32[{rows},{columns}]
}}
""", {"w": weights})


class Recorder(_Machine):
    """Runs loops and keeps, for each parameter, the elements asked for and those that are touched without having been."""

    def __init__(self, loops, arrays):
        super().__init__(loops, arrays, {}, set())
        self.asked, self.late, self.beyond = set(), set(), set()

    def statement(self, statement):
        if isinstance(statement, Prefetch):
            at, per_line = self.value(statement.index), LINE // statement.param.dtype.bytes
            self.asked |= {(statement.param.name, at + n) for n in range(per_line)}
            self.beyond |= {statement.param.name} if at >= 2 * statement.param.size else set()
        if isinstance(statement, Store):
            self.touched(statement.param, self.value(statement.index), statement.value.lanes)
        super().statement(statement)

    def load(self, node, at):
        if not node.data[0].constant:
            self.touched(node.data[0], at, node.lanes)
        return super().load(node, at)

    def touched(self, param, at, lanes):
        self.late |= {(param.name, int(at) + n) for n in range(lanes)} - self.asked


def recorded(graph, target):
    kernel, = lower(graph, target).steps
    tiled = tile(kernel, target)
    generator = np.random.default_rng(0)
    arrays = [b.data.ravel() if b.data is not None else generator.standard_normal(p.size).astype(np.float32)
              for b, p in zip(tiled.buffers, tiled.loops.params)]
    machine = Recorder(tiled.loops, arrays)
    machine.body(tiled.loops.body)
    names = {p.name: b.name for p, b in zip(tiled.loops.params, tiled.buffers)}
    machine.asked, machine.late = ({(names[name], at) for name, at in some} for some in (machine.asked, machine.late))
    return machine


@pytest.mark.parametrize("rows, steps, columns", [(40, 32, 64), (37, 30, 48)], ids=["even", "ragged"])
def test_the_end_of_each_tile_is_asked_for_before_its_sum(rows, steps, columns):
    machine = recorded(residual(rows, steps, columns), TARGET)
    whole = columns // 8 * 8
    late = {name for name, at in machine.late if name != "x" and at % columns < whole}
    assert late == set()
    assert {name for name, _ in machine.asked} >= {"r", "z"}


def test_rows_of_all_tiles_but_the_first_are_asked_for_before_they_are_read():
    machine = recorded(residual(40, 32, 64), TARGET)
    late = {at // 32 for name, at in machine.late if name == "x"}
    assert late and late == set(range(len(late))) and len(late) < 14
    assert not machine.beyond


@pytest.mark.parametrize("graph, target", [
    (residual(40, 32, 64), find("x86-64-v3")),                  # buffers that may still be in the second-level cache
    (residual(40, 8, 64), TARGET),                              # sums that end at once
    (residual(40, 32, 64), replace(TARGET, compact=True)),
    (residual(40, 32, 64), replace(TARGET, prefetches=False)),
], ids=["small", "short", "compact", "target"])
def test_nothing_is_asked_for_where_it_cannot_help(graph, target):
    kernel, = lower(graph, target).steps
    found = [s for s in statements(tile(kernel, target).loops.body) if isinstance(s, Prefetch)]
    assert not any(not s.param.constant for s in found)


@settings(max_examples=12, deadline=None)
@given(st.integers(5, 45), st.integers(16, 70), st.integers(8, 70))
def test_results_are_those_of_the_interpreter_and_the_same_bits_without(rows, steps, columns):
    target = replace(find("native"), l2_bytes=1 << 10, prefetches=True)
    graph, generator = residual(rows, steps, columns), np.random.default_rng(1)
    arrays = [generator.standard_normal(v.type.shape).astype(np.float32) for v in graph.inputs]
    inputs = dict(zip(("x", "r"), arrays))
    plain, asking = (compile(graph, each).run(inputs)["z"] for each in (replace(target, prefetches=False), target))
    np.testing.assert_array_equal(plain, asking)
    np.testing.assert_allclose(asking, run(graph, arrays)[0], atol=(steps + 8) * 2.0 ** -24 * steps * np.abs(arrays[0]).max())


def test_the_object_asks_for_what_it_stores_in_order_to_write():
    target = replace(find("native"), l2_bytes=4 << 10, prefetches=True)
    text = compile(residual(40, 32, 64), target, keep=("llvm",)).llvm
    assert "i32 1, i32 3, i32 1)" in text and "i32 0, i32 2, i32 1)" in text
