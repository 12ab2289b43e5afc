"""`edgec bench`: rows, ratios and messages. The times themselves are nobody's business here."""

import json

import numpy as np
import pytest

from edgec import bench_peers
from edgec.bench import BenchResult, Row, _rounds
from edgec.bench_peers import PEERS, load_peer
from edgec.errors import ModelError, Unsupported

QUICK = ("--rounds", "2", "--round-seconds", "0.001")


def test_a_run_beside_onnxruntime(edgec, cache, digits, samples, tmp_path):
    result = edgec("bench", digits, *QUICK, *cache, "--inputs", samples[0], "--json", tmp_path / "times.json")
    assert result.status == 0
    lines = result.out.splitlines()
    assert "97,088 MACs" in lines[0] and [line.split("  ")[0] for line in lines[3:6]] == ["edgec", "edgec, C call", "onnxruntime"]
    facts = json.loads((tmp_path / "times.json").read_text())[0]
    rows = {row["name"]: row for row in facts["rows"]}
    assert all(len(row["rounds"]) == 2 and row["seconds"] > 0 and row["peak"] > 0 for row in rows.values())
    assert rows["edgec"]["ratio"] == [1, 1, 1] and rows["edgec, C call"]["peak"] == facts["flash_bytes"] + facts["arena_bytes"]
    assert 0 < rows["onnxruntime"]["difference"] < 1e-4
    assert rows["onnxruntime"]["peak"] > 10e6


def test_without_peers(edgec, cache, digits):
    result = edgec("bench", digits, *QUICK, *cache, "--against", "none", "--no-memory")
    assert result.status == 0 and "onnxruntime" not in result.out and len(result.out.splitlines()) == 5


def test_no_model_is_told(edgec, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = edgec("bench")
    assert result.status == 1 and result.err == "error: no model given\n  hint: edgec bench model.onnx\n"


@pytest.mark.parametrize("arguments, message", [
    (["--against", "tvm"], "unknown peer 'tvm'"), (["--against", "mnn"], "mnn needs the model in its own format\n  hint: --against mnn=model.mnn"),
    (["--against", "ncnn=no.param"], "there is no file 'no.param' for ncnn"), (["--target", "cortex-m4"], "cortex-m4 cannot run on this computer"),
])
def test_what_cannot_be_is_told(edgec, digits, arguments, message):
    result = edgec("bench", digits, *QUICK, *arguments)
    assert result.status == 1 and message in result.err


def test_a_missing_runtime_is_told_with_the_command_that_installs_it(monkeypatch, tmp_path):
    (tmp_path / "m.tflite").write_bytes(b"")

    def missing(name):
        raise ImportError(name)
    monkeypatch.setattr(bench_peers.importlib, "import_module", missing)
    for peer, hint in (("openvino", "pip install openvino"), (f"litert={tmp_path}/m.tflite", "pip install ai-edge-litert")):
        with pytest.raises(Unsupported, match="is not installed") as caught:
            load_peer(peer, str(tmp_path / "m.tflite"), 1, ["y"])
        assert hint in str(caught.value)


def test_a_model_that_a_runtime_refuses_is_told(tmp_path):
    (tmp_path / "bad.onnx").write_bytes(b"nothing")
    with pytest.raises(ModelError, match="onnxruntime cannot load"):
        load_peer("onnxruntime", str(tmp_path / "bad.onnx"), 1, ["y"])


def test_peers_are_imported_only_when_asked():
    assert {"onnxruntime", "openvino", "ncnn", "mnn", "litert"} == set(PEERS)
    assert not {"onnxruntime", "openvino", "ncnn", "MNN"} & set(vars(bench_peers))


def test_rounds_go_around_all_calls():
    order = []
    times = _rounds([lambda: order.append("a"), lambda: order.append("b")], 2, 0.0)
    assert [len(t) for t in times] == [2, 2]
    groups = "".join(c for n, c in enumerate(order[2:]) if n == 0 or order[2:][n - 1] != c)
    assert order[:2] == ["a", "b"] and groups == "abab"


def test_ratios_are_taken_round_by_round():
    result = BenchResult("m", "native", 10**6, 1.0, 0, 0, 0, 1, 1e11, (Row("edgec", (1e-3, 2e-3, 1e-3), 0, 0), Row("x", (2e-3, 2e-3, 3e-3), 0, 0, np.nan)))
    assert result.ratio(result.rows[1]) == (2, 1, 3)
    row = result.table().splitlines()[4].split("  ")
    assert "2.00" in row[-5] or "2.00" in " ".join(row) and "1.00 to 3.00" in " ".join(row) and "nan" in row[-1]
