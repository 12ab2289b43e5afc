"""Mixtures of precisions: a harder budget raises more layers, and what is handed out runs as integers of these bits."""

from __future__ import annotations

import numpy as np
import pytest

from edgec.compiler import compile
from edgec.graph import Graph, constant, graph_input
from edgec.interpreter import run
from edgec.ops.activation import Relu
from edgec.ops.convolution import Conv
from edgec.ops.pooling import GlobalAveragePool
from edgec.ops.reshape import Flatten
from edgec.passes.integers import integer_form
from edgec.quantize import quantize, quantize_within
from edgec.quantize.quality import sqnr
from edgec.quantize.recipe import BYTE, FLOAT, WIDE
from edgec.types import TensorType, f32

RNG = np.random.default_rng(17)


def values(*shape):
    return constant((RNG.standard_normal(shape) / np.sqrt(max(1, np.prod(shape[1:])))).astype(np.float32))


def network() -> Graph:
    """Four convolutions, one of them over channels of very different size."""
    x = graph_input("x", TensorType(f32, (1, 3, 10, 10)))
    y = Relu(Conv(x, values(8, 3, 3, 3), values(8), pads=(1, 1, 1, 1)).output).output
    uneven = values(8, 8, 3, 3).array * np.exp2(np.arange(8) - 4.0).astype(np.float32)[:, None, None, None]
    y = Relu(Conv(y, constant(uneven), values(8)).output).output
    y = Relu(Conv(y, values(12, 8, 3, 3), values(12)).output).output
    return Graph((x,), (Flatten(GlobalAveragePool(Conv(y, values(5, 12, 1, 1), values(5)).output).output).output,), ("y",), "net")


GRAPH = network()
DATA = {"x": RNG.standard_normal((24, 3, 10, 10)).astype(np.float32)}
EXACT = [run(GRAPH, {"x": x[None]}) for x in DATA["x"]]


def measured(graph):
    return sqnr(EXACT, [run(graph, {"x": x[None]}) for x in DATA["x"]])


@pytest.fixture(scope="module")
def plain():
    return measured(quantize(GRAPH, DATA).graph)


@pytest.mark.parametrize("more", [3.0, 40.0])
def test_every_budget_is_met_and_told(plain, more):
    made = quantize_within(GRAPH, DATA, min_sqnr=plain + more)
    assert made.quality.sqnr >= plain + more and measured(made.quantized.graph) >= plain + more - 0.01
    assert {row.level for row in made.rows} & {WIDE, FLOAT}
    assert all(row.cost > 0 and row.sqnr > 0 and row.name for row in made.rows)
    assert {row.operator for row in made.rows} >= {"Conv"}


def test_harder_budgets_raise_more(plain):
    def raised(more):
        rows = quantize_within(GRAPH, DATA, min_sqnr=plain + more).rows
        return sum((row.level - BYTE) * row.cost for row in rows)
    found = [raised(more) for more in (1.0, 30.0)]
    assert found == sorted(found) and found[0] < found[-1]


def test_decisions_stay_within_a_drop():
    made = quantize_within(GRAPH, DATA, max_drop=0.0, weight_bits=4, calibrator="moving-average")
    ours = [run(made.quantized.graph, {"x": x[None]})[0].argmax() for x in DATA["x"]]
    assert ours == [e[0].argmax() for e in EXACT]


def test_sixteen_bits_are_integers_when_they_run():
    made = quantize(GRAPH, DATA, activations="i16").graph
    kinds = [type(op).__name__ for op in integer_form(made).ops]
    assert kinds.count("QLinearConv") >= 3 and kinds.count("Conv") <= 1  # what ends in f32 is not quantized again
    assert measured(made) > measured(quantize(GRAPH, DATA).graph) + 3
    artifact = compile(made, optimize="0", workers=0)
    for x in DATA["x"][:3]:
        np.testing.assert_allclose(artifact.run({"x": x[None]})["y"], run(integer_form(made), {"x": x[None]})[0], rtol=1e-6, atol=1e-6)


def test_a_mixture_runs_as_it_is_interpreted(plain):
    made = quantize_within(GRAPH, DATA, min_sqnr=plain + 6).quantized.graph
    artifact = compile(made, optimize="0", workers=0)
    for x in DATA["x"][:3]:
        np.testing.assert_allclose(artifact.run({"x": x[None]})["y"], run(integer_form(made), {"x": x[None]})[0], rtol=1e-5, atol=1e-5)
