"""What the golden texts of this folder must show, whatever they are blessed to."""

import re
from pathlib import Path

import pytest

FILES = sorted(Path(__file__).parent.glob("*.edge"))
LOOPS = [path for path in FILES if path.read_text(encoding="utf-8").startswith("# command: loops")]


def expected(path: Path) -> str:
    return path.read_text(encoding="utf-8").partition("# gives\n")[2]


def test_the_chosen_kernels_are_there():
    assert len(LOOPS) == 12 and len(FILES) == 13


@pytest.mark.parametrize("path", LOOPS, ids=lambda path: path.stem)
def test_no_test_or_choice_stands_in_a_loop(path):
    """Borders are peeled tiles and bounds of loops."""
    assert not re.search(r"\b(inside|select)\(|^\s*if ", expected(path), re.MULTILINE)


@pytest.mark.parametrize("path", LOOPS, ids=lambda path: path.stem)
def test_texts_do_not_depend_on_what_was_compiled_before(path):
    """Variables are numbered as they appear; the counters behind them have run on here."""
    from edgec.edge_file import actual
    assert actual(path) == actual(path) == path.read_text(encoding="utf-8")


def test_multiply_adds_are_most_of_the_hot_loop():
    lines = expected(Path(__file__).parent / "neon_convolution.edge").splitlines()
    counts = {name: int(count) for count, name in map(str.split, lines)}
    assert counts["fmla"] >= 0.8 * sum(counts.values())
    assert not {"dup", "fmul"} & set(counts)  # scalars come by lane
    assert sum(counts.get(name, 0) for name in ("str", "stp")) <= 1  # accumulators stay in registers
