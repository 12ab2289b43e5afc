"""Every choice that the compiler can make for a kernel is drawn, with extents around the tile, and computes what the interpreter says.

    interpret(graph) == machine code, where this computer can run it, else the loops, interpreted
"""

import inspect
from collections import defaultdict
from dataclasses import fields
from functools import cache
from random import Random

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from edgec.compiler import OPTIONAL, PROGRAM_PASSES
from edgec.emission import emit
from edgec.interpreter import interpret
from edgec.passes.integers import integer_form
from edgec.passes.schedule import Schedule
from edgec.passes.winograd import winograd
from edgec.testing.arrows import run_tiled
from edgec.testing.bounds import error_bounds
from edgec.testing.graphs import whole_inputs
from edgec.testing.quantized import byte_inputs
from edgec.testing.schedule_choices import DOT_PRODUCTS, FAMILIES, compiled_case, drawn_case, first_target

SEEDS = 12
LARGEST = 1e-4  # of the largest output: what Winograd, sums in f16 and recurrent cells may be off
SUMS = {"DequantizeLinear", "TensorScatter", "ScatterElements"}  # of whole numbers here, which are exact
CELLS = {"LSTM", "GRU"}

# The values that each field of a schedule takes, as edgec.testing.schedule_choices.of_schedule names them.
VALUES = {
    "vector": ("scalars", "columns of scalars", "vectors", "update"),
    "segments": ("masked", "pieces", "whole vectors", "one vectors a tile", "several vectors a tile"),
    "reduce_vector": ("none", "alone", "with columns"), "row": ("True", "False"), "rows": ("one", "several"), "outer": ("True", "False"),
    "middle": ("True", "False"), "block": ("True", "False"), "partials": ("1", "2", "4", "8"), "unroll": ("one", "several"),
}
LOOPS = {f"loops: {name}" for name in ("dot", "dot_block", "horizontal", "lane", "inside", "prefetch", "test", "masked store", "dealt",
                                       "sums of halves")}
THREADS = {f"threads: {name}" for name in ("cut", "across", "several loops")}
CHANGE_NOTHING = {"fuse"}  # the first one, which makes the program


def wanted():
    """Every choice: values of the fields, passes that change a program, forms of a convolution, and what loops are made with."""
    sizes = inspect.signature(winograd).parameters["sizes"].default
    passes = {step.__name__ for step, _ in PROGRAM_PASSES} - CHANGE_NOTHING
    return {*(f"{field}: {value}" for field, values in VALUES.items() for value in values), *(f"pass {name}" for name in passes),
            *(f"F({m},3)" for m in sizes), *LOOPS, *THREADS, "blocks of points", "repeat"}


@cache
def chosen():
    """The choices of the first cases of each family, with the families that make them."""
    found = defaultdict(set)
    for family in FAMILIES:
        for seed in range(SEEDS):
            for choice in compiled_case(drawn(family, seed)).choices:
                found[choice].add(family)
    return found


def drawn(family, seed):
    return drawn_case(family, Random(f"{seed} {family}"))


def test_every_choice_is_drawn():
    """A pass, a form or a field that is new fails here until a family takes it."""
    assert not sorted(wanted() - set(chosen()))
    assert {f.name for f in fields(Schedule)} == set(VALUES), "say which values the field takes"
    assert OPTIONAL <= {step.__name__ for step, _ in PROGRAM_PASSES} | {"packed"}


def test_nothing_is_chosen_that_has_no_name():
    """What schedules hold is among the named values."""
    fields_ = tuple(f"{field}:" for field in VALUES)
    assert not sorted(c for c in chosen() if c.startswith((*fields_, "F(", "loops", "threads")) and c not in wanted() | {"loops: bitcast"})


def test_every_family_makes_a_choice_of_its_own_or_an_extent():
    """Cases differ: neither graph nor machine is always the same."""
    for family in FAMILIES:
        cases = [drawn(family, seed) for seed in range(SEEDS)]
        assert len({str(v.type) for case in cases for v in (*case.graph.inputs, *case.graph.outputs)}) > 2, family


def inputs_of(graph, seed):
    """Whole numbers, whose sums are exact; bytes over their range; places that are in range."""
    arrays = whole_inputs(graph, seed)
    for name, array in byte_inputs(graph, seed).items():
        if array.dtype.itemsize == 1:
            arrays[name] = array
        elif array.dtype == np.int64:
            arrays[name] = np.abs(arrays[name]) % 2
    return arrays


@pytest.mark.parametrize("family", FAMILIES)
@given(st.integers(0, SEEDS - 1) if settings.default.derandomize else st.integers(0, 2**32 - 1))
@settings(max_examples=SEEDS if settings.default.derandomize else 300)
def test_what_is_chosen_computes_the_same(family, seed):
    case = drawn(family, seed)
    made, arrays = compiled_case(case), inputs_of(case.graph, seed)
    expected = interpret(case.graph if case.graph.outputs[0].dtype.is_float else integer_form(case.graph), arrays)
    found = (emit(made.program, case.target, "case", "0", workers=0).run(arrays) if case.runs else
             run_tiled(made.program, made.tiled, arrays))
    off = allowed(case.graph, arrays, expected, made.choices)
    for name, array in expected.items():
        assert found[name].dtype == array.dtype and found[name].shape == array.shape
        assert np.all(np.abs(found[name].astype(np.float64) - array.astype(np.float64)) <= off[name]), (name, sorted(made.choices))


def allowed(graph, arrays, expected, choices):
    """What each output may be off: nothing for integers (a quantum behind a softmax), else what roundings of its sums may add up to."""
    kinds = {type(op).__name__ for op in graph.ops}
    if not graph.outputs[0].dtype.is_float:
        return dict.fromkeys(expected, int("Softmax" in kinds))
    bounds = dict.fromkeys(expected, 0.0) if kinds & (SUMS | CELLS) else error_bounds(graph, arrays)
    if kinds & CELLS or any(c.startswith("F(") or c == "loops: sums of halves" for c in choices):
        return {name: np.maximum(bounds[name], LARGEST * np.abs(array).max(initial=1.0)) for name, array in expected.items()}
    return bounds


def test_machines_are_those_that_make_the_choice():
    """Dot products of small matrices, of whole vectors and of words each come from some machine of the family."""
    made = defaultdict(set)
    for seed in range(30):
        case = drawn("bytes_elsewhere", seed)
        made[case.target] |= compiled_case(case).choices
    kinds = {name: made[first_target(holds)] for name, holds in DOT_PRODUCTS.items()}
    assert "loops: dot_block" in kinds["matrices"] and "reduce_vector: with columns" in kinds["vectors"]
    assert all("loops: dot" in kinds[name] for name in ("lanes", "scalars")) and "loops: dot" not in kinds["none"]
