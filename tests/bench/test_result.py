"""Results: ratios round by round, the best peer, differences of outputs, and plain data there and back."""

import json
from types import SimpleNamespace

import numpy as np
import pytest

from edgec.bench.race import Lane
from edgec.bench.result import BenchResult, Row, result_of
from edgec.bench.run import difference, rows_of
from edgec.bench.worker import Lost, Report

OURS = Row("edgec", (1e-3, 2e-3, 1e-3))
CALL = Row("edgec, C call", (1e-3, 1e-3, 1e-3))


def result(*rows):
    return BenchResult("m", "native", 10**6, 1.0, 10, 9, 100, 1, 1e11, (OURS, CALL, *rows))


def test_ratios_are_taken_round_by_round():
    slow = Row("x", (2e-3, 2e-3, 3e-3), difference=np.nan)
    assert slow.ratio(OURS) == (2, 1, 3)
    row = result(slow).table().splitlines()[5].split()
    assert row[6:10] == ["2.00", "1.00", "to", "3.00"] and row[-1] == "nan"


def test_the_best_is_the_fastest_that_is_right():
    right, wrong, layout = Row("a", (3e-3,)), Row("b", (1e-3,), difference=0.02), Row("c", (1e-3,), difference=np.nan)
    lost, other = Row("d", (), reason="fell"), Row("e", (1e-4,))
    found = result(right, wrong, layout, lost, other)
    assert found.best("abcd") is right and found.best("abcde") is other and found.best("bcd") is None
    assert found.table().endswith("d: fell") and found.table().splitlines()[8].split() == ["d", *"-" * 10]


def test_plain_data_there_and_back():
    before = result(Row("a", (3e-3, 4e-3, 3e-3), 0.1, 20, 1e-6), Row("d", (), difference=np.nan, reason="fell"))
    after = result_of(json.loads(json.dumps(before.facts())))
    assert after.rows[:3] == before.rows[:3] and np.isnan(after.rows[3].difference) and after.rows[3].reason == "fell"
    assert (after.macs, after.peak, after.model, after.threads) == (before.macs, before.peak, before.model, before.threads)


@pytest.mark.parametrize("found, expected", [
    ([1.0, 2.0], 0.0), ([1.0, 2.5], 0.25), ([[[1.0, 2.0]]], 0.0), ([1.0], np.nan), ([[1.0], [2.0], [3.0]], np.nan),
])
def test_differences_are_relative_and_ignore_sizes_of_one(found, expected):
    assert difference({"p": np.array(found)}, {"y": np.array([[1.0, 2.0]])}) == pytest.approx(expected, nan_ok=True)


def test_outputs_missing_is_a_difference():
    assert np.isnan(difference({}, {"y": np.ones(1)}))


def test_a_compiled_model_that_fails_ends_the_run():
    with pytest.raises(Lost, match="fell"):
        rows_of([Lane("edgec", reason="fell")], None)


def test_outputs_are_judged_by_those_expected():
    """The compiled model as well: of networks of integers, by the f32 network."""
    lane = lambda name, y: Lane(name, Report(0.1, 1, {"y": np.array(y)}, ("run", "call")), {"run": [1e-3], "call": [1e-3]})
    lanes, sizes = [lane("edgec", [4.0, 2.2]), lane("a", [4.0, 3.2])], SimpleNamespace(flash_bytes=1, arena_bytes=1)
    ours, _, theirs = rows_of(lanes, sizes, allowed=0.2, expected={"y": np.array([4.0, 2.0])})
    assert ours.difference == pytest.approx(0.05) and theirs.difference == pytest.approx(0.3) and ours.right and not theirs.right
    ours, _, theirs = rows_of(lanes, sizes, allowed=0.3)
    assert ours.difference == 0 and theirs.difference == pytest.approx(0.25) and theirs.right
