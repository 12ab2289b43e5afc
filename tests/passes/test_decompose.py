"""Decomposing: operators without index arithmetic of their own become ones that have it."""

from __future__ import annotations

import numpy as np

from edgec.graph import Graph, Op, Value, graph_input
from edgec.interpreter import run
from edgec.ops import OPERATORS
from edgec.ops.arithmetic import Add
from edgec.passes.decompose import decompose
from edgec.types import TensorType, f32


class Sextupled(Op):
    """Six times x."""

    x: Value

    def infer(self):
        return self.x.type

    def decompose(self):
        return Add(Tripled(self.x).output, Tripled(self.x).output).output


class Tripled(Sextupled):
    """Three times x."""

    def decompose(self):
        return Add(Add(self.x, self.x).output, self.x).output


class Both(Sextupled):
    """Has index arithmetic of its own, which is preferred."""

    def lower(self, at, x):
        return x(*at) * 6.0


def test_nested_decompositions():
    x = graph_input("x", TensorType(f32, (2,)))
    graph = decompose(Graph((x,), (Sextupled(Add(x, x).output).output,), ("y",)))
    assert {type(op).__name__ for op in graph.ops} == {"Input", "Add"}
    np.testing.assert_array_equal(run(graph, [np.float32([1, 2])])[0], [12, 24])


def test_operators_with_a_lowering_stay():
    x = graph_input("x", TensorType(f32, (2,)))
    graph = Graph((x,), (Both(x).output,), ("y",))
    assert decompose(graph).outputs == graph.outputs


def test_every_operator_can_be_computed_somehow():
    lost = [name for name, cls in OPERATORS.items() if not any(hasattr(cls, way) for way in ("reference", "decompose"))]
    assert lost == []
