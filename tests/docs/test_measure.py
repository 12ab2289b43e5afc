"""docs/benchmarks.md: written from the stored numbers alone, and the measuring goes on where it was left."""

import json
import runpy
import sys
from pathlib import Path

import pytest

DOCS = Path(__file__).resolve().parents[2] / "docs"
MEASURE = str(DOCS / "measure.py")
DIGITS = DOCS.parent / "testdata" / "digits" / "digits.onnx"


def row(name, milliseconds, difference=0.0, reason="", rounds=6):
    times = [] if reason else [milliseconds / 1e3] * rounds
    return {"name": name, "rounds": times, "load": 0.1, "peak": 50_000_000, "difference": difference, "reason": reason}


def result(model, threads, *rows):
    return {"model": model, "target": "native", "macs": 1_000_000, "compile_seconds": 0.5, "arena_bytes": 1000, "live_bytes": 900,
            "flash_bytes": 20_000, "threads": threads, "peak": 1e11, "rows": [row("edgec", 1.0), row("edgec, C call", 0.9), *rows]}


@pytest.fixture
def facts():
    """Two models and a variant of one: a peer that is behind, one that is wrong, one that fell, and 16-bit runners."""
    sixteen = [row("openvino-bf16", 0.6, 0.004), row("edgec-bf16", 0.5, 0.003)]
    first = result("tcn", 1, row("onnxruntime", 2.0), row("openvino", 1.6), row("ncnn", 0.5, 0.5), row("mnn", 0, None, "it fell"), *sixteen)
    second = result("gru", 1, row("onnxruntime", 0.85), row("openvino", 120.0))
    integers = {"tcn": result("tcn", 1, row("openvino", 1.6, 0.2) | {"allowed": 0.3}), "gru": result("gru", 1, row("onnxruntime", 0.5))}
    third = result("tcn_b8", 2, row("onnxruntime", 3.0))
    return {"machine": "a computer", "integers": integers, "versions": {"onnxruntime": "1.0", "ncnn": "2.0"}, "instructions": [
        {"model": "tcn", "target": "cortex-m4", "macs": 1000, "instructions": 2_000_000, "arena_bytes": 1, "stack_bytes": 2, "flash_bytes": 3}],
        "models": {"tcn": {"cold": 4.2, "threads": {"1": first}}, "gru": {"cold": 1.0, "threads": {"1": second}},
                   "tcn_b8": {"cold": 1.0, "threads": {"2": third}}}}


@pytest.fixture
def page(facts):
    return runpy.run_path(str(DOCS / "measure_page.py"))["page"](facts)


def lines_below(page, title):
    return page.partition(f"## {title}\n\n")[2].partition("\n## ")[0].splitlines()


def test_a_row_of_latencies(page):
    lines = lines_below(page, "Latency, one thread")
    assert lines[0] == "| model | MMAC | edgec | C call | onnxruntime | openvino | ncnn | mnn | best peer | best peer / edgec | GFLOP/s | of peak |"
    assert lines[2] == "| tcn | 1.0 | 1 | 0.9 | 2 | **1.6** | 0.5 ✗ | – | openvino | 1.60 (1.60 to 1.60) | 2.0 | 2% |"
    assert lines[3] == "| gru | 1.0 | 1 | 0.9 | **0.85** | 120 | – | – | onnxruntime | 0.85 (0.85 to 0.85) | 2.0 | 2% |"


def test_means_and_models_that_are_behind(page):
    lines = lines_below(page, "Latency, one thread")
    assert "Geometric mean of best peer / edgec over 2 models: **1.17**." in lines  # the root of 1.6 * 0.85
    assert "Whole interval below 1.0: gru." in lines and "Whole interval below 0.9: gru." in lines
    assert "Against each: onnxruntime 1.30 over 2, openvino 13.86 over 2, ncnn –, mnn –." in lines
    assert "- tcn: mnn: it fell" in lines


def test_shapes_and_threads_have_tables_of_their_own(page):
    assert "tcn_b8" not in "".join(lines_below(page, "Latency, one thread")) and "## Latency, two threads" not in page
    assert lines_below(page, "Other shapes, two threads")[2].startswith("| tcn_b8 | 1.0 | 1 | 0.9 | **3** | onnxruntime | 3.00")


def test_16_bit_arithmetic(page):
    lines = lines_below(page, "16-bit arithmetic, one thread")
    assert lines[2] == "| tcn | 1 | 0.5 | 0.6 | 1.20 (1.20 to 1.20) | 3.0e-03 | 4.0e-03 |" and len(lines) > 4
    assert "Geometric mean of openvino / edgec over 1 models: **1.20**." in lines and "Whole interval below 1.0: none." in lines


def test_integers_have_a_table_and_recurrent_ones_another(page):
    assert "| tcn | 1.0 | 1 | 0.9 | **1.6** | openvino | 1.60 (1.60 to 1.60) | 2.0 | 2% |" in lines_below(page, "Integers (8 bits), one thread")
    assert lines_below(page, "Integers, recurrent networks, one thread")[2].startswith("| gru | 1.0 | 1 | 0.9 | **0.5** |")


def test_files_of_integer_peers(tmp_path):
    names = runpy.run_path(str(DOCS / "measure_speed.py"))
    for name in ("net.onnx", "net_ort_int8.onnx", "net_int8.tflite"):
        (tmp_path / name).write_bytes(b"")
    assert names["Places"](tmp_path, tmp_path).integer_peers("net") == [f"onnxruntime={tmp_path / 'net_ort_int8.onnx'}"]


def test_memory_compile_times_and_instructions(page):
    assert "| tcn | 1.0 | 0.9 | 20.0 | 50 | 50 | 50 | 50 | 50 |" in page
    assert "| gru | 1.0 | 0.9 | 20.0 | 50 | 50 | 50 | – | – |" in page
    assert "| tcn | 4.2 | 0.5 |" in page and "| tcn | cortex-m4 | 2.0 | 2000.00 | 0.0 | 2 | 0.0 |" in page


def test_a_stored_page_is_the_page_of_the_stored_numbers():
    write = runpy.run_path(str(DOCS / "measure_page.py"))["page"]
    for store in DOCS.glob("benchmarks*.json"):
        facts = json.loads(store.read_text(encoding="utf-8"))
        assert write(facts) == store.with_suffix(".md").read_text(encoding="utf-8"), "python docs/measure.py --page-only"


def measure(monkeypatch, capsys, *arguments):
    monkeypatch.setattr(sys, "argv", ["measure.py", *map(str, arguments)])
    runpy.run_path(MEASURE, run_name="__main__")
    return capsys.readouterr().out


def test_measuring_goes_on_where_it_was_left(monkeypatch, capsys, tmp_path):
    (tmp_path / "one.onnx").write_bytes(DIGITS.read_bytes())
    (tmp_path / "other.onnx").write_bytes(DIGITS.read_bytes())
    (tmp_path / "bad.onnx").write_bytes(b"nothing")
    common = [tmp_path, "--models", "one,other,bad,absent", "--threads", "1", "--rounds", "2", "--no-instructions", "--store", tmp_path / "n.json",
              "--page", tmp_path / "n.md"]
    first = measure(monkeypatch, capsys, *common)
    assert "one, 1 threads:" in first and "one, integers, 1 threads:" in first and "bad: " in first and "absent" not in first
    before = json.loads((tmp_path / "n.json").read_text())
    assert list(before["models"]) == list(before["integers"]) == ["one", "other"] and before["versions"]["onnxruntime"]
    assert "one," not in measure(monkeypatch, capsys, *common)
    assert json.loads((tmp_path / "n.json").read_text()) == before
    (tmp_path / "n.md").unlink()
    measure(monkeypatch, capsys, "--page-only", "--store", tmp_path / "n.json", "--page", tmp_path / "n.md")
    assert "| one | 0.1 |" in (tmp_path / "n.md").read_text()
    assert "one, 1 threads:" in measure(monkeypatch, capsys, *common, "--redo", "one")


def test_stored_numbers_hold_no_folder_of_the_machine(tmp_path):
    short = runpy.run_path(str(DOCS / "measure_speed.py"))["_short"]
    assert short({"reason": f"cannot load {tmp_path}/a.param: no"}) == {"reason": "cannot load a.param: no"}
    assert short(["ratio 1/2", 0.123456]) == ["ratio 1/2", 0.1235]
