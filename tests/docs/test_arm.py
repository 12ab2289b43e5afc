"""docs/arm.md: its section of integers is replaced alone, and says that what is aimed at is reached."""

import runpy
import shutil
from pathlib import Path

import pytest

from edgec.backends.emulate import missing_tools
from edgec.backends.target import find

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "arm.md").read_text(encoding="utf-8")
AIMS = {("mlperf_ic_resnet8", "cortex-m4"): (3, 2.0), ("mlperf_ic_resnet8", "cortex-m55"): (3, 0.6),    # per multiply-add
        ("mobilenetv2_100_224_ptqw8", "cortex-a76"): (2, 50.0), ("mobilenetv2_100_224_ptqw8", "aarch64"): (2, 98.0)}    # million


@pytest.fixture(scope="module")
def integers():
    return runpy.run_path(str(ROOT / "docs" / "arm_integers.py"))


def table(section):
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in section.splitlines() if line.startswith("| m")][1:]


def test_a_row_is_a_line_of_the_table(integers):
    section = integers["section"]([integers["Row"]("mnet", "cortex-m4", 3_000_000, 2_000_000, 1500, 20_000)])
    assert table(section) == [["mnet", "cortex-m4", "3.0", "1.500", "1.5", "20.0"]]


def test_the_rows_of_one_machine_are_replaced_alone(integers):
    old = integers["parts"](PAGE)[1]
    assert table(integers["section"]([], old)) == table(old)
    pair = (integers["LARGE"], "cortex-a710")
    new = integers["section"]([integers["Row"](*pair, 1_000_000, 2_000_000, 1500, 20_000)], old)
    before, after = table(old), table(new)
    assert [row for row in after if (row[0], row[1]) != pair] == [row for row in before if (row[0], row[1]) != pair]
    assert [*pair, "1.0", "0.500", "1.5", "20.0"] in after and f"| {integers['FORMS']['cortex-a710']} | cortex-a710 | 0.500 |" in new


def test_the_section_is_replaced_alone(integers):
    floats, section = integers["parts"](PAGE)
    assert floats + section == PAGE and section.startswith("\n## Integers\n") and "## Hot loops" in floats
    assert integers["parts"](floats) == (floats, "")


def test_every_model_is_counted_and_what_is_aimed_at_is_reached(integers):
    rows = {(row[0], row[1]): row for row in table(integers["parts"](PAGE)[1])}
    assert tuple(rows) == integers["COUNTED"]
    for pair, (column, most) in AIMS.items():
        assert float(rows[pair][column]) <= most, pair


@pytest.mark.skipif(bool(missing_tools(find("cortex-m4"))), reason="no emulator of Cortex-M here")
def test_counting(integers):
    row = integers["count"]("digits", ROOT / "testdata" / "digits" / "digits.onnx", "cortex-m4")
    assert row.macs < row.instructions < 20 * row.macs and 0 < row.code_bytes < row.flash_bytes


def test_the_shares_of_one_core_are_measured_alone():
    """What the page says of other cores is kept, in whatever order the columns stand."""
    known = runpy.run_path(str(ROOT / "docs" / "measure_arm.py"))["known_shares"]
    page = "## Hot loops\n\n| model | b | a |\n|---|---|---|\n| net | 90% | 80% |\n\n## Next\n\n| net | 1 | 2 |\n"
    assert known(page) == {("net", "b"): "90%", ("net", "a"): "80%"} and known("") == {}


@pytest.mark.skipif(not shutil.which("llvm-mca-22"), reason="no llvm-mca here")
def test_loops_by_hand_show_what_can_be_reached():
    by_hand = runpy.run_path(str(ROOT / "docs" / "in_order_loops.py"))
    assert by_hand["share"](by_hand["rows"], 1) < by_hand["share"](by_hand["rows"], 4) > 0.84
    assert by_hand["share"](by_hand["blocked"], 2) > 0.86
    assert by_hand["share"](by_hand["eight"], 2) > 0.88
