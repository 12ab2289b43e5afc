"""Every operator has a property test: drawn operands against onnxruntime, interpreter and program, or a stated reason why not.

The operators come from the registry. One counts as drawn if `edgec.testing_nodes` draws it or what it consists of, if the random graphs
of `edgec.testing` hold it, or if a test of this folder with `@given` names it.
"""

import ast
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
from edgec.graph import Graph, run_reference
from edgec.interpreter import interpret
from edgec.onnx_tensor import CODE_OF_DTYPE
from edgec.ops import OPERATORS
from edgec.program_interpreter import run_program
from edgec.testing_graphs import STEPS, random_graph, random_integer_graph
from edgec.testing_nodes import DRAWN, drawn_node
from edgec.types import TensorType, dtype_of

NATIVE = find("native")
VERSIONS = {"ai.onnx.ml": 3, "com.microsoft": 1}

REASONS = {

}


def in_onnxruntime(node, count):
    """The results of a model of this one node."""
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
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level, options.intra_op_num_threads = 4, 1
    model = onnx.helper.make_model(graph, opset_imports=opsets, ir_version=10).SerializeToString()
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


def check(node, native):
    """Reference == onnxruntime; formula == reference; program == reference; compiled == reference where `native`."""
    op = node.operator()
    present = [a for a in node.arrays if a is not None]
    inputs = tuple(v for v in op.operands if not v.is_constant)
    graph = Graph(inputs, op.results, tuple(f"y{n}" for n in range(len(op.results))))
    arrays = {f"x{n}": a for n, a in enumerate(node.arrays) if a is not None and n not in node.constants}
    meant = interpret(graph, arrays)
    expected = run_reference(op, present) if hasattr(op, "reference") else [meant[name] for name in graph.output_names]
    for result, value in zip(expected, op.results, strict=True):
        assert not value.type.is_static or TensorType(dtype_of(result.dtype), result.shape) == value.type
    if node.oracle:
        for result, other in zip(expected, in_onnxruntime(node, len(expected)), strict=True):
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
