"""The interpreter: results, symbols, checks of what goes in and of what comes out."""

import typing

import numpy as np
import pytest

from edgec import interpret
from edgec.errors import Internal, ModelError, Unsupported
from edgec.expr import var
from edgec.graph import Graph, Op, Value, constant, graph_input
from edgec.interpreter import run
from edgec.ops.activation import Relu
from edgec.ops.arithmetic import Add, Mul
from edgec.ops.gather import Gather
from edgec.ops.joining import Concat
from edgec.types import TensorType, f32, i64

N = var("n", 1, 8)


class Doubled(Op):
    """Twice x, said with another operator."""

    x: Value

    def infer(self):
        return self.x.type

    def decompose(self):
        return Add(self.x, self.x).output


class Quadrupled(Doubled):
    """Four times x, through two steps."""

    def decompose(self):
        return Doubled(Doubled(self.x).output).output


class Wrong(Doubled):
    """Says one shape and computes another."""

    def reference(self, x):
        return x[:1]


class Silent(Op):
    """Has no meaning at all."""

    x: Value

    def infer(self):
        return self.x.type


class Endless(Silent):
    """Decomposes into itself for ever."""

    depth: int = 0

    def decompose(self):
        return Endless(self.x, depth=self.depth + 1).output


def x_of(*shape):
    return graph_input("x", TensorType(f32, shape))


def graph_of(output, *inputs):
    return Graph(inputs, (output,), ("y",))


def test_names_and_order():
    x, z = x_of(2), graph_input("z", TensorType(f32, (2,)))
    graph = Graph((x, z), (Add(x, z).output, Mul(x, z).output), ("sum", "product"))
    a, b = np.float32([1, 2]), np.float32([3, 4])
    results = interpret(graph, {"z": b, "x": a})
    assert list(results) == ["sum", "product"]
    np.testing.assert_array_equal(results["sum"], a + b)
    np.testing.assert_array_equal(run(graph, [a, b])[1], a * b)


def test_inputs_and_constants_as_outputs():
    x = x_of(2)
    graph = Graph((x,), (x, constant(np.float32(3))), ("same", "three"))
    results = interpret(graph, {"x": np.float32([1, 2])})
    np.testing.assert_array_equal(results["same"], [1, 2])
    assert results["three"] == 3


def test_symbols_are_bound_from_the_inputs():
    x = x_of(N, 2)
    graph = graph_of(Concat((x, x), axis=0).output, x)
    assert graph.outputs[0].type.shape[0] is not N
    assert interpret(graph, {"x": np.zeros((3, 2), np.float32)})["y"].shape == (6, 2)


@pytest.mark.parametrize("shape, expected", [((9, 2), "allowed are 1 to 8"), ((0, 2), "allowed are 1 to 8"),
                                             ((3, 3), "axis 1 must have 2"), ((3,), "rank 1")])
def test_shapes_that_do_not_fit(shape, expected):
    x = x_of(N, 2)
    with pytest.raises(ModelError, match=expected):
        interpret(graph_of(x, x), {"x": np.zeros(shape, np.float32)})


def test_one_symbol_has_one_size():
    x, z = x_of(N), graph_input("z", TensorType(f32, (N,)))
    with pytest.raises(ModelError, match="input 'z' must be f32\\[n\\]"):
        interpret(graph_of(Add(x, z).output, x, z), {"x": np.zeros(2, np.float32), "z": np.zeros(3, np.float32)})


def test_wrong_names_and_types():
    x = x_of(2)
    with pytest.raises(ModelError) as caught:
        interpret(graph_of(x, x), {"input": np.zeros(2, np.float32)})
    assert "there is no input 'input'" in str(caught.value) and "input 'x' is missing" in str(caught.value)
    assert "the inputs are x: f32[2]" in str(caught.value)
    with pytest.raises(ModelError, match="float64.*astype\\(np.float32\\)"):
        interpret(graph_of(x, x), {"x": np.zeros(2)})
    with pytest.raises(ModelError, match="2 arrays given for 1 inputs"):
        run(graph_of(x, x), [np.zeros(2, np.float32)] * 2)


def test_decomposed_operators_run():
    x = x_of(2)
    np.testing.assert_array_equal(run(graph_of(Quadrupled(x).output, x), [np.float32([1, 2])])[0], [4, 8])


def test_decompositions_that_do_not_end():
    x = x_of(2)
    with pytest.raises(Internal, match="still decomposes"):
        run(graph_of(Endless(x).output, x), [np.float32([1, 2])])


def test_results_are_checked():
    x = x_of(2)
    with pytest.raises(Internal, match="computed float32\\[1\\]"):
        run(graph_of(Wrong(x).output, x), [np.float32([1, 2])])


def test_operators_without_meaning():
    x = x_of(2)
    with pytest.raises(Unsupported, match="Silent has no meaning"):
        run(graph_of(Silent(x).output, x), [np.float32([1, 2])])


def test_values_an_operator_refuses():
    x, i = x_of(3), graph_input("i", TensorType(i64, (1,)))
    graph = graph_of(Gather(x, i).output, x, i)
    with pytest.raises(ModelError, match="Gather cannot be computed on these values"):
        run(graph, [np.zeros(3, np.float32), np.array([7])])


def test_inputs_that_are_not_listed():
    with pytest.raises(Internal, match="not among its inputs"):
        run(graph_of(x_of(2)), [])


def test_long_chains():
    value = x = x_of(2)
    for _ in range(5000):
        value = Add(Relu(value).output, x).output
    np.testing.assert_array_equal(run(graph_of(value, x), [np.float32([1, -1])])[0], [5001, -1])


def test_dead_arrays_are_dropped():
    alive: list[typing.Any] = []

    class Watched(Silent):
        """Notes how many results of its kind are alive."""

        number: int = 0

        def reference(self, x):
            import weakref
            result = x + 1
            alive.append(weakref.ref(result))
            assert sum(r() is not None for r in alive) <= 3
            return result

    value = x = x_of(1000)
    for n in range(50):
        value = Watched(value, number=n).output
    run(graph_of(value, x), [np.zeros(1000, np.float32)])
    assert len(alive) == 50
