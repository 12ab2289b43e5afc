"""ONNX's own node test cases through reader and interpreter: every case is right, or refused with Unsupported.

A case whose operator wants a shape, axes or the like as an input gets these as constants, since edgec needs them when compiling. The
cases are made when their module is imported (onnx.backend.test.case.node), so a test is a module.
"""

from __future__ import annotations

import importlib
import pkgutil
import warnings
from functools import cache
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, numpy_helper

from edgec import load
from edgec.errors import CompileError, Unsupported
from edgec.graph import Graph
from edgec.interpreter import run

PACKAGE = "onnx.backend.test.case.node"
MODULES = sorted(m.name for m in pkgutil.walk_packages(importlib.import_module(PACKAGE).__path__) if not m.ispkg)
RIGHT_AT_LEAST = 0.79  # of all cases today; the share only grows
NOT_KNOWN = "is not known at compile time"
DIGITS = {"float16": 10, "bfloat16": 7}  # stored bits of the mantissa


@cache
def cases_of(module: str) -> list[Any]:
    """The cases a module makes."""
    node = importlib.import_module(PACKAGE)
    before = len(node._NodeTestCases)
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        importlib.import_module(f"{PACKAGE}.{module}")
    return node._NodeTestCases[before:]


def as_array(item: Any) -> np.ndarray | None:
    """The array of a test input or output; None for a sequence, an optional or text."""
    if isinstance(item, TensorProto):
        item = numpy_helper.to_array(item)
    array = np.asarray(item) if isinstance(item, (np.ndarray, np.generic, int, float)) else None
    return None if array is None or array.dtype.kind in "OUS" else array


def read(case: Any, arrays: list[np.ndarray | None]) -> tuple[Graph, list[np.ndarray]]:
    """(graph, its inputs): the model as it is, else with all operands but the first as constants, else with all of them."""
    for kept in (len(arrays), 1, 0):
        try:
            return load(with_constants(case.model, arrays, kept)), arrays[:kept]
        except Unsupported as error:
            if NOT_KNOWN not in str(error) or kept == 0:
                raise
    raise AssertionError


def with_constants(model: onnx.ModelProto, arrays: list[np.ndarray | None], kept: int) -> onnx.ModelProto:
    """The model with the inputs after the first few as initialisers."""
    changed = onnx.ModelProto.FromString(model.SerializeToString())
    for info, array in list(zip(changed.graph.input, arrays))[kept:]:
        if array is None:
            raise Unsupported("an input that is no tensor")
        changed.graph.initializer.append(numpy_helper.from_array(array, info.name))
    return changed


def outcome(case: Any) -> str:
    """right, refused, or what is wrong."""
    for inputs, outputs in case.data_sets:
        arrays = [as_array(a) for a in inputs if a is not None]
        try:
            graph, arrays = read(case, arrays)
            results = run(graph, arrays)
        except Unsupported:
            return "refused"
        except CompileError as error:
            return f"{type(error).__name__}: {error}"
        wrong = [difference(ours, as_array(theirs), case) for ours, theirs in zip(results, outputs)]
        if any(wrong):
            return next(filter(None, wrong))
    return "right"


def difference(ours: np.ndarray, theirs: np.ndarray | None, case: Any) -> str:
    """'' where the arrays agree. Two units in the last place of a 16-bit float are allowed: the cases' 1e-3 is less than one of bf16."""
    if theirs is None or ours.shape != theirs.shape or ours.dtype != theirs.dtype:
        return f"{ours.dtype}{ours.shape} instead of {theirs if theirs is None else (theirs.dtype, theirs.shape)}"
    relative = max(case.rtol, 2.0 ** (1 - DIGITS[ours.dtype.name]) if ours.dtype.name in DIGITS else 0)
    exact = ours.dtype.kind in "biu"
    a, b = (ours, theirs) if exact else (ours.astype(np.float64), theirs.astype(np.float64))
    close = a == b if exact else np.isclose(a, b, relative, case.atol, equal_nan=True)
    return "" if np.all(close) else f"{np.sum(~close)} of {close.size} elements differ"


def random(case: Any) -> bool:
    """Whether a case draws random numbers, so that no result is the right one."""
    return any(n.op_type.startswith(("Random", "Bernoulli", "Multinomial")) for n in case.model.graph.node)


@cache
def outcomes(module: str) -> dict[str, str]:
    """Case name -> outcome."""
    return {case.name: outcome(case) for case in cases_of(module) if not random(case)}


@pytest.mark.parametrize("module", MODULES)
def test_cases_are_right_or_refused(module):
    wrong = {name: found for name, found in outcomes(module).items() if found not in ("right", "refused")}
    assert wrong == {}


def test_as_many_are_right_as_were():
    found = [o for module in MODULES for o in outcomes(module).values()]
    assert len(found) > 1000 and found.count("right") >= RIGHT_AT_LEAST * len(found)
