"""Fixtures for operator tests: run one ONNX node in onnxruntime, and hold an edgec operator against it and against its own lowering.

    def test_relu(check): check(Relu, [x])
"""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime
import pytest

from edgec.evaluate import evaluate_op
from edgec.graph import constant, fields_of, graph_input, run_reference
from edgec.types import TensorType, dtype_of


def onnx_type(array: np.ndarray) -> int:
    """The ONNX element type of an array."""
    return onnx.helper.np_dtype_to_tensor_dtype(array.dtype)


def run_in_onnxruntime(name, arrays, attributes, outputs=1, opset=22, domain=""):
    """The results of a one-node model; None in `arrays` is an absent operand."""
    count = max(n + 1 for n, a in enumerate(arrays) if a is not None)  # onnxruntime may crash on absent operands at the end
    names = ["" if a is None else f"x{n}" for n, a in enumerate(arrays[:count])]
    results = [f"y{n}" for n in range(outputs)]
    node = onnx.helper.make_node(name, names, results, domain=domain, **{k: v for k, v in attributes.items() if v is not None})
    inputs = [onnx.helper.make_tensor_value_info(n, onnx_type(a), a.shape) for n, a in zip(names, arrays) if n]
    graph = onnx.helper.make_graph([node], "one", inputs, [onnx.ValueInfoProto(name=r) for r in results])
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", opset)], ir_version=10)
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level, options.intra_op_num_threads, options.inter_op_num_threads = 4, 1, 1
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return session.run(None, {n: np.asarray(a) for n, a in zip(names, arrays) if n})


def build(cls, arrays, attributes, constants=()):
    """The operator on fresh inputs of the arrays' types; operands numbered in `constants` hold the arrays themselves."""
    values = [None if a is None else constant(a) if n in constants else graph_input(f"x{n}", TensorType(dtype_of(a.dtype), a.shape))
              for n, a in enumerate(arrays)]
    kinds = [f.kind for f in fields_of(cls) if f.kind != "attribute"]
    if "variadic" in kinds:
        values[kinds.index("variadic"):] = [tuple(values[kinds.index("variadic"):])]
    return cls(**dict(zip((f.name for f in fields_of(cls) if f.kind != "attribute"), values)), **attributes)


def assert_close(found, expected, bound):
    """Same dtype and shape; floats within `bound` (NaN equals NaN), everything else equal."""
    assert found.dtype == expected.dtype and found.shape == expected.shape, f"{found.dtype}{found.shape} {expected.dtype}{expected.shape}"
    if found.dtype.kind in "iub":
        np.testing.assert_array_equal(found, expected)
    else:
        a, b = found.astype(np.float64), expected.astype(np.float64)
        np.testing.assert_array_equal(np.isnan(a), np.isnan(b))
        with np.errstate(invalid="ignore"):
            distance = np.where(np.isnan(a) | (a == b), 0.0, np.abs(a - b))
        assert np.all(distance <= bound), f"off by {distance.max()}: {found} instead of {expected}"


def unit_roundoff(array: np.ndarray) -> float:
    """Half the distance from 1 to the next number of the array's type (0 for integers)."""
    bits = {"float16": 11, "bfloat16": 8, "float32": 24, "float64": 53}.get(array.dtype.name)
    return 2.0 ** -bits if bits else 0.0


@pytest.fixture(scope="session")
def onnxruntime_results():
    return run_in_onnxruntime


@pytest.fixture(scope="session")
def make_op():
    return build


@pytest.fixture(scope="session")
def check():
    """check(cls, arrays, terms=K, magnitude=S, attribute=...): reference == onnxruntime and lower == reference.

    Floats may differ by (K + 8) roundings of numbers of magnitude S: K is how many terms a result sums, S bounds the sum of their
    magnitudes (by default the largest result, at least 1). Where an operator documents that it is `off` by a part of its operand, that
    is allowed too.
    """
    def run(cls, arrays, terms=1, magnitude=None, constants=(), oracle=True, opset=22, domain="", **attributes):
        op = build(cls, arrays, attributes, constants)
        present = [a for a in arrays if a is not None]
        results = run_reference(op, present)
        passed = {k: v for k, v in attributes.items() if k != "outputs"}
        expected = run_in_onnxruntime(cls.__name__, arrays, passed, len(results), opset, domain) if oracle else results
        for n, result in enumerate(results):
            assert TensorType(dtype_of(result.dtype), result.shape) == op.results[n].type
            scale = magnitude if magnitude is not None else max(1.0, float(np.nanmax(np.abs(result.astype(np.float64)), initial=0)))
            bound = (terms + 8) * unit_roundoff(result) * scale
            assert_close(result, expected[n], bound)
            if hasattr(op, "lower"):
                documented = op.off * np.abs(present[0].astype(np.float64)) if hasattr(op, "off") else 0.0
                assert_close(evaluate_op(op, present, [n])[0], result, np.maximum(bound, documented))
        return results

    return run


@pytest.fixture(scope="session")
def check_compiled():
    """check_compiled(make, arrays, bound): compiled code gives what the interpreter does; `make(*values)` gives the results of a graph.

    The graph is made for the very arrays, so operators whose result sizes depend on data can be among its parts.
    """
    from edgec import interpret
    from edgec.compiler import compile
    from edgec.graph import Graph

    def run(make, arrays, bound=1e-5):
        inputs = tuple(graph_input(f"x{n}", TensorType(dtype_of(a.dtype), a.shape), known=a) for n, a in enumerate(arrays))
        results = make(*inputs)
        results = results if isinstance(results, tuple) else (results,)
        graph = Graph(inputs, results, tuple(f"y{n}" for n in range(len(results))))
        given = {f"x{n}": a for n, a in enumerate(arrays)}
        found, expected = compile(graph, optimize="0", workers=0).run(given), interpret(graph, given)
        for name in graph.output_names:
            assert_close(found[name], expected[name], bound)
        return [expected[name] for name in graph.output_names]

    return run
