"""Operands brought into order by a stage: what is recognised, when it pays, and the same numbers in any transposition and any extent."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from edgec.backends.target import find
from edgec.compiler import lower
from edgec.emission import emit
from edgec.graph import Graph, constant, graph_input
from edgec.interpreter import run
from edgec.kernel import Program
from edgec.ops.activation import Relu
from edgec.ops.arithmetic import Add
from edgec.ops.matmul import MatMul
from edgec.ops.reshape import Transpose
from edgec.passes.pack_operands import recognise
from edgec.program_interpreter import run_program
from edgec.sweeps import walk
from edgec.testing.bounds import assert_within, error_bounds
from edgec.types import TensorType, f32

V4, V3 = find("x86-64-v4"), find("x86-64-v3")
SWAP = (0, 2, 1)


def product(batch: int, m: int, k: int, n: int, turned: tuple[bool, bool] = (False, False), addend: bool = False) -> Graph:
    """relu(a b + c) of two inputs, either stored transposed."""
    a = graph_input("a", TensorType(f32, (batch, k, m) if turned[0] else (batch, m, k)))
    b = graph_input("b", TensorType(f32, (batch, n, k) if turned[1] else (batch, k, n)))
    left, right = (Transpose(x, perm=SWAP).output if turn else x for x, turn in zip((a, b), turned))
    y = MatMul(left, right).output
    c = graph_input("c", TensorType(f32, (n,)))
    inputs = (a, b, c) if addend else (a, b)
    return Graph(inputs, (Relu(Add(y, c).output).output if addend else y,), ("y",), "product")


def arrays(graph: Graph) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(5)
    return {v.op.name: rng.standard_normal(v.type.shape).astype(np.float32) for v in graph.inputs}


def copies(program: Program) -> int:
    """Stages that only read, into scratch of their kernel or (where each walk became a kernel) a temporary."""
    return sum(s.value.op == "read" and s.target.kind != "output" for k in program.steps for s in k.stages)


@pytest.mark.parametrize("left", [False, True])
@pytest.mark.parametrize("m, k, n", [(40, 24, 64), (33, 17, 81), (8, 8, 17), (70, 9, 197)])
def test_native_code_of_every_transposition(left, m, k, n):
    for right in (False, True):
        graph = product(2, m, k, n, (left, right), addend=left)
        program, inputs = lower(graph, find("native")), arrays(graph)
        assert find("native").lanes(32) == 1 or (copies(program) > 0) == right
        found = emit(program, find("native"), "product", workers=0).run(inputs)
        expected = run(graph, list(inputs.values()))
        assert_within(found, {"y": expected[0]}, error_bounds(graph, inputs))


@settings(max_examples=25)
@given(batch=st.integers(1, 3), m=st.integers(1, 20), k=st.integers(1, 20), n=st.integers(1, 150), turned=st.tuples(st.booleans(), st.booleans()),
       target=st.sampled_from([V3, V4]), addend=st.booleans())
def test_the_stages_compute_the_same(batch, m, k, n, turned, target, addend):
    graph = product(batch, m, k, n, turned, addend)
    inputs = arrays(graph)
    found, expected = run_program(lower(graph, target), inputs), run_program(lower(graph, target, without=["pack_operands"]), inputs)
    np.testing.assert_array_equal(found["y"], expected["y"])


@pytest.mark.parametrize("n", [64, 100, 224, 250])
def test_operands_beyond_the_cache_are_copied_some_panels_at_a_time(n):
    """Both where the panels divide evenly and with a ragged end, whose columns are a kernel of their own."""
    small = replace(find("native"), l2_bytes=4096, l1_bytes=1024)
    graph = product(1, 20, 30, n)
    program, inputs = lower(graph, small), arrays(graph)
    if small.lanes(32) > 1:
        assert copies(program) >= 1
        assert all(s.target.bytes <= 4 * 30 * n for k in program.steps for s in k.stages if s.target.kind != "output")
    found = emit(program, small, "product", workers=0).run(inputs)
    assert_within(found, {"y": run(graph, list(inputs.values()))[0]}, error_bounds(graph, inputs))


def test_what_is_read_in_order_or_seldom_stays():
    """Neighbours next to each other in a small operand, few rows, constants, short sums."""
    assert copies(lower(product(2, 64, 64, 64), V4)) == 0
    assert copies(lower(product(2, 64, 64, 64, (False, True)), V4)) == 1
    assert copies(lower(product(2, 4, 64, 64, (False, True)), V4)) == 0
    assert copies(lower(product(2, 64, 4, 64, (False, True)), V4)) == 0
    a, weights = graph_input("a", TensorType(f32, (64, 64))), constant(np.ones((64, 64), np.float32))
    assert copies(lower(Graph((a,), (MatMul(a, Transpose(weights, perm=(1, 0)).output).output,), ("y",), "fixed"), V4)) == 0


def test_a_core_without_caches_copies_nothing():
    graph = product(2, 64, 64, 64, (False, True))
    assert copies(lower(graph, find("cortex-m4"))) == copies(lower(graph, find("cortex-m55"))) == 0


def test_results_of_products_stay_in_the_order_of_the_model():
    """Neither the batch nor the rows of a product of two tensors come to lie innermost."""
    a, b, c = (graph_input(n, TensorType(f32, (3, 40, 40))) for n in "abc")
    graph = Graph((a, b, c), (MatMul(MatMul(a, b).output, c).output,), ("y",), "chain")
    program = lower(graph, V4)
    assert all(k.stages[-1].target.order in ((), (0, 1, 2)) for k in program.steps)


def test_recognised_are_sums_of_two_tensors_over_one_result_axis():
    def kernel(graph: Graph):
        step, = lower(graph, V4, without=["pack_operands"]).steps
        return recognise(step, 16)
    found = kernel(product(2, 30, 20, 64, (False, True)))
    assert (found.column.extent, [a.extent for a in found.batch], [a.extent for a in found.shared]) == (64, [2], [30])
    assert [e for _, e in found.steps] == [20] and found.moved in walk(found.kernel.stages[0].value)
    assert kernel(product(2, 30, 20, 8)) is None
