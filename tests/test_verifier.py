"""The verifier reports every problem of a graph that was built by force."""

import numpy as np

from edgec.expr import var
from edgec.graph import Graph, constant, graph_input
from edgec.ops.activation import LeakyRelu
from edgec.ops.arithmetic import Add
from edgec.types import TensorType, f32, f64
from edgec.verifier import verify


def fresh(name, *shape):
    return graph_input(name, TensorType(f32, shape))


def test_sound_graphs():
    x = fresh("x", var("n", 1, 4), 2)
    assert verify(Graph((x,), (Add(x, constant(np.float32([1, 2]))).output,), ("y",))) == []


def test_all_problems_are_reported():
    x, z = fresh("x", 2), fresh("z", 2)
    value = LeakyRelu(Add(x, z).output, alpha=0.777).output
    value.type = TensorType(f64, (2,))
    messages = [str(e) for e in verify(Graph((x, x, value), (value, value), ("y", "y", "z")))]
    expected = ["the graph input %leakyrelu is the result of LeakyRelu", "%z is read and is not among the inputs",
                "2 outputs and 3 names", "2 inputs called 'x'", "2 outputs called 'y'",
                "LeakyRelu is recorded as (f64[2],), its operands give (f32[2],)"]
    assert len(messages) == len(expected) and all(any(e in m for m in messages) for e in expected)


def test_cycles_made_by_force():
    x = fresh("x", 2)
    one = LeakyRelu(x, alpha=0.778)
    two = LeakyRelu(one.output, alpha=0.779)
    one.__dict__["operands"] = (two.output,)
    assert any("depends on it" in str(e) for e in verify(Graph((x,), (two.output,), ("y",))))


def test_symbols_without_an_input_and_negative_extents():
    n = var("n", 1, 4)
    x, hidden = fresh("x", n), fresh("h", n - 2)
    graph = Graph((fresh("w", 3),), (LeakyRelu(x, alpha=0.781).output, hidden), ("a", "b"))
    messages = "\n".join(map(str, verify(graph)))
    assert "has a symbol that no input has" in messages and "may have a negative extent" in messages


def test_constants_that_can_be_written_to():
    value = constant(np.full(3, 0.123, np.float32))
    value.array.setflags(write=True)
    assert "can be written to" in str(verify(Graph((), (value,), ("c",)))[0])


def test_graphs_inside_are_verified(monkeypatch):
    from edgec.graph import Op, Value
    Op_annotations = {"x": Value, "body": Graph}
    Holder = type("Holder", (Op,), {"__annotations__": Op_annotations, "infer": lambda self: self.x.type})
    x = fresh("x", 2)
    inner = Graph((), (LeakyRelu(x, alpha=0.782).output,), ("r",), "inner")
    problems = verify(Graph((x,), (Holder(x, body=inner).output,), ("y",)))
    assert ["not among the inputs of graph 'inner'" in str(p) for p in problems] == [True]
