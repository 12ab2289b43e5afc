"""`edgec quantize`: the file it writes, what it prints, and what it refuses."""

import numpy as np
import onnx
import pytest

from edgec import load
from edgec.interpreter import interpret


@pytest.fixture
def calib(tmp_path, digits):
    images = np.load(digits.parent / "digits.npz")["inputs"][:16]
    np.savez(tmp_path / "calib.npz", image=images)
    np.save(tmp_path / "calib.npy", images)
    (tmp_path / "folder").mkdir()
    for n, image in enumerate(images):
        np.save(tmp_path / "folder" / f"{n:02}.npy", image[None])
    return tmp_path


def test_all_forms_of_data_give_the_same_model(edgec, digits, calib):
    written = []
    for number, form in enumerate(("calib.npz", "calib.npy", "folder")):
        result = edgec("quantize", digits, "--calib", calib / form, "-o", calib / f"{number}.onnx")
        assert result.status == 0 and "4 convolutions and matrix products" in result.out
        written.append((calib / f"{number}.onnx").read_bytes())
    assert written[0] == written[1] == written[2]
    onnx.checker.check_model(onnx.load(calib / "0.onnx"), full_check=True)


def test_the_file_stands_beside_and_runs(edgec, digits_dyn, calib, monkeypatch):
    monkeypatch.chdir(calib)
    assert edgec("quantize", digits_dyn, "--calib", "calib.npz", "--scale", "pow2", "--weights", "int8").status == 0
    graph = load("digits_dyn_int8.onnx", bind={"N": 3})
    images = np.load("calib.npz")["image"][:3]
    exact = interpret(load(digits_dyn, bind={"N": 3}), {"image": images})["probabilities"]
    assert (interpret(graph, {"image": images})["probabilities"].argmax(1) == exact.argmax(1)).all()


@pytest.mark.parametrize("arguments, message", [
    (["--calib", "nothing"], "there is no calibration data at 'nothing'"),
    (["--calib", "calib.npz", "--calibrator", "magic"], "there is no calibrator 'magic'"),
    (["--calib", "calib.npz", "--keep-float", "nobody"], "there is no node 'nobody'"),
    (["--calib", "empty"], "holds no .npz or .npy files"),
    (["--calib", "broken.npz"], "cannot read calibration data from 'broken.npz'"),
    (["--calib", "wrong.npz"], "there is no input 'picture'"),
    ([], "an integer network needs samples of the inputs"),
    (["--calib", "calib.npz", "--weights", "int3"], "an integer network has no 'int3' weights"),
    (["--calib", "calib.npz", "--block", "16"], "an integer network has no weights in blocks of 16"),
    (["--weight-only", "--weights", "int5"], "weights cannot become 'int5'"),
    (["--weight-only", "--weights", "codebook:1000"], "weights cannot become 'codebook:1000'"),
    (["--weight-only", "--rounding", "gptq"], "gptq rounding needs samples of the inputs"),
    (["--weight-only", "--weights", "codebook:8", "--block", "16"], "a codebook has no blocks"),
    (["--weight-only", "--min-sqnr", "30"], "a budget chooses between fewer bits and 8"),
    (["--weight-only", "--max-drop", "1%"], "--max-drop chooses the bits of activations"),
    (["--weight-only", "--keep-float", "nobody"], "there is no node 'nobody'"),
])
def test_what_cannot_be_quantized_is_told(edgec, digits, calib, monkeypatch, arguments, message):
    monkeypatch.chdir(calib)
    (calib / "empty").mkdir()
    (calib / "broken.npz").write_bytes(b"no zip")
    np.savez("wrong.npz", picture=np.zeros((4, 1, 8, 8), np.float32))
    result = edgec("quantize", digits, *arguments, "-o", "out.onnx")
    assert result.status == 1 and message in result.err and not (calib / "out.onnx").exists()


def test_a_budget_prints_its_table(edgec, digits, calib, monkeypatch):
    monkeypatch.chdir(calib)
    np.save("classes.npy", np.load(digits.parent / "digits.npz")["labels"][:16])
    result = edgec("quantize", digits, "--calib", "calib.npz", "--min-sqnr", "50", "-o", "better.onnx")
    assert result.status == 0 and "layer" in result.out and "Gemm" in result.out and "there are no labels" in result.out
    assert float(result.out.split("SQNR ")[-1].split()[0]) >= 50
    result = edgec("quantize", digits, "--calib", "calib.npz", "--labels", "classes.npy", "--max-drop", "0.5%", "-o", "half.onnx")
    assert result.status == 0 and "accuracy lost 0.00 %" in result.out
    assert edgec("quantize", digits, "--calib", "calib.npz", "--labels", "classes.npy").status == 1
    assert edgec("quantize", digits, "--calib", "calib.npz", "--max-drop", "much").status == 2


def test_a_budget_by_a_search_from_the_ends(edgec, digits, calib):
    result = edgec("quantize", digits, "--calib", calib / "calib.npz", "--min-sqnr", "50", "--search", "ends", "-o", calib / "ends.onnx")
    assert result.status == 0 and float(result.out.split("SQNR ")[-1].split()[0]) >= 50
    assert "f32" in result.out or "16" in result.out


def test_a_budget_of_weights_tells_the_bits(edgec, digits, calib):
    bits = {}
    for least in ("1", "200"):
        result = edgec("quantize", digits, "--weight-only", "--weights", "int4", "--calib", calib / "calib.npz", "--rounding", "gptq",
                       "--eight-bits", "1%", "--min-sqnr", least, "-o", calib / "out.onnx")
        assert result.status == 0 and "on samples that were held back: SQNR" in result.out
        bits[least] = float(result.out.split(" bits a weight")[0].split()[-1])
    assert 4 <= bits["1"] < 4.5 and bits["200"] == 8


def test_weights_alone(edgec, digits, calib):
    sizes = {}
    for kind in ("int8", "int4", "codebook:8"):
        result = edgec("quantize", digits, "--weight-only", "--weights", kind, "--calib", calib / "calib.npz", "--rounding", "gptq",
                       "-o", calib / "out.onnx")
        assert result.status == 0 and "SNR (dB)" in result.out
        onnx.checker.check_model(onnx.load(calib / "out.onnx"), full_check=True)
        sizes[kind] = (calib / "out.onnx").stat().st_size
    assert sizes["int4"] < sizes["int8"] < digits.stat().st_size
    assert edgec("quantize", digits, "--weight-only", "-o", calib / "plain.onnx").status == 0


def test_dynamic_needs_no_data(edgec, digits, calib):
    assert edgec("quantize", digits, "--dynamic", "-o", calib / "dynamic.onnx").status == 0
    assert "DynamicQuantizeLinear" in {n.op_type for n in onnx.load(calib / "dynamic.onnx").graph.node}
    result = edgec("quantize", digits, "--dynamic", "--calib", calib / "calib.npz", "-o", calib / "no.onnx")
    assert result.status == 1 and "looks at no data" in result.err and not (calib / "no.onnx").exists()


def test_layers_may_stay_float_for_speed(edgec, digits, calib):
    result = edgec("quantize", digits, "--calib", calib / "calib.npz", "--faster-on", "cortex-m4", "-o", calib / "fast.onnx")
    assert result.status == 0 and "cycles in integers" in result.out
    assert "of 4 layers are predicted to be faster in f32 on cortex-m4" in result.out
    refused = edgec("quantize", digits, "--calib", calib / "calib.npz", "--faster-on", "z80", "-o", calib / "none.onnx")
    assert refused.status == 1 and "unknown target 'z80'" in refused.err and not (calib / "none.onnx").exists()
