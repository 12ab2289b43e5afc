"""`edgec bench`: rows, ratios and messages. The times themselves are nobody's business here."""

import json

import pytest

QUICK = ("--rounds", "2", "--round-seconds", "0.001")


def test_a_run_beside_onnxruntime(edgec, cache, digits, samples, tmp_path):
    result = edgec("bench", digits, *QUICK, *cache, "--inputs", samples[0], "--json", tmp_path / "times.json")
    assert result.status == 0
    lines = result.out.splitlines()
    assert "97,088 MACs" in lines[0] and [line.split("  ")[0] for line in lines[3:6]] == ["edgec", "edgec, C call", "onnxruntime"]
    facts = json.loads((tmp_path / "times.json").read_text())[0]
    rows = {row["name"]: row for row in facts["rows"]}
    assert all(len(row["rounds"]) == 2 and min(row["rounds"]) > 0 and row["peak"] > 0 for row in rows.values())
    assert rows["edgec"]["ratio"] == [1, 1, 1] and rows["edgec, C call"]["peak"] == facts["flash_bytes"] + facts["arena_bytes"]
    assert 0 < rows["onnxruntime"]["difference"] < 1e-4
    assert rows["onnxruntime"]["peak"] > 10e6


def test_without_peers(edgec, cache, digits):
    result = edgec("bench", digits, *QUICK, *cache, "--against", "none", "--threads", "2")
    assert result.status == 0 and "onnxruntime" not in result.out and len(result.out.splitlines()) == 5
    assert "2 threads" in result.out and "95 % interval" in result.out


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
