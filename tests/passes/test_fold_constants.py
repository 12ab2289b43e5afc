"""Folding: what becomes a constant, what stays, and that nothing changes its meaning."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings

from edgec.expr import var
from edgec.graph import Graph, Op, Value, constant, graph_input
from edgec.interpreter import run
from edgec.ops.arithmetic import Add, Div, Mul
from edgec.ops.gather import Gather
from edgec.ops.joining import Concat, Expand
from edgec.ops.reshape import Reshape, Shape, Transpose
from edgec.passes.fold_constants import MAX_GROWTH, fold_constants
from edgec.testing.patterns import assert_close, patterns, random_arrays
from edgec.types import TensorType, f32
from edgec.verifier import verify


def folded(output, *inputs):
    return fold_constants(Graph(inputs, (output,), ("y",))).outputs[0]


def ints(*numbers):
    return constant(np.array(numbers, np.int64))


@settings(max_examples=60, deadline=None)
@given(patterns() | patterns(symbolic=True))
def test_random_graphs_mean_the_same(graph):
    found = fold_constants(graph)
    assert verify(found) == []
    arrays = random_arrays(graph)
    assert_close(run(found, arrays), run(graph, arrays), relative=0)


def test_operations_on_constants():
    w = constant(np.arange(6, dtype=np.float32).reshape(2, 3))
    found = folded(Add(Transpose(w).output, constant(np.float32(1))).output)
    assert found.is_constant
    np.testing.assert_array_equal(found.array, np.arange(6, dtype=np.float32).reshape(2, 3).T + 1)


def test_long_chains():
    value = constant(np.float32(0))
    for n in range(10_000):
        value = Add(value, constant(np.float32(n % 2))).output
    assert folded(value).array == 5000


def test_shapes_of_inputs():
    x = graph_input("x", TensorType(f32, (2, 3)))
    size = Gather(Shape(x).output, ints(1)).output
    found = folded(Reshape(x, Concat((size, ints(-1)), axis=0).output).output, x)
    assert found.op.shape.is_constant and found.op.shape.array.tolist() == [3, -1] and found.shape == (3, 2)


def test_symbolic_shapes_stay_where_they_hold_a_symbol():
    x = graph_input("x", TensorType(f32, (var("n", 1, 8), 3)))
    shape = Shape(x).output
    graph = fold_constants(Graph((x,), (shape, Gather(shape, ints(1)).output), ("s", "c")))
    assert not graph.outputs[0].is_constant and graph.outputs[1].array.tolist() == [3]


def test_constants_do_not_grow_much():
    one = constant(np.float32(1))
    small = Expand(one, ints(MAX_GROWTH // 4)).output
    large = Expand(one, ints(MAX_GROWTH // 4 + 8)).output
    assert folded(small).is_constant and not folded(large).is_constant
    w = constant(np.zeros((100, 100), np.float32))
    assert folded(Transpose(w).output).is_constant


class Picky(Op):
    """Refuses every value."""

    x: Value

    def infer(self):
        return self.x.type

    def reference(self, x):
        raise ValueError("not this one")


def test_values_an_operator_refuses_are_left_to_run_time():
    bad = Picky(constant(np.zeros(3, np.float32)))
    assert folded(bad.output) is bad.output


def test_results_do_not_depend_on_the_order_of_sums():
    w = constant(np.float32([1e8, 1, -1e8, 1]).reshape(1, 4))
    from edgec.ops.matmul import MatMul
    assert folded(MatMul(w, constant(np.ones((4, 1), np.float32))).output).array.item() == 2


def test_infinities_fold_quietly(recwarn):
    assert np.isinf(folded(Div(constant(np.float32(1)), constant(np.float32(0))).output).array)
    assert np.isinf(folded(Mul(constant(np.float32(3e38)), constant(np.float32(10))).output).array)
    assert not recwarn.list


def test_dequantised_weights_stay_when_asked(monkeypatch):
    from edgec.ops import OPERATORS
    if ("", "DequantizeLinear") not in OPERATORS:
        return
    op = OPERATORS["", "DequantizeLinear"](constant(np.int8([1, 2])), constant(np.float32(0.5)))
    graph = Graph((), (op.output,), ("y",))
    assert fold_constants(graph).outputs[0].is_constant
    assert fold_constants(graph, keep_dequantize=True).outputs[0] is op.output
