"""What the random graphs of edgec.testing hold: every family that networks are made of, with real numbers, integers and open sizes."""

from collections import Counter
from functools import cache
from random import Random

import pytest
from hypothesis import find

from edgec.expr import Expr
from edgec.testing import graphs
from edgec.testing.graphs import INTEGER_STEPS, STEPS, random_graph, random_integer_graph
from edgec.verifier import verify

FAMILIES = {
    "conv": {"Conv"}, "pool": {"MaxPool", "AveragePool", "GlobalAveragePool"}, "matmul": {"MatMul", "Gemm"}, "broadcast": {"Expand"},
    "reduce": {"ReduceSum", "ReduceMin", "ReduceMax"}, "reshape": {"Reshape", "Transpose"}, "concat": {"Concat"}, "split": {"Split"},
    "slice": {"Slice"}, "pad": {"Pad"}, "gather": {"Gather"}, "norms": {"LayerNormalization", "InstanceNormalization"},
    "softmax": {"Softmax"}, "resize": {"Resize"}, "where": {"Where"}, "cast": {"Cast"}, "branches": {"If"}, "loops": {"Loop", "Scan"},
}
INTEGERS = set(FAMILIES) - {"conv", "pool", "norms", "softmax", "resize"}


@cache
def drawn(kind):
    """The graphs of four hundred seeds."""
    draw = {"real": random_graph, "integer": random_integer_graph, "open": lambda random: random_graph(random, symbolic=True)}[kind]
    return [draw(Random(seed)) for seed in range(400)]


def operators(kind):
    """How many of the graphs hold an operator."""
    return Counter(name for graph in drawn(kind) for name in {type(op).__name__ for op in graph.ops})


@pytest.mark.parametrize("family", FAMILIES)
def test_graphs_hold_every_family(family):
    for name in FAMILIES[family]:
        assert operators("real")[name] >= 3, name


@pytest.mark.parametrize("family", sorted(INTEGERS))
def test_graphs_of_integers_hold_what_integers_have(family):
    for name in FAMILIES[family] - {"Gemm"}:
        assert operators("integer")[name] >= 5, name


def test_operands_are_broadcast():
    """Sums and products of tensors of two shapes."""
    wide = sum(any(type(op).__name__ in ("Add", "Mul", "Sub") and len({v.shape for v in op.operands}) > 1 for op in graph.ops)
               for graph in drawn("real"))
    assert wide >= 20


def test_open_sizes_stay_open():
    """The size reaches results of most of the graphs."""
    kept = sum(any(isinstance(d, Expr) for v in graph.outputs for d in v.shape) for graph in drawn("open"))
    assert kept >= 150


def test_graphs_are_sound_and_every_step_is_drawn():
    """The verifier finds nothing; the strategy draws what the generator does."""
    for kind in ("real", "integer", "open"):
        for graph in drawn(kind):
            verify(graph)
    assert set(INTEGER_STEPS) <= set(STEPS)
    for name in ("conv", "loop", "if", "resize"):
        kind = {"conv": "Conv", "loop": "Loop", "if": "If", "resize": "Resize"}[name]
        assert find(graphs(choices=(name,)), lambda graph, kind=kind: any(type(op).__name__ == kind for op in graph.ops))
