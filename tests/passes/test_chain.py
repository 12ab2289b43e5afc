"""Scores, their statistics and the weighted sum as one kernel: found by its reads alone, equal to the three kernels, in blocks of any size."""

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from edgec.backends.target import all_targets, find
from edgec.compiler import compile, lower, optimise_graph
from edgec.edge_file import read_graph
from edgec.interpreter import interpret
from edgec.passes.chain import chain
from edgec.passes.fuse import fuse
from edgec.passes.stages import scratch_bytes
from edgec.passes.tile import tile
from edgec.program_interpreter import run_program
from edgec.testing.arrows import run_tiled
from edgec.testing.bounds import assert_within, error_bounds

V4 = find("x86-64-v4")


def attention(heads: int, queries: int, keys: int, depth: int, scale: bool = True, mask: bool = True):
    scores = f"f32[{heads},{queries},{keys}]"
    lines = [f"graph g(%q: f32[{heads},{queries},{depth}], %k: f32[{heads},{depth},{keys}], %v: f32[{heads},{keys},{depth}]) -> (%y) {{",
             f"  @mask: f32[{queries},{keys}]", "  @half: f32[]",
             f"  %s = MatMul(%q, %k) : {scores}"]
    if scale:
        lines.append(f"  %t = Mul(%s, @half) : {scores}")
    if mask:
        lines.append(f"  %m = Add(%{'t' if scale else 's'}, @mask) : {scores}")
    last = "m" if mask else "t" if scale else "s"
    lines += [f"  %p = Softmax(%{last}) axis=2 : {scores}", f"  %y = MatMul(%p, %v) : f32[{heads},{queries},{depth}]", "}"]
    return read_graph("\n".join(lines), "test")


def inputs(graph, seed=0):
    random = np.random.default_rng(seed)
    return {v.op.name: random.standard_normal(v.type.shape).astype(np.float32) for v in graph.inputs}


def test_attention_is_one_kernel_and_no_matrix_of_scores():
    kernel, = lower(attention(2, 40, 50, 16), V4).steps
    assert [a.extent for a in kernel.axes] == [2, 40] and kernel.block == 40
    assert scratch_bytes(kernel) == 4 * 40 * (16 + 50 + 1 + 1)  # a block's queries, scores, maxima and sums
    assert not [b for b in lower(attention(2, 40, 50, 16), V4).arena if b.kind == "temporary"]


@pytest.mark.parametrize("text", [
    # the rows are wanted by a second reader
    """graph g(%q: f32[6,4], %k: f32[4,8], %v: f32[8,4]) -> (%y, %p) {
      %s = MatMul(%q, %k) : f32[6,8]
      %p = Softmax(%s) axis=1 : f32[6,8]
      %y = MatMul(%p, %v) : f32[6,4]
    }""",
    # statistics run along the columns, the sum along the rows
    """graph g(%q: f32[6,4], %k: f32[4,8], %v: f32[8,4]) -> (%y) {
      %s = MatMul(%q, %k) : f32[6,8]
      %p = Softmax(%s) axis=0 : f32[6,8]
      %y = MatMul(%p, %v) : f32[6,4]
    }""",
    # no statistics
    """graph g(%q: f32[6,4], %k: f32[4,8], %v: f32[8,4]) -> (%y) {
      %s = MatMul(%q, %k) : f32[6,8]
      %p = Relu(%s) : f32[6,8]
      %y = MatMul(%p, %v) : f32[6,4]
    }""",
    # the last product is with weights, along which vectors run
    """graph g(%q: f32[6,4], %k: f32[4,8]) -> (%y) {
      @w: f32[8,4]
      %s = MatMul(%q, %k) : f32[6,8]
      %p = Softmax(%s) axis=1 : f32[6,8]
      %y = MatMul(%p, @w) : f32[6,4]
    }""",
], ids=["read twice", "other axis", "no statistics", "weights"])
def test_other_chains_stay_apart(text):
    graph = read_graph(text, "test")
    program = fuse(graph)
    assert len(chain(program, V4).steps) == len(program.steps)
    arrays = inputs(graph)
    assert_within(run_program(lower(graph, V4), arrays), interpret(graph, arrays), error_bounds(graph, arrays))


@settings(max_examples=15, deadline=None)
@given(heads=st.integers(1, 3), queries=st.sampled_from([1, 2, 15, 16, 17, 31, 33, 64, 70]), keys=st.sampled_from([1, 2, 16, 17, 40]),
       depth=st.sampled_from([1, 3, 8, 16, 20]), scale=st.booleans(), mask=st.booleans(), target=st.sampled_from(all_targets()))
def test_program_and_loops_mean_what_the_graph_says(heads, queries, keys, depth, scale, mask, target):
    graph = attention(heads, queries, keys, depth, scale, mask)
    arrays = inputs(graph)
    program = lower(optimise_graph(graph, target), target)
    expected, bounds = interpret(graph, arrays), error_bounds(graph, arrays)
    assert_within(run_program(program, arrays), expected, bounds)
    assert_within(run_program(program, arrays, arena=True), expected, bounds)
    if heads * queries * keys * depth < 5_000:
        tiled = [tile(kernel, target) for kernel in program.steps]
        assert_within(run_tiled(program, tiled, arrays), expected, bounds)


@settings(max_examples=6, deadline=None)
@given(queries=st.sampled_from([1, 16, 63, 64, 65, 130]), keys=st.sampled_from([5, 64, 197]), depth=st.sampled_from([4, 32, 64]))
def test_machine_code_too(queries, keys, depth):
    graph = attention(2, queries, keys, depth)
    arrays = inputs(graph)
    found = compile(graph, "native", workers=0).run(arrays)
    assert_within(found, interpret(graph, arrays), error_bounds(graph, arrays))
