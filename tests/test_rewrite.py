"""The rewriting driver: where rules apply, when it ends, what it keeps."""

from __future__ import annotations

import numpy as np
import pytest

from edgec import rewrite, rule
from edgec.errors import Internal, Loc
from edgec.graph import Graph, constant, graph_input
from edgec.ops.activation import Relu, Sigmoid
from edgec.ops.arithmetic import Abs, Add, Mul, Neg
from edgec.ops.joining import Split
from edgec.ops.transcendental import Tanh
from edgec.types import TensorType, f32

X = graph_input("x", TensorType(f32, (4,)))


def graph_of(*outputs):
    return Graph((X,), outputs, tuple(f"y{n}" for n in range(len(outputs))))


@rule
def double_negation(op: Neg):
    """-(-x)  ->  x"""
    return op.x.op.x if isinstance(op.x.op, Neg) else None


@rule
def relu_as_product(op: Relu):
    """relu(x)  ->  x * sigmoid(x)"""
    return Mul(op.x, Sigmoid(op.x).output).output


def test_a_chain_collapses_in_one_sweep():
    value = X
    for _ in range(7):
        value = Neg(value).output
    assert rewrite(graph_of(value), double_negation).outputs == (Neg(X).output,)


def test_nothing_to_do_gives_the_same_values():
    graph = graph_of(Relu(X).output)
    assert rewrite(graph, double_negation).outputs[0] is graph.outputs[0]


def test_new_ops_are_rewritten_too():
    @rule
    def tanh_as_negations(op: Tanh):
        """tanh(x)  ->  -(-relu(x))"""
        return Neg(Neg(Relu(op.x).output).output).output
    found = rewrite(graph_of(Abs(Tanh(X).output).output), tanh_as_negations, double_negation, relu_as_product)
    assert found.outputs == (Abs(Mul(X, Sigmoid(X).output).output).output,)


def test_rules_for_several_classes_and_results():
    @rule
    def absolute(op: Split | Add, context):
        """split(x), x + y  ->  split(abs(x)), abs(x) + y"""
        first = op.operands[0]
        return None if isinstance(first.op, Abs) else op.with_operands((Abs(first).output, *op.operands[1:])).results
    a, b = Split(X, num_outputs=2).results
    found = rewrite(graph_of(Neg(a).output, Add(b, a).output), absolute)
    c, d = Split(Abs(X).output, num_outputs=2).results
    assert found.outputs == (Neg(c).output, Add(Abs(d).output, c).output)


def test_a_result_that_is_left_alone():
    @rule
    def first_piece(op: Split, context):
        """split(x) whose second piece nobody reads  ->  zeros, and the second piece as it is"""
        return None if context.uses(op.results[1]) else (constant(np.zeros(2, np.float32)), op.results[1])
    a, b = Split(X, num_outputs=2).results
    assert rewrite(graph_of(Neg(a).output), first_piece).outputs == (Neg(constant(np.zeros(2, np.float32))).output,)
    assert rewrite(graph_of(a, b), first_piece).outputs == (a, b)


def test_uses_are_counted():
    seen = {}

    @rule
    def watch(op: Neg, context):
        """-x  ->  -x"""
        seen[op.x] = context.uses(op.x)
    shared, once = Abs(X).output, Relu(X).output
    rewrite(graph_of(Neg(shared).output, Neg(once).output, shared), watch)
    assert seen[shared] == 2 and seen[once] == 1


def test_uses_follow_a_replaced_value():
    seen = {}

    @rule
    def watch(op: Mul, context):
        """x * y  ->  x * y"""
        seen[op.a] = context.uses(op.a)
    twice = Neg(Neg(Abs(X).output).output).output
    rewrite(graph_of(Mul(twice, X).output, twice), double_negation, watch)
    assert seen[Abs(X).output] >= 2


def test_places_and_names_are_kept():
    loc = Loc("m.onnx", "n", "Relu", 3)
    five = graph_input("five", TensorType(f32, (5,)))
    op = Relu(five, _name="act", _loc=loc)
    found = rewrite(Graph((five,), (op.output,), ("y",)), relu_as_product).outputs[0]
    assert found.name == "act" and found.loc is loc and found.op.b.loc is loc


def test_rules_that_undo_one_another():
    @rule
    def there(op: Abs):
        """abs(x)  ->  tanh(x)"""
        return Tanh(op.x).output

    @rule
    def back(op: Tanh):
        """tanh(x)  ->  abs(x)"""
        return Abs(op.x).output
    with pytest.raises(Internal, match="undo one another"):
        rewrite(graph_of(Abs(X).output), there, back)


def test_rules_that_grow_without_end():
    @rule
    def wrap(op: Abs):
        """abs(x)  ->  relu(abs(x))"""
        return Relu(op.output).output

    @rule
    def more(op: Add):
        """x + c  ->  x + (c + 1)"""
        return Add(op.a, constant(op.b.array + 1)).output
    with pytest.raises(Internal, match="undo one another"):
        rewrite(graph_of(Abs(X).output), wrap)
    with pytest.raises(Internal, match="rule more grows the graph"):
        rewrite(graph_of(Add(X, constant(np.zeros(4, np.float32))).output), more)


def test_rules_must_keep_the_type():
    @rule
    def wrong(op: Abs):
        """abs(x)  ->  half of x"""
        return Split(op.x, num_outputs=2).results[0]
    with pytest.raises(Internal, match="rule wrong turns Abs of f32\\[4\\] into f32\\[2\\]"):
        rewrite(graph_of(Abs(X).output), wrong)


def test_what_is_not_a_rule():
    with pytest.raises(TypeError, match="operator classes"):
        rule(lambda op: None)
    with pytest.raises(TypeError, match="before -> after"):
        @rule
        def undocumented(op: Abs):
            """Makes things better."""


def test_chains_twice_as_long_are_twice_the_work(calls_of):
    def rewritten(length):
        value = X
        for n in range(length):
            value = (Neg if n % 3 else Abs)(value).output
        found = rewrite(graph_of(value), double_negation, relu_as_product)
        assert len(found.ops) <= length // 3 + 3
    few, many = (calls_of(lambda: rewritten(length)) for length in (2000, 4000))
    assert many < 3 * few
    rewritten(20_000)


def test_a_rule_is_still_a_function():
    assert double_negation(Neg(Neg(X).output)) is X
    assert double_negation.meaning == "-(-x)  ->  x" and double_negation.name == "double_negation"
