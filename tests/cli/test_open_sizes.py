"""verify, bench and profile of models with ranges, computed sizes, strings and caches that grow."""
import json

import numpy as np
import onnx
import onnx.parser
import pytest

from edgec.cli import main
from edgec.drawn_inputs import drawn_inputs
from edgec.errors import ModelError
from edgec.onnx.reader import load

HEADER = '<ir_version: 9, opset_import: ["": 20]> '
MODELS = {
    "found": ("g (float[N,16] x) => (float[n] y, int64[2,n] p) { p = NonZero(x) t = Transpose(p) g = GatherND(x, t) y = Exp(g) }",
              ["--bind", "N=1..8"]),
    "words": ('g (string[3] x) => (string[3] y, string[3,n] z, int64[3] c) { y = StringConcat(x, x) z, c = StringSplit<delimiter=" ">(x) }',
              ["--bind", "z=0..8"]),
    "tiles": ("g (float[2,3] x, int64[2] r) => (float[n,m] y) { t = Tile(x, r) y = Exp(t) }", ["--bind", "r=0..5"]),
    "grows": ("g (float[1,3] x, float[P,3] past) => (float[1,3] y, float[T,3] next) {"
              " next = Concat<axis=0>(past, x) a = Constant<value: tensor=int64[1]{0}>() y = ReduceMax(next, a) }",
              ["--bind", "P=0..5", "--state", "past=next"]),
}


@pytest.fixture(params=MODELS)
def model(request, tmp_path):
    text, options = MODELS[request.param]
    onnx.save(onnx.parser.parse_model(HEADER + text), tmp_path / "model.onnx")
    return [str(tmp_path / "model.onnx"), *options, "--workers", "0", "--no-cache"]


def test_verify(model, capsys):
    assert main(["verify", *model]) == 0
    assert "same" in capsys.readouterr().out


def test_bench(model, tmp_path, capsys):
    assert main(["bench", *model, "--rounds", "1", "--round-seconds", "0.001", "--json", str(tmp_path / "times.json")]) == 0
    rows = json.loads((tmp_path / "times.json").read_text())[0]["rows"]
    assert [(row["name"], row["difference"] < 1e-5) for row in rows] == [(n, True) for n in ("edgec", "edgec, C call", "onnxruntime")]


def test_profile(model, tmp_path, capsys):
    assert main(["profile", *model, "--seconds", "0.01", "--json", str(tmp_path / "profile.json")]) == 0
    found = json.loads((tmp_path / "profile.json").read_text())
    assert found["runs"] > 0 and all(row["seconds"] >= 0 for row in found["rows"])


def graph_of(name):
    text, options = MODELS[name]
    bind = dict(options[n + 1].split("=") for n in range(0, len(options), 2) if options[n] == "--bind")
    return load(onnx.parser.parse_model(HEADER + text), bind=bind)


def test_drawn_inputs_are_at_the_largest_size_or_as_told():
    assert drawn_inputs(graph_of("found"))["x"].shape == (8, 16)
    assert drawn_inputs(graph_of("found"), sizes={"N": 3})["x"].shape == (3, 16)
    assert drawn_inputs(graph_of("tiles"))["r"].tolist() == [5, 5]
    assert drawn_inputs(graph_of("tiles"), sizes={"r": 2})["r"].tolist() == [2, 2]


@pytest.mark.parametrize("sizes, message", [({"N": 9}, "1 to 8 are possible"), ({"M": 1}, "no open dimension")])
def test_sizes_out_of_bounds(sizes, message):
    with pytest.raises(ModelError, match=message):
        drawn_inputs(graph_of("found"), sizes=sizes)


def test_a_size_on_the_command_line(tmp_path, capsys):
    onnx.save(onnx.parser.parse_model(HEADER + MODELS["found"][0]), tmp_path / "m.onnx")
    command = ["verify", str(tmp_path / "m.onnx"), "--bind", "N=1..8", "--workers", "0", "--no-cache"]
    assert main([*command, "--size", "N=2"]) == 0
    assert main([*command, "--size", "N=9"]) == 1 and "1 to 8 are possible" in capsys.readouterr().err
    assert main([*command, "--size", "two"]) == 1 and "write it as N=4" in capsys.readouterr().err


def test_nothing_is_found_in_nothing():
    from edgec.compiler import compile
    artifact = compile(graph_of("found"), workers=0)
    for count in (1, 8):
        assert artifact.run({"x": np.zeros((count, 16), np.float32)})["p"].shape == (2, 0)
