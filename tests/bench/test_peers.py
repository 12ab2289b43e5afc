"""Other runtimes: what is told about missing ones, and how arrays are brought into their layout. Only onnxruntime need be installed."""

import numpy as np
import pytest

from edgec.bench import peers
from edgec.bench.peers import PEERS, _fitted, _real, checked_peer, load_peer
from edgec.errors import ModelError, Unsupported


def test_a_missing_runtime_is_told_with_the_command_that_installs_it(monkeypatch, tmp_path):
    (tmp_path / "m.tflite").write_bytes(b"")
    monkeypatch.setattr(peers.importlib.util, "find_spec", lambda name: None)
    for peer, hint in (("openvino", "pip install openvino"), (f"litert={tmp_path}/m.tflite", "pip install ai-edge-litert")):
        with pytest.raises(Unsupported, match="is not installed") as caught:
            checked_peer(peer, str(tmp_path / "m.tflite"))
        assert hint in str(caught.value)


def test_a_model_that_a_runtime_refuses_is_told(tmp_path):
    (tmp_path / "bad.onnx").write_bytes(b"nothing")
    with pytest.raises(ModelError, match="onnxruntime cannot load"):
        load_peer("onnxruntime", str(tmp_path / "bad.onnx"), 1, ["y"])


def test_peers_are_imported_only_when_asked():
    assert {"onnxruntime", "openvino", "openvino-bf16", "ncnn", "mnn", "litert"} == set(PEERS)
    assert not {"onnxruntime", "openvino", "ncnn", "MNN"} & set(vars(peers))


def detail(shape, dtype=np.float32, quantization=(0.0, 0)):
    return {"shape": shape, "dtype": dtype, "quantization": quantization}


@pytest.mark.parametrize("shape, wanted", [((1, 3, 4, 5), (1, 4, 5, 3)), ((1, 40, 101), (1, 101, 40))])
def test_channels_are_moved_behind(shape, wanted):
    x = np.arange(np.prod(shape), dtype=np.float32).reshape(shape)
    found = _fitted(x, detail(wanted))
    assert found.shape == wanted and found.flags.c_contiguous and np.array_equal(np.moveaxis(found, -1, 1), x)
    assert _fitted(x, detail(shape)) is x


def test_quantised_tensors_are_converted_by_their_scale():
    x = np.array([[-100.0, -0.26, 0.24, 0.5, 100]], np.float32)
    one = detail((1, 5), np.int8, (0.5, 3))
    assert _fitted(x, one).tolist() == [[-128, 2, 3, 4, 127]] and _fitted(x, one).dtype == np.int8
    assert _real(np.array([2, 3, 4], np.int8), one).tolist() == [-0.5, 0.0, 0.5]
    assert _real(x, detail((1, 5))) is x


def test_a_model_in_a_peers_own_format_is_its_file(tmp_path, monkeypatch):
    model = tmp_path / "model.tflite"
    model.write_bytes(b"")
    monkeypatch.setattr("importlib.util.find_spec", lambda name: object())
    assert checked_peer("litert", str(model)) == ("litert", str(model))
    with pytest.raises(ModelError, match="needs the model in its own format"):
        checked_peer("litert", str(tmp_path / "model.onnx"))
