"""`edgec run`: arrays in, arrays out, under the names of the graph."""

import numpy as np
import pytest

from edgec.array_file import arrays_bytes, as_type, read_arrays
from edgec.errors import ModelError
from edgec.interpreter import interpret
from edgec.onnx.reader import load
from edgec.types import bf16, u16


def test_compiled_and_interpreted_agree(edgec, cache, digits, samples, tmp_path):
    expected = interpret(load(digits), {"image": samples[1]})["probabilities"]
    for extra in (cache, ("--interpret",)):
        result = edgec("run", digits, "--inputs", samples[0], "--outputs", tmp_path / "out.npz", *extra)
        assert (result.status, result.out, result.err) == (0, "", "")
        found = dict(np.load(tmp_path / "out.npz"))
        assert list(found) == ["probabilities"] and found["probabilities"].dtype == np.float32
        np.testing.assert_allclose(found["probabilities"], expected, rtol=1e-4, atol=1e-6)


def test_a_summary_is_printed_without_outputs(edgec, digits, samples):
    result = edgec("run", digits, "--inputs", samples[0], "--interpret")
    assert result.status == 0 and result.out.startswith("probabilities: float32[1, 10]\n[[")


def test_threads_compute_the_same(edgec, cache, digits, samples, tmp_path):
    for name, extra in (("one", ()), ("three", ("--threads", "3"))):
        assert edgec("run", digits, "--inputs", samples[0], "--outputs", tmp_path / f"{name}.npz", *cache, *extra).status == 0
    one, three = (np.load(tmp_path / f"{name}.npz")["probabilities"] for name in ("one", "three"))
    assert one.tobytes() == three.tobytes()
    result = edgec("run", digits, "--inputs", samples[0], "--target", "cortex-m4", "--threads", "2", *cache)
    assert result.status == 1 and "emulated here, with one thread" in result.err
    assert edgec("run", digits, "--threads", "0").status == 2


def test_symbolic_batches_have_the_size_of_the_arrays(edgec, cache, digits_dyn, tmp_path):
    image = np.random.default_rng(0).standard_normal((3, 1, 8, 8)).astype(np.float32)
    np.savez(tmp_path / "in.npz", image=image)
    result = edgec("run", digits_dyn, "--bind", "N=1..4", "--inputs", tmp_path / "in.npz", "--outputs", tmp_path / "out.npz", *cache)
    assert result.status == 0 and np.load(tmp_path / "out.npz")["probabilities"].shape == (3, 10)


@pytest.mark.parametrize("arrays, message", [
    ({}, "image"), ({"picture": np.zeros((1, 1, 8, 8), np.float32)}, "picture"), ({"image": np.zeros((1, 8, 8), np.float32)}, "image"),
    ({"image": np.zeros((1, 1, 8, 8))}, "float64"), ({"image": np.zeros((1, 1, 8, 9), np.float32)}, "shape"),
])
@pytest.mark.parametrize("how", ["compiled", "interpreted"])
def test_inputs_that_do_not_fit_are_told(edgec, cache, digits, tmp_path, arrays, message, how):
    (tmp_path / "in.npz").write_bytes(arrays_bytes(arrays))
    result = edgec("run", digits, "--inputs", tmp_path / "in.npz", "--outputs", tmp_path / "out.npz",
                   *(cache if how == "compiled" else ["--interpret"]))
    assert result.status == 1 and result.err.startswith("error: ") and message in result.err
    assert not (tmp_path / "out.npz").exists()


def test_files_that_are_no_arrays_are_told(edgec, digits, tmp_path):
    (tmp_path / "bad.npz").write_bytes(b"PK nothing")
    np.save(tmp_path / "one.npy", np.zeros(3))
    np.savez(tmp_path / "objects.npz", image=np.array([{}], object))
    for name, message in (("no.npz", "cannot read"), ("bad.npz", "neither numpy's format nor a zip"), ("one.npy", "one nameless array"), ("objects.npz", "holds Python objects")):
        result = edgec("run", digits, "--inputs", tmp_path / name)
        assert result.status == 1 and message in result.err, name


def test_outputs_that_cannot_be_written_are_told(edgec, digits, samples, tmp_path):
    (tmp_path / "file").write_text("")
    result = edgec("run", digits, "--inputs", samples[0], "--interpret", "--outputs", tmp_path / "file" / "out.npz")
    assert result.status == 1 and "cannot write" in result.err and result.err.count("\n") == 1


def test_array_files_are_the_same_bytes_and_keep_any_name(tmp_path):
    arrays = {"file": np.arange(3), "a/b:0": np.ones((2, 2), bf16.numpy), "": np.float32(2)}
    data = arrays_bytes(arrays)
    assert data == arrays_bytes(arrays)
    (tmp_path / "x.npz").write_bytes(data)
    found = read_arrays(tmp_path / "x.npz")
    assert list(found) == ["file", "a/b:0", ""] and found["a/b:0"].dtype == np.uint16 and found[""].shape == ()
    np.testing.assert_array_equal(as_type(found["a/b:0"], bf16).astype(np.float32), np.ones((2, 2)))
    assert as_type(found["a/b:0"], u16) is found["a/b:0"]
    with pytest.raises(ModelError, match="cannot read"):
        read_arrays(tmp_path / "none.npz")


@pytest.mark.parametrize("how", ["compiled", "interpreted"])
def test_what_leaves_sizes_open_is_run_for_the_arrays_at_hand(edgec, cache, tmp_path, how):
    """A shape that is an input, a sequence, and 8-bit floats that travel as their bits."""
    import onnx
    from onnx import TensorProto, helper
    nodes = [helper.make_node("Reshape", ["x", "shape"], ["r"]), helper.make_node("Cast", ["r"], ["y"], to=TensorProto.FLOAT8E4M3FN),
             helper.make_node("SequenceInsert", ["s", "x"], ["t"])]
    inputs = [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n"]), helper.make_tensor_value_info("shape", TensorProto.INT64, [2]),
              helper.make_tensor_sequence_value_info("s", TensorProto.FLOAT, None)]
    outputs = [helper.make_tensor_value_info("y", TensorProto.FLOAT8E4M3FN, None), helper.make_tensor_sequence_value_info("t", TensorProto.FLOAT, None)]
    model = helper.make_model(helper.make_graph(nodes, "g", inputs, outputs), opset_imports=[helper.make_opsetid("", 19)], ir_version=9)
    onnx.save(model, tmp_path / "model.onnx")
    x = np.float32([0, 1, -2, 0.5, 448, 9000])
    np.savez(tmp_path / "in.npz", x=x, shape=np.array([2, 3]), **{"s#0": x[:2], "s#len": np.array(1)})
    extra = cache if how == "compiled" else ("--interpret",)
    result = edgec("run", tmp_path / "model.onnx", "--inputs", tmp_path / "in.npz", "--outputs", tmp_path / "out.npz", *extra)
    assert (result.status, result.err) == (0, "")
    found = dict(np.load(tmp_path / "out.npz"))
    assert set(found) == {"y", "t#len", "t#0", "t#1"} and found["t#len"] == 2
    assert found["y"].tolist() == [[0x00, 0x38, 0xC0], [0x30, 0x7E, 0x7E]]
    np.testing.assert_array_equal(found["t#1"], x)
