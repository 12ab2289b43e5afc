"""Models quantized by onnxruntime: each operator on onnxruntime's own tensors, and whole models compiled (docs/quantization.md)."""

import numpy as np
import onnx
import pytest

import edgec
from edgec.bench.onnxruntime_tensors import all_tensors, compared, kernels, optimised
from edgec.drawn_inputs import drawn_inputs
from edgec.interpreter import interpret
from edgec.onnx.reader import load
from edgec.passes.integers import integer_form

MODELS = ["dtln_1", "fastestdet_352", "fsdd_gru2", "fsdd_tcn", "fsdd_transformer", "hand_keypoint", "mlperf_ic_resnet8", "mlperf_kws_dscnn",
          "mlperf_vww_mbv1_025", "mobilenetv2_100_224_ptqw8", "silero_vad_16k", "tinymaix_mbnet128_025", "tinymaix_mnist_valid",
          "ultraface_slim320"]
COMPILED = ["hand_keypoint", "tinymaix_mnist_valid", "fsdd_tcn", "mlperf_ic_resnet8"]
A_QUANTUM = {"QLinearSoftmax", "QLinearSigmoid", "QLinearAdd", "QLinearAveragePool"}  # onnxruntime computes these in ways of its own
RARE = 1e-5


@pytest.fixture
def quantized(shared):
    """quantized(name): the file and a size for every open dimension."""
    def found(name):
        path = shared / "peers" / f"{name}_ort_minmax.onnx"
        if not path.exists():
            pytest.skip(f"no {path.name} in ../shared/peers")
        inputs = onnx.load(path).graph.input
        return path, {d.dim_param: 1 for i in inputs for d in i.type.tensor_type.shape.dim if d.dim_param}
    return found


def test_every_quantized_model_of_the_peers_is_compared(shared):
    """A file that is added there fails here until it stands in MODELS."""
    there = {path.name for path in (shared / "peers").glob("*.onnx")}
    if not there:
        pytest.skip("no models in ../shared/peers")
    assert there == {f"{name}_ort_minmax.onnx" for name in MODELS} and set(COMPILED) <= set(MODELS)


@pytest.mark.parametrize("name", MODELS)
def test_operators_on_the_tensors_of_onnxruntime(name, quantized, tmp_path):
    """Integer kernels to the bit; what onnxruntime leaves in f32, and its own softmax, to a quantum. No kernel's bytes are left out."""
    path, bind = quantized(name)
    model, graph = optimised(path, tmp_path / "optimised.onnx"), load(path, None, bind)
    theirs = all_tensors(model, drawn_inputs(graph))
    found = compared(integer_form(load(model, None, bind)), theirs, kernels(model))
    assert found and not made_of_bytes(model, theirs) - {each.name for each in found}
    for each in found:
        if each.kernel.endswith("(f32)"):
            assert each.largest <= 1 and each.different <= max(1, RARE * each.elements), each
        else:
            assert each.largest <= (1 if each.kernel in A_QUANTUM else 0), each


def made_of_bytes(model, theirs):
    """Names of the 8-bit results of all operators but QuantizeLinear, which vanishes where a tensor is quantized as it was before."""
    return {name for node in model.graph.node for name in node.output
            if name and node.op_type != "QuantizeLinear" and theirs[name].dtype in (np.uint8, np.int8)}


@pytest.mark.parametrize("name", COMPILED)
def test_native_code_equals_the_interpreter(name, quantized):
    path, bind = quantized(name)
    graph = load(path, None, bind)
    inputs = drawn_inputs(graph, 1)
    found, expected = edgec.compile(graph, optimize="1").run(inputs), interpret(integer_form(graph), inputs)
    for output in expected:
        np.testing.assert_array_equal(found[output], expected[output])
