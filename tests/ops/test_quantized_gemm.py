"""QGemm: reference against onnxruntime and lowering against reference, bit for bit; error messages."""

import numpy as np
import onnx
import onnxruntime
import pytest
from hypothesis import given, settings, strategies as st

from edgec.errors import TypeMismatch
from edgec.evaluate import evaluate_op
from edgec.graph import constant, run_reference
from edgec.ops.quantized_gemm import QGemm

NAMES = ("a", "a_scale", "a_zero_point", "b", "b_scale", "b_zero_point", "c", "y_scale", "y_zero_point")


def onnxruntime_result(arrays, **attributes):
    """What onnxruntime computes; absent operands are None."""
    inputs = [n if a is not None else "" for n, a in zip(NAMES, arrays)]
    result = arrays[8].dtype if arrays[8] is not None else np.float32
    while not inputs[-1]:
        inputs.pop()
    node = onnx.helper.make_node("QGemm", inputs, ["y"], domain="com.microsoft", **attributes)
    feeds = {n: np.asarray(a) for n, a in zip(NAMES, arrays) if a is not None}
    types = [onnx.helper.make_tensor_value_info(n, onnx.helper.np_dtype_to_tensor_dtype(a.dtype), a.shape) for n, a in feeds.items()]
    y = onnx.helper.make_tensor_value_info("y", onnx.helper.np_dtype_to_tensor_dtype(np.dtype(result)), None)
    model = onnx.helper.make_model(onnx.helper.make_graph([node], "g", types, [y]), ir_version=10,
                                   opset_imports=[onnx.helper.make_opsetid("", 17), onnx.helper.make_opsetid("com.microsoft", 1)])
    return onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"]).run(None, feeds)[0]


@st.composite
def cases(draw):
    random = np.random.default_rng(draw(st.integers(0, 999)))
    m, k, n = (draw(st.integers(1, 6)) for _ in range(3))
    a_type = draw(st.sampled_from((np.uint8, np.int8)))  # onnxruntime has kernels for results of this type only
    full = lambda dtype, *shape: random.integers(np.iinfo(dtype).min, np.iinfo(dtype).max, shape, endpoint=True).astype(dtype)
    scale = lambda *shape: random.uniform(0.001, 0.02, shape).astype(np.float32)
    trans_a, trans_b, channels = draw(st.integers(0, 1)), draw(st.integers(0, 1)), (n,) if draw(st.booleans()) else ()
    arrays = [full(a_type, *((k, m) if trans_a else (m, k))), scale(), full(a_type),
              full(np.int8, *((n, k) if trans_b else (k, n))), scale(*channels), np.zeros(channels, np.int8),
              random.integers(-999, 999, (n,)).astype(np.int32) if draw(st.booleans()) else None,
              *((scale() * 100, full(a_type)) if draw(st.booleans()) else (None, None))]
    return arrays, {"transA": trans_a, "transB": trans_b, "alpha": draw(st.sampled_from((1.0, 0.5)))}


@given(cases())
@settings(deadline=None, max_examples=25)
def test_reference_and_lowering(case):
    arrays, attributes = case
    op = QGemm(*(None if a is None else constant(a) for a in arrays), **attributes)
    found, = run_reference(op, [a for a in arrays if a is not None])
    np.testing.assert_array_equal(evaluate_op(op, [a for a in arrays if a is not None])[0], found)
    np.testing.assert_array_equal(found, onnxruntime_result(arrays, **attributes))


def test_shapes_that_do_not_fit():
    a, b = constant(np.zeros((2, 3), np.uint8)), constant(np.zeros((4, 5), np.int8))
    one, zero = constant(np.float32(1)), constant(np.uint8(0))
    with pytest.raises(TypeMismatch, match="inner dimensions differ: 3 and 4"):
        QGemm(a, one, zero, b, one, constant(np.int8(0)))
    with pytest.raises(TypeMismatch, match="belong together"):
        QGemm(a, one, zero, constant(np.zeros((3, 5), np.int8)), one, constant(np.int8(0)), None, one)
