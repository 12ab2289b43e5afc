"""The section on half precision of docs/arm.md: made of emulated runs alone, and replaced without touching the rest of the page."""

import importlib.util
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest

from edgec.backends.emulate import missing_tools
from edgec.backends.target import find

DOCS = Path(__file__).resolve().parents[2] / "docs"
DIGITS = DOCS.parent / "testdata" / "digits" / "digits.onnx"


def script(name: str):
    spec = importlib.util.spec_from_file_location(name, DOCS / f"{name}.py")
    module = sys.modules[name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


HALVES = script("measure_halves")


def rows():
    return [HALVES.Row(*each, 1e6 * (n + 1), n / 1000) for n, each in enumerate(HALVES.RUNS)]


def test_every_run_is_in_the_table():
    lines = HALVES.section(rows())
    assert lines[1] == f"| {' | '.join(HALVES.RUNS[0])} | 1.0 | 0.0e+00 |" and len(lines) == len(HALVES.RUNS) + 1


def test_the_page_is_three_sections_that_are_written_anew_one_by_one():
    arm, integers = script("measure_arm"), script("arm_integers")
    floats, _ = integers.parts((DOCS / "arm.md").read_text(encoding="utf-8"))
    counted, shares, halves = arm.sections(floats)
    assert "\n".join([counted, shares, halves]) + "\n" == floats
    assert shares.startswith("\n## Hot loops\n") and halves.startswith(f"\n{HALVES.TITLE}\n") and "##" not in counted


def test_difference_is_of_the_largest_output():
    expected = {"a": np.array([1.0, -4.0]), "b": np.array([10.0])}
    assert HALVES.difference({"a": np.array([1.0, -3.0]), "b": np.array([9.0])}, expected) == 0.25


@pytest.mark.skipif(bool(missing_tools(find("cortex-a76"))), reason="nothing to emulate the processor with")
def test_a_run_counts_and_compares(tmp_path):
    shutil.copy(DIGITS, tmp_path / "digits.onnx")
    plain, halves = (HALVES.run(tmp_path, "digits", "cortex-a76", precision) for precision in ("f32", "f16"))
    assert plain.difference < 1e-5 < halves.difference < 0.05
    assert plain.instructions > 10_000 and halves.instructions > 10_000
