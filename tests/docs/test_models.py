"""docs/models.md: written from docs/models.json alone; how samples are chosen and differences are judged by docs/judge_models.py."""

import importlib
import json
import runpy
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

DOCS = Path(__file__).resolve().parents[2] / "docs"
DIGITS = DOCS.parent / "testdata" / "digits" / "digits.onnx"
PAGE = runpy.run_path(str(DOCS / "judge_page.py"))["page"]


@pytest.fixture
def script(monkeypatch):
    """A module of docs/, by name."""
    monkeypatch.syspath_prepend(str(DOCS))
    return importlib.import_module


def found(difference, problem="", runs=6):
    return {"difference": difference, "kind": "real", "problem": problem, "runs": runs}


def test_the_page_is_that_of_the_stored_rows():
    facts = json.loads((DOCS / "models.json").read_text(encoding="utf-8"))
    assert PAGE(facts) == (DOCS / "models.md").read_text(encoding="utf-8"), "python docs/judge_models.py --page-only"


def test_every_stored_model_that_was_run_is_within_the_bound():
    facts = json.loads((DOCS / "models.json").read_text(encoding="utf-8"))
    assert facts and [n for n, e in facts.items() for row in e["targets"].values() if not row["problem"] and not row["difference"] <= 1e-4] == []


def test_rows_of_the_page():
    page = PAGE({"zoo/b": {"bytes": 2000, "targets": {"native": found(3e-4), "aarch64": found(None, "not within 360 s", 0) | {"kind": ""}}},
                 "shared/a": {"bytes": 5000, "targets": {"native": found(1e-6)}}})
    rows = [line for line in page.splitlines() if line.startswith("|")]
    assert rows[2:] == ["| a | shared | 5 | 1.0e-06 | not measured | 6 real |", "| b | zoo | 2 | **3.0e-04** | not within 360 s | 6 real |"]
    assert "native: 1 of 2 models are within 1e-04, the largest 3.0e-04.  " in page and "aarch64: 0 of 2 models are within 1e-04.  " in page


def test_integers_and_what_is_not_a_number_must_be_the_same(script):
    difference = script("judge_models").difference
    large, ones = np.array([100_000, 3]), np.ones(2, np.float32)
    assert difference({"y": large}, {"y": large}) == 0.0 and difference({"y": large}, {"y": large + 1}) == np.inf
    assert difference({"y": ones}, {"y": np.array([1, np.nan], np.float32)}) == np.inf
    assert difference({"y": ones}, {"y": np.array([1, 1.5], np.float32)}) == 0.5


def test_samples_are_drawn_where_there_is_no_data(script):
    import onnxruntime

    import edgec
    session, graph = onnxruntime.InferenceSession(str(DIGITS)), edgec.load(DIGITS)
    given = script("judge_samples").chosen(DIGITS, graph, session)
    assert given.kind == "drawn" and [{n: a.shape for n, a in s.items()} for s in given.samples] == [{v.name: v.shape for v in graph.inputs}]


def test_models_with_an_open_batch_get_some_samples_at_once(script):
    rows = [{"x": np.full((1, 2), n)} for n in range(20)]
    sizes = [len(s["x"]) for s in script("judge_samples").batches(rows)]
    assert sizes == [1, 1, 2, 2] and [s["x"][-1, 0] for s in script("judge_samples").batches(rows)] == [0, 3, 11, 19]


def test_real_samples_are_those_of_the_data(script):
    samples = script("judge_samples")
    path = samples.SHARED / "models" / "skl_iris_logreg_dyn.onnx"
    if not path.exists():
        pytest.skip("there is no ../shared/models")
    session = SimpleNamespace(get_inputs=list)
    assert len(samples.real(path, session)) == 53 and samples.chosen(path, SimpleNamespace(symbols=["N"]), session).kind == "real"
    assert samples.real(Path("elsewhere") / path.name, session) == []


def test_rows_are_kept_and_time_is_limited(script, monkeypatch, tmp_path, capsys):
    judge = script("judge_models")
    (tmp_path / "one.onnx").write_bytes(DIGITS.read_bytes())
    monkeypatch.setattr(judge, "STORE", tmp_path / "models.json")
    monkeypatch.setattr(judge, "PAGE", tmp_path / "models.md")
    monkeypatch.setattr(sys, "argv", ["judge_models.py", str(tmp_path), "--targets", "native", "--keep"])
    assert judge.main() == 0 and "one " in capsys.readouterr().out
    stored = json.loads((tmp_path / "models.json").read_text())
    assert stored["zoo/one"]["targets"]["native"]["runs"] == 1 and "| one | zoo |" in (tmp_path / "models.md").read_text()
    monkeypatch.setattr(sys, "argv", [*sys.argv, "--missing"])
    assert judge.main() == 0 and capsys.readouterr().out == ""
    assert judge.judged_within(0.0, tmp_path / "one.onnx", "native").problem == "not within 0 s"
