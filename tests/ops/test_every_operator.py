"""Every operator has a property test: drawn operands against onnxruntime, interpreter and program, or a stated reason why not.

The operators come from the registry. One counts as drawn if `edgec.testing.nodes` draws it or what it consists of, if the random graphs
of `edgec.testing` hold it, or if a test of this folder with `@given` names it.
"""

import ast
from dataclasses import replace
from functools import cache
from pathlib import Path
from random import Random

import numpy as np
import onnx
import onnxruntime
import pytest
from hypothesis import given, settings, strategies as st

from edgec.backends.target import find
from edgec.compiler import compile, lower, optimise_graph
from edgec.evaluate import evaluate_op
from edgec.graph import Graph, fields_of, run_reference
from edgec.interpreter import interpret
from edgec.onnx.reader import load
from edgec.onnx.tensor import CODE_OF_DTYPE
from edgec.ops import OPERATORS
from edgec.program_interpreter import run_program
from edgec.testing.draw import Draw
from edgec.testing.graphs import random_graph, random_integer_graph
from edgec.testing.integers import integer_operators
from edgec.testing.nodes import DRAWN, Node, drawn_node
from edgec.types import TensorType, dtype_of

NATIVE = find("native")
VERSIONS = {"ai.onnx.ml": 3, "com.microsoft": 1}

# Operators that nothing draws, each with the test that stands for it.
REASONS = {
    ("edgec", "StopWord"): "StringNormalizer over slots of bytes: test_text.py draws what it keeps and drops",
}


def model_of(node, count):
    """A model of this one node and arrays for its inputs."""
    names = [f"x{n}" if a is not None else "" for n, a in enumerate(node.arrays)]
    while names and not names[-1]:
        names.pop()
    given = {k: v for k, v in node.attributes.items() if k != "outputs" and v is not None}
    given = {k: onnx.numpy_helper.from_array(v) if isinstance(v, np.ndarray) else v for k, v in given.items()}
    made = onnx.helper.make_node(node.name, names, [f"y{n}" for n in range(count)], domain=node.domain, **given)
    arrays = {n: np.asarray(a) for n, a in zip(names, node.arrays) if n}
    tensors = [onnx.numpy_helper.from_array(arrays.pop(f"x{n}"), f"x{n}") for n in node.constants if f"x{n}" in arrays]
    infos = [onnx.helper.make_tensor_value_info(n, CODE_OF_DTYPE[dtype_of(a.dtype)], a.shape) for n, a in arrays.items()]
    graph = onnx.helper.make_graph([made], "one", infos, [onnx.ValueInfoProto(name=f"y{n}") for n in range(count)], tensors)
    version = 5 if node.name == "TreeEnsemble" else VERSIONS.get(node.domain)
    opsets = [onnx.helper.make_opsetid("", node.opset), *([onnx.helper.make_opsetid(node.domain, version)] if version else [])]
    return onnx.helper.make_model(graph, opset_imports=opsets, ir_version=10), arrays


def in_onnxruntime(model, arrays):
    """What onnxruntime gives for a model."""
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level, options.intra_op_num_threads = 4, 1
    model = model.SerializeToString()
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"]).run(None, arrays)


def assert_near(found, expected, node):
    """Same type; within the roundings that the node allows (NaN equals NaN), integers equal."""
    assert found.dtype == expected.dtype and found.shape == expected.shape, f"{found.dtype}{found.shape} {expected.dtype}{expected.shape}"
    if found.dtype.kind != "f":
        np.testing.assert_array_equal(found, expected)
        return
    a, b = found.astype(np.float64), expected.astype(np.float64)
    largest = np.max(np.abs(b), initial=1, where=np.isfinite(b))
    np.testing.assert_allclose(a, b, rtol=0, atol=node.roundings * np.finfo(found.dtype).eps * (node.magnitude or largest))


def graph_of(node):
    """A graph of the operator alone, and arrays for its inputs."""
    op = node.operator()
    graph = Graph(tuple(v for v in op.operands if not v.is_constant), op.results, tuple(f"y{n}" for n in range(len(op.results))))
    return graph, {f"x{n}": a for n, a in enumerate(node.arrays) if a is not None and n not in node.constants}


def check(node, native):
    """Reference == onnxruntime; formula == reference; program == reference; compiled == reference where `native`."""
    present = [a for a in node.arrays if a is not None]
    graph, arrays = graph_of(node)
    op = graph.outputs[0].op
    meant = interpret(graph, arrays)
    expected = run_reference(op, present) if hasattr(op, "reference") else [meant[name] for name in graph.output_names]
    for result, value in zip(expected, op.results, strict=True):
        assert not value.type.is_static or TensorType(dtype_of(result.dtype), result.shape) == value.type
    if node.oracle:
        for result, other in zip(expected, in_onnxruntime(*model_of(node, len(expected))), strict=True):
            assert_near(result, other, node)
    if hasattr(op, "lower"):
        for number, result in enumerate(expected):
            assert_near(evaluate_op(op, present, [number])[0], result, node)
    results = [meant, run_program(lower(optimise_graph(graph, NATIVE), NATIVE), arrays)]
    results += [compile(graph, optimize="0", workers=0).run(arrays)] if native else []
    for found in results:
        for name, result in zip(graph.output_names, expected):
            assert_near(found[name], result, node)


@pytest.mark.parametrize("domain, name", DRAWN, ids=[f"{d}:{n}" if d else n for d, n in DRAWN])
@given(st.integers(0, 2**32 - 1))
@settings(max_examples=6 if settings.default.derandomize else 200)
def test_drawn_operands(domain, name, seed):
    check(drawn_node(Random(seed), domain, name), native=seed % 5 == 0)


# ------------------------------------------------------------------------------------------------------ sizes from the data

def counted_rows(seed):
    """A Loop that runs as often as an input says, but five times at most, and gives a row each time."""
    def info(name, code, shape):
        return onnx.helper.make_tensor_value_info(name, code, shape)

    def node(op, given, made, **attributes):
        return onnx.helper.make_node(op, given.split(), made.split(), **attributes)
    body = onnx.helper.make_graph(
        [node("Add", "v v", "next"), node("Identity", "go", "goes"), node("Neg", "v", "row")], "body",
        [info("i", 7, ()), info("go", 9, ()), info("v", 1, (3,))], [info("goes", 9, ()), info("next", 1, (3,)), info("row", 1, (3,))])
    graph = onnx.helper.make_graph(
        [node("Min", "n five", "m"), onnx.helper.make_node("Loop", ["m", "", "x"], ["y0", "y1"], body=body)], "g",
        [info("x", 1, (3,)), info("n", 7, ())], [info("y0", 1, (3,)), info("y1", 1, (None, 3))],
        [onnx.numpy_helper.from_array(np.array(5), "five")])
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 18)], ir_version=10)
    numbers = np.random.default_rng(seed)
    return model, {"x": numbers.integers(-3, 4, 3).astype(np.float32), "n": np.array(numbers.integers(0, 9))}


def sized(name):
    """A function from a seed to (model of the operator, arrays) where the arrays decide how large results are."""
    def drawn(seed):
        if name == "Loop":
            return counted_rows(seed)
        d = Draw(Random(seed))
        if name == "Reshape":
            rows, columns = d.integer(1, 4), d.integer(1, 4)
            shape = np.array(d.pick((rows, columns), (columns, rows), (1, rows * columns), (rows * columns, 1)))
            node = Node("", name, (d.normal(rows, columns), shape))
        elif name == "Unique":
            node = Node("", name, (d.whole(0, 3, d.integer(1, 9)),))
        else:
            node = replace(drawn_node(Random(seed), "", name), constants=())
        return model_of(node, 1)
    return drawn


SIZED = ("Compress", "Loop", "NonMaxSuppression", "NonZero", "Reshape", "Unique")
BOUNDS = {"Loop": {"y1": "0..5"}, "Reshape": {"x1": "1..16x1..16"}}


@pytest.mark.parametrize("name", SIZED)
@given(st.integers(0, 2**32 - 1))
@settings(max_examples=8 if settings.default.derandomize else 200)
def test_sizes_that_data_decides(name, seed):
    model, arrays = sized(name)(seed)
    graph = load(model, bind=BOUNDS.get(name))
    found = [interpret(graph, arrays), run_program(lower(optimise_graph(graph, NATIVE), NATIVE), arrays)]
    found += [compile(graph, optimize="0", workers=0).run(arrays)] if seed % 5 == 0 else []
    for number, expected in enumerate(in_onnxruntime(model, arrays)):
        for results in found:
            np.testing.assert_array_equal(results[f"y{number}"], expected)


# ---------------------------------------------------------------------------------------------------------- none is left out

def inside(graph):
    """Every operator of a graph and of the graphs in its attributes."""
    for op in graph.ops:
        yield type(op)
        yield from (kind for f in fields_of(type(op)) for part in [getattr(op, f.name)] if isinstance(part, Graph) for kind in inside(part))


@cache
def drawn_by_generators():
    """Operators of the random graphs, those of DRAWN and of the drawn integers, and what they consist of once compiled."""
    graphs = [draw(Random(seed), 6) for seed in range(150) for draw in (random_graph, random_integer_graph)]
    graphs += [integer_operators(seed) for seed in range(2)]  # held against the interpreter by end_to_end/test_integer_operators.py
    for domain, name in DRAWN:
        graphs += [graph_of(drawn_node(Random(seed), domain, name))[0] for seed in range(2)]
    graphs += [load(sized(name)(seed)[0], bind=BOUNDS.get(name)) for name in SIZED for seed in range(2)]
    return {kind for graph in graphs for form in (graph, optimise_graph(graph, NATIVE)) for kind in inside(form)}


@cache
def named_by_drawn_tests():
    """Every name in the tests of this folder with `@given`, and in what they call of their own files."""
    return {name for path in sorted(Path(__file__).parent.glob("test_*.py")) if path != Path(__file__) for name in names_under_given(path)}


def names_under_given(path):
    """The names that the tests of one file with `@given` reach."""
    body = ast.parse(path.read_text()).body
    defined = {}
    for statement in body:
        targets = statement.targets if isinstance(statement, ast.Assign) else [statement]
        for name in [getattr(t, "name", getattr(t, "id", "")) for t in targets]:
            defined.setdefault(name, []).append(statement)
    work = [s for s in body if isinstance(s, ast.FunctionDef) and any(ast.unparse(d).startswith("given(") for d in s.decorator_list)]
    found = set()
    while work:
        for name in names_in(work.pop()) - found:
            found.add(name)
            work += defined.get(name, [])
    return found


def names_in(statement):
    """Names, attributes and strings of a statement."""
    fields = {ast.Name: "id", ast.Attribute: "attr", ast.Constant: "value"}
    return {getattr(node, fields[type(node)]) for node in ast.walk(statement) if type(node) in fields} - {None, Ellipsis}


def test_every_operator_is_drawn_or_there_is_a_reason():
    left = {key for key, cls in OPERATORS.items() if cls not in drawn_by_generators() and cls.__name__ not in named_by_drawn_tests()}
    assert left == set(REASONS), f"no drawn test and no reason: {sorted(left - set(REASONS))}; drawn after all: {sorted(set(REASONS) - left)}"


def test_an_operator_that_nothing_draws_is_found(tmp_path):
    """What only other tests name does not count, nor what stands in a helper that no drawn test calls."""
    file = tmp_path / "test_some.py"
    file.write_text("CASES = [Relu]\n\n@given(x)\ndef test_one(): used(CASES)\n\ndef used(c): run(Tanh, 'Erf')\n\n"
                    "def unused(): Cos()\n\ndef test_two(): Sin()\n")
    assert names_under_given(file) & {"Relu", "Tanh", "Erf", "Cos", "Sin"} == {"Relu", "Tanh", "Erf"}
