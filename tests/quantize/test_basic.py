"""The basic path on the digits network: a valid QDQ model that onnxruntime runs as edgec does, close to the float one."""

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest

from edgec import load
from edgec.errors import ModelError
from edgec.interpreter import interpret
from edgec.quantize import CALIBRATORS, quantize, to_nearest

DIGITS = Path(__file__).parent.parent.parent / "testdata" / "digits"
DATA = np.load(DIGITS / "digits.npz")
CALIB, X, Y = DATA["inputs"][:64], DATA["inputs"][64:264], DATA["labels"][64:264]


def session(model):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = 1, 4
    return onnxruntime.InferenceSession(model if isinstance(model, str) else model.SerializeToString(), options)


def results(model):
    run = session(model)
    return np.concatenate([run.run(None, {"image": x[None]})[0] for x in X])


@pytest.mark.parametrize("calibrator", CALIBRATORS)
def test_accuracy_stays_by_every_calibrator(calibrator):
    made = quantize(DIGITS / "digits.onnx", CALIB, calibrator=calibrator).model
    onnx.checker.check_model(made, full_check=True)
    exact, ours = results(str(DIGITS / "digits.onnx")), results(made)
    clipped = calibrator == "moving-average"  # of 64 samples: it clips what only some of them reach
    assert (exact.argmax(1) == ours.argmax(1)).mean() >= (0.95 if clipped else 0.98)
    assert (ours.argmax(1) == Y).mean() >= (exact.argmax(1) == Y).mean() - (0.03 if clipped else 0.011)


def test_only_products_and_what_follows_them_are_integers():
    made = quantize(DIGITS / "digits.onnx", CALIB).model
    kinds = [n.op_type for n in made.graph.node]
    assert kinds.count("Conv") == 3 and kinds.count("Relu") == 3 and "BatchNormalization" not in kinds
    by_output = {n.output[0]: n for n in made.graph.node}
    for node in made.graph.node:
        if node.op_type in ("Conv", "Gemm"):
            assert [by_output[i].op_type for i in node.input] == ["DequantizeLinear"] * 3
        if node.op_type == "Relu":
            assert by_output[node.input[0]].op_type == "Conv"  # no rounding in between
        if node.op_type == "Softmax":
            assert by_output[node.input[0]].op_type == "Gemm"  # logits stay f32


def test_the_interpreter_and_onnxruntime_agree():
    made = quantize(DIGITS / "digits.onnx", CALIB)
    run, graph = session(made.model), load(made.model)
    for x in X[:20]:
        ours, theirs = interpret(graph, {"image": x[None]})["probabilities"], run.run(None, {"image": x[None]})[0]
        assert np.abs(ours - theirs).max() < 1e-5


def test_an_open_batch_stays_open():
    made = quantize(DIGITS / "digits_dyn.onnx", CALIB, bind={"N": "1..2"}).model
    assert made.graph.input[0].type.tensor_type.shape.dim[0].dim_param == "N"
    assert session(made).run(None, {"image": X})[0].shape == (len(X), 10)


def test_a_rounding_method_sees_the_layers_and_replaces_their_weights():
    seen = []

    def method(layer):
        x = layer.inputs[3]
        if layer.name != "/body/linear/Gemm":
            expected = layer.columns(x) @ layer.matrix() + layer.bias
            assert np.allclose(layer.output(x), np.moveaxis(expected.reshape(*layer.output(x).shape[2:], -1), -1, 0)[None], atol=1e-5)
        assert np.array_equal(layer.assembled([layer.matrix()]), layer.weights)
        seen.append((layer.name, layer.rows().shape[1]))
        return to_nearest(layer) * 0
    made = quantize(DIGITS / "digits.onnx", CALIB[:8], rounding=method)
    assert [k for _, k in seen] == [9, 72, 144, 32]
    assert np.ptp([interpret(made.graph, {"image": x[None]})["probabilities"] for x in X[:4]], axis=0).max() == 0  # nothing is left of x


@pytest.mark.parametrize("calib, message", [
    ({"picture": CALIB}, "there is no input 'picture'"),
    ({}, "no array for input 'image'"),
    ({"image": CALIB[:, :, :7]}, "which is not samples x 1x8x8"),
    ({"image": CALIB.astype(np.uint8)}, "has element type uint8"),
    ({"image": np.where(CALIB > 0.9, np.nan, CALIB)}, "has NaN in sample"),
    ({"image": np.where(CALIB > 0.9, np.inf, CALIB)}, "has infinite values in sample"),
    ({"image": CALIB[:0]}, "is empty"),
    ({"image": CALIB[0, 0, 0, 0]}, "is empty|which is not samples"),
    (Path("nowhere.npz"), "there is no calibration data at 'nowhere.npz'"),
])
def test_bad_data_gets_one_clear_error(calib, message):
    with pytest.raises(ModelError, match=message):
        quantize(DIGITS / "digits.onnx", calib)


def test_keeping_a_node_in_float():
    made = quantize(DIGITS / "digits.onnx", CALIB, keep_float=("/body/conv1/Conv",)).model
    first = next(n for n in made.graph.node if n.op_type == "Conv")
    constants = {t.name for t in made.graph.initializer}
    assert first.input[1] in constants
    with pytest.raises(ModelError, match="there is no node 'nowhere'"):
        quantize(DIGITS / "digits.onnx", CALIB, keep_float=("nowhere",))


def test_a_normalisation_behind_a_concatenation_is_one_layer_of_each_channel_by_itself():
    random = np.random.default_rng(5)
    drawn = lambda *shape: random.standard_normal(shape).astype(np.float32)
    arrays = {"w": drawn(8, 3, 3, 3), "v": drawn(4, 3, 1, 1), "s": drawn(12), "t": drawn(12), "m": drawn(12), "e": np.abs(drawn(12)) + 0.5,
              "u": drawn(5, 12, 1, 1)}
    make = onnx.helper
    nodes = [make.make_node("Conv", ["x", "w"], ["a"], pads=[1] * 4), make.make_node("Conv", ["x", "v"], ["b"]),
             make.make_node("Concat", ["a", "b"], ["c"], axis=1), make.make_node("BatchNormalization", ["c", "s", "t", "m", "e"], ["n"]),
             make.make_node("Relu", ["n"], ["r"]), make.make_node("Conv", ["r", "u"], ["y"])]
    values = [make.make_tensor_value_info(n, onnx.TensorProto.FLOAT, [1, c, 6, 6]) for n, c in (("x", 3), ("y", 5))]
    graph = make.make_graph(nodes, "g", values[:1], values[1:], [onnx.numpy_helper.from_array(a, n) for n, a in arrays.items()])
    model = make.make_model(graph, opset_imports=[make.make_opsetid("", 17)], ir_version=8)
    x = drawn(16, 1, 3, 6, 6)
    made = quantize(model, {"x": x})
    kinds = [n.op_type for n in made.model.graph.node]
    assert kinds.count("Conv") == 4 and not {"Mul", "Add", "BatchNormalization"} & set(kinds)
    assert [a.i for n in made.model.graph.node for a in n.attribute if a.name == "group" and a.i > 1] == [12]
    exact = np.stack([interpret(load(model), {"x": each})["y"] for each in x])
    ours = np.stack([interpret(made.graph, {"x": each})["y"] for each in x])
    assert 10 * np.log10((exact ** 2).sum() / ((exact - ours) ** 2).sum()) > 35
    theirs = np.stack([session(made.model).run(None, {"x": each})[0] for each in x])
    assert np.abs(ours - theirs).max() < 1e-4
