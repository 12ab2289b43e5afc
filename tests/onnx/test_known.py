"""What is known of a value before the model runs."""

import numpy as np

from edgec.graph import constant, graph_input
from edgec.onnx import known as onnx_known
from edgec.onnx.known import DEPTH, SIZE, known_array
from edgec.ops.arithmetic import Add
from edgec.types import TensorType, f32


def doubled(value, times: int):
    for _ in range(times):
        value = Add(value, value).output
    return value


def test_each_operator_is_computed_once(monkeypatch):
    calls, run = [], onnx_known.run_reference
    monkeypatch.setattr(onnx_known, "run_reference", lambda *given: calls.append(1) or run(*given))
    assert known_array(doubled(constant(np.float32(0.5)), DEPTH - 1)) == 2.0 ** (DEPTH - 2)
    assert len(calls) == DEPTH - 1


def test_inputs_long_chains_and_large_arrays_are_not_known():
    assert known_array(doubled(graph_input("x", TensorType(f32, (1,))), 2)) is None
    assert known_array(doubled(constant(np.float32(0.5)), DEPTH + 1)) is None
    large = constant(np.ones(SIZE + 1, np.float32))
    assert known_array(large) is large.array and known_array(doubled(large, 1)) is None
