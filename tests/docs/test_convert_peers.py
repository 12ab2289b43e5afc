"""docs/convert_peers.py, with stand-ins for the converters: what they are asked for, where their files go, and what is told."""

import runpy
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from onnx import TensorProto, helper, save

SCRIPT = str(Path(__file__).resolve().parents[2] / "docs" / "convert_peers.py")


@pytest.fixture
def script(monkeypatch):
    """The script's functions by name; setting an attribute changes what they see."""
    names = runpy.run_path(SCRIPT)
    return SimpleNamespace(names=names, set=lambda name, value: monkeypatch.setitem(names["main"].__globals__, name, value))


@pytest.fixture
def zoo(tmp_path):
    """A folder with one model of two inputs."""
    inputs = [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 3, 8]), helper.make_tensor_value_info("i", TensorProto.INT64, [1, 4])]
    output = helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 3, 8])
    (tmp_path / "zoo").mkdir()
    graph = helper.make_graph([helper.make_node("Relu", ["x"], ["y"])], "g", inputs, [output])
    save(helper.make_model(graph), tmp_path / "zoo" / "net.onnx")
    return tmp_path / "zoo"


def converters(made):
    """A stand-in for running a command: it notes the command, and writes the files that `made` names."""
    commands = []

    def run(command, folder):
        commands.append(list(map(str, command)))
        target = command[command.index("--MNNModel") + 1] if "--MNNModel" in command else None
        if "quantize_for_peers.py" in str(command[1]):
            target = Path(command[-1])
            samples = dict(np.load(command[-2]))
            assert samples["x"].shape == (16, 1, 3, 8) and (samples["x"][0] != samples["x"][1]).any() and set(samples["i"].flat) <= {0, 1}
            for path in (target, target.with_suffix(".bin"))[: made.count(target.name) * (2 if target.suffix == ".xml" else 1)]:
                path.write_text(path.name)
            return "the last line"
        for name in [name for name in made if not name.startswith("made")]:
            (Path(target) if name == "mnn" and target else Path(folder, name)).write_text(name)
        return "the last line"
    return run, commands


def convert(script, monkeypatch, zoo, files, *options):
    monkeypatch.setattr(sys, "argv", ["convert_peers.py", str(zoo), str(files), *options])
    script.names["main"]()


@pytest.fixture
def pnnx(script):
    """As if pnnx were installed in an interpreter of its own."""
    script.set("tool", lambda package, files, *options: sys.executable)
    script.set("FIND_PNNX", "print('/somewhere')")


def test_files_are_made_once(script, pnnx, zoo, tmp_path, monkeypatch, capsys):
    run, commands = converters(["model.ncnn.param", "model.ncnn.bin", "mnn", "made.onnx", "made.xml"])
    script.set("_run", run)
    convert(script, monkeypatch, zoo, tmp_path / "files")
    assert capsys.readouterr().out.splitlines() == [
        "net: ncnn converted", "net: mnn converted", "net: onnxruntime int8 quantized", "net: openvino int8 quantized"]
    assert sorted(path.name for path in (tmp_path / "files").iterdir()) == [
        "net.bin", "net.mnn", "net.param", "net_nncf_int8.bin", "net_nncf_int8.xml", "net_ort_int8.onnx"]
    assert commands[0][1:] == ["model.onnx", "inputshape=[1,3,8],[1,4]i64", "fp16=0"] and str(zoo / "net.onnx") in commands[1]
    convert(script, monkeypatch, zoo, tmp_path / "files", "--models", "net")
    assert len(commands) == 4


def test_a_model_that_is_refused_is_told(script, pnnx, zoo, tmp_path, monkeypatch, capsys):
    script.set("_run", converters(["model.ncnn.param"])[0])
    convert(script, monkeypatch, zoo, tmp_path / "files")
    assert capsys.readouterr().out.splitlines() == [
        f"net: {kind} refused: the last line" for kind in ("ncnn", "mnn", "onnxruntime int8", "openvino int8")]
    assert not list((tmp_path / "files").iterdir())


def test_a_missing_tool_gets_an_environment_of_its_own(script, tmp_path, monkeypatch):
    made, commands = [], []
    monkeypatch.setattr(script.names["venv"], "create", lambda home, with_pip: made.append((home, with_pip)))
    monkeypatch.setattr(script.names["subprocess"], "run", lambda command, check: commands.append(command[1:]))
    python = script.names["tool"]("no_such_package", tmp_path, "--no-deps")
    assert made == [(tmp_path / "environment-no_such_package", True)] and str(made[0][0]) in python
    assert commands == [["-m", "pip", "install", "--quiet", "--no-deps", "no_such_package"]]
    assert script.names["tool"]("numpy", tmp_path) == sys.executable


@pytest.mark.parametrize("code, expected", [
    ("print('one'); print('two'); print()", "two"), ("import sys; sys.exit(4)", "status 4"), ("import time; time.sleep(60)", "no result after 1 s"),
])
def test_what_a_converter_said_last(script, tmp_path, code, expected):
    script.set("SECONDS", 1 if "sleep" in code else 60)
    assert script.names["_run"]([sys.executable, "-c", code], str(tmp_path)) == expected
