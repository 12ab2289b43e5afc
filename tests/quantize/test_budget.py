"""Budgets: whatever is asked for holds on the samples, and the dearest roundings go first."""

import itertools
from pathlib import Path

import numpy as np
import pytest

from edgec import load
from edgec.errors import ModelError
from edgec.interpreter import interpret
from edgec.quantize import quantize, quantize_within
from edgec.quantize.ends import mixtures
from edgec.quantize.quality import sqnr
from edgec.quantize.recipe import BYTE, FLOAT, WIDE

DIGITS = Path(__file__).parent.parent.parent / "testdata" / "digits"
DATA = np.load(DIGITS / "digits.npz")
CALIB, LABELS = DATA["inputs"][:40], DATA["labels"][:40]
EXACT = [[interpret(load(DIGITS / "digits.onnx"), {"image": x[None]})["probabilities"]] for x in CALIB]


def measured(made):
    graph = load(made.model)
    return sqnr(EXACT, [[interpret(graph, {"image": x[None]})["probabilities"]] for x in CALIB])


def test_plain_integers_where_they_are_good_enough():
    made = quantize_within(DIGITS / "digits.onnx", CALIB, min_sqnr=20.0)
    assert {row.level for row in made.rows} == {BYTE}
    assert abs(made.quality.sqnr - measured(made.quantized)) < 0.5
    assert made.quantized.model == quantize(DIGITS / "digits.onnx", CALIB).model


@pytest.mark.parametrize("wanted", [52.0, 70.0, 200.0])
def test_any_sqnr_is_met(wanted):
    made = quantize_within(DIGITS / "digits.onnx", CALIB, min_sqnr=wanted)
    assert made.quality.sqnr >= wanted and measured(made.quantized) >= min(wanted, 110.0) - 0.5
    assert {row.level for row in made.rows} != {BYTE}
    if wanted == 200.0:
        assert {row.level for row in made.rows} == {FLOAT} and not made.quantized.recipe.quantized


def test_accuracy_by_labels_and_by_agreement():
    made = quantize_within(DIGITS / "digits.onnx", CALIB, LABELS, max_drop=0.0, weight_bits=4, calibrator="moving-average")
    assert made.quality.drop <= 0
    assert quantize_within(DIGITS / "digits.onnx", CALIB, max_drop=0.0, weight_bits=4).quality.agreement == 1


@pytest.mark.parametrize("options, message", [
    ({"labels": LABELS[:3], "max_drop": 0.1}, "40 whole numbers are needed"),
    ({"labels": LABELS.astype(np.float32), "max_drop": 0.1}, "whole numbers are needed"),
    ({}, "a budget needs"),
    ({"max_drop": 0.1, "search": "luck"}, "there is no search 'luck'"),
    ({"max_drop": 3.0}, "no share between 0 and 1"),
])
def test_wrong_budgets_are_told(options, message):
    with pytest.raises(ModelError, match=message):
        quantize_within(DIGITS / "digits.onnx", CALIB, **options)


@pytest.mark.parametrize("wanted", [20.0, 55.0, 200.0])
def test_a_search_from_the_ends_meets_any_sqnr(wanted):
    made = quantize_within(DIGITS / "digits.onnx", CALIB, min_sqnr=wanted, search="ends")
    assert made.quality.sqnr >= wanted and measured(made.quantized) >= min(wanted, 110.0) - 0.5
    assert all(row.sqnr is None for row in made.rows)
    assert ({row.level for row in made.rows} == {BYTE}) == (wanted == 20.0)


def test_mixtures_rise_from_the_ends():
    recipe = quantize(DIGITS / "digits.onnx", CALIB).recipe
    found = list(mixtures(recipe))
    assert found[0] == {} and set(found[1].values()) == {WIDE} and set(found[-1].values()) == {FLOAT}
    floats = [{op for op, level in levels.items() if level == FLOAT} for levels in found]
    assert floats == sorted(floats, key=len) and all(a <= b for a, b in itertools.pairwise(floats))
    assert floats[2] == {recipe.rounded[0], recipe.rounded[-1]}


def test_accuracy_by_a_search_from_the_ends():
    made = quantize_within(DIGITS / "digits.onnx", CALIB, LABELS, max_drop=0.0, weight_bits=4, search="ends")
    assert made.quality.drop <= 0
