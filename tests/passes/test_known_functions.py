"""A Gelu that an exporter spelled out becomes one operator, and its formula keeps to its bound."""

import math

import numpy as np
import pytest

from edgec.edge_file import read_graph
from edgec.evaluate import evaluate
from edgec.expr import argument
from edgec.interpreter import run
from edgec.normal_gelu import ERROR, SATURATION, TAIL, normal_gelu
from edgec.ops.activation import Gelu, HardSwish
from edgec.passes.known_functions import known_functions
from edgec.portable.fit import largest_error
from edgec.types import f32

ERF = """graph g(%x: f32[2,33]) -> (%y) {
  %d = Div(%x, f32[]{1.4142135}) : f32[2,33]
  %e = Erf(%d) : f32[2,33]
  %f = Add(%e, f32[]{1}) : f32[2,33]
  %m = Mul(%x, %f) : f32[2,33]
  %y = Mul(%m, f32[]{0.5}) : f32[2,33]
}"""
TANH = """graph g(%x: f32[2,33]) -> (%y) {
  %s = Mul(%x, %x) : f32[2,33]
  %c = Mul(%x, %s) : f32[2,33]
  %k = Mul(f32[]{0.044715}, %c) : f32[2,33]
  %l = Add(%x, %k) : f32[2,33]
  %u = Mul(f32[]{0.7978846}, %l) : f32[2,33]
  %t = Tanh(%u) : f32[2,33]
  %f = Add(f32[]{1}, %t) : f32[2,33]
  %m = Mul(%x, %f) : f32[2,33]
  %y = Mul(f32[]{0.5}, %m) : f32[2,33]
}"""
HARD = """graph g(%x: f32[2,33]) -> (%y) {
  %p = Add(%x, f32[]{3}) : f32[2,33]
  %c = Clip(%p, f32[]{0}, f32[]{6}) : f32[2,33]
  %m = Mul(%x, %c) : f32[2,33]
  %y = Div(%m, f32[]{6}) : f32[2,33]
}"""


@pytest.mark.parametrize("text, form", [(ERF, "none"), (TANH, "tanh")])
def test_a_spelled_out_gelu_is_one_operator(text, form):
    graph = read_graph(text, "test")
    found = known_functions(graph)
    one, = (op for op in found.ops if isinstance(op, Gelu))
    assert one.approximate == form and one.x is found.inputs[0]
    x = {"x": np.linspace(-9, 9, 66, dtype=np.float32).reshape(2, 33)}
    assert np.allclose(run(found, x)[0], run(graph, x)[0], rtol=0, atol=2e-6)


@pytest.mark.parametrize("text", [HARD, ERF.replace("f32[]{0.5}", "f32[]{0.51}"), ERF.replace("f32", "f64")])
def test_other_chains_stay(text):
    found = known_functions(read_graph(text, "test"))
    assert not any(isinstance(op, (Gelu, HardSwish)) for op in found.ops)


def test_the_formula_keeps_to_its_bound():
    argument_x = argument("x", f32)
    x = np.concatenate([np.linspace(-14, 14, 200001), np.geomspace(1e-30, 1e30, 5000), -np.geomspace(1e-30, 1e30, 5000), [0]])
    x = x.astype(np.float32)
    found = evaluate(normal_gelu(argument_x), {argument_x: x}, None).astype(np.float64)
    exact = np.array([0.5 * v * math.erfc(-v / math.sqrt(2)) for v in x.astype(np.float64)])
    assert np.all(np.abs(found - exact) <= ERROR * np.abs(x.astype(np.float64)))
    below = evaluate(normal_gelu(argument_x), {argument_x: np.float32([np.nan, np.inf])}, None)
    assert np.isinf(below[1]) and (np.isnan(below[0]) or below[0] <= 0)


def test_the_table_is_as_good_as_it_says():
    def tail(a):
        return np.log2([math.erfc(v / math.sqrt(2)) for v in a]) / a

    def weight(a):  # an error of the polynomial is so much of gelu / x
        return 1 / (0.5 * math.log(2) * a * np.array([math.erfc(v / math.sqrt(2)) for v in a]) + 1e-12)
    assert largest_error(tail, dict(enumerate(TAIL)), 1e-6, SATURATION, weight) < 4e-8
