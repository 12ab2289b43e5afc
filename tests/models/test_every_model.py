"""Every model of `../shared/models`, `_dyn` ones over a range, compiled and judged by onnxruntime on the data there: docs/judge_models.py.

A normal run takes the small files; `pytest --long` takes all of them, and aarch64 under qemu too. A zoo elsewhere is the script's to judge.
"""

import importlib
import sys
from pathlib import Path

import pytest

from edgec.backends.emulate import missing_tools
from edgec.backends.target import find

ROOT = Path(__file__).resolve().parents[2]
MODELS = ROOT.parent / "shared" / "models"
SMALL = 64 << 10  # bytes of a file


sys.path.append(str(ROOT / "docs"))
judge = importlib.import_module("judge_models")
ALL = judge.models([MODELS])


@pytest.mark.skipif(not ALL, reason="there is no ../shared/models")
def test_every_model_is_what_onnxruntime_says(pytestconfig, tmp_path):
    everything = pytestconfig.getoption("--long")
    targets = ["native"] + (["aarch64"] if everything and not missing_tools(find("aarch64")) else [])
    chosen = [path for path in ALL if everything or path.stat().st_size <= SMALL]
    assert [path for path in chosen if path.stem.endswith("_dyn")]
    rows = [judge.judged(path, target, "0" if not everything else "1") for path in chosen for target in targets]
    assert [str(row) for row in rows if not row.good] == []


def test_a_model_that_differs_is_told_of():
    assert judge.Row("m", "native", 1e-7, 1.0).good and "1.0e-07" in str(judge.Row("m", "native", 1e-7, 1.0))
    assert not judge.Row("m", "native", 1e-2, 1.0).good and "DIFFERS" in str(judge.Row("m", "native", 1e-2, 1.0))
    assert not judge.Row("m", "native", float("nan"), 1.0, "no such operator").good
