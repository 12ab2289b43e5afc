"""`edgec verify`: equal models pass, and a wrong kernel is named."""

from dataclasses import replace

import numpy as np
import pytest

from edgec import verification
from edgec.compiler import lower
from edgec.drawn_inputs import drawn_inputs
from edgec.emission import emit
from edgec.graph import Graph, constant, graph_input
from edgec.onnx.reader import load
from edgec.ops import OPERATORS
from edgec.types import TensorType, f32
from edgec.verification import compare, verify


def test_a_good_model_passes(edgec, cache, digits, samples):
    for extra in ([], ["--inputs", samples[0]], ["--seed", "3"]):
        result = edgec("verify", digits, *cache, *extra)
        assert result.status == 0 and result.err == "" and result.out.splitlines()[-1].split()[-1] == "same"


def test_symbolic_dimensions_are_drawn_at_their_largest(digits_dyn):
    graph = load(digits_dyn, bind={"N": "1..4"})
    assert drawn_inputs(graph)["image"].shape == (4, 1, 8, 8)
    np.testing.assert_array_equal(drawn_inputs(graph, 5)["image"], drawn_inputs(graph, 5)["image"])
    assert (drawn_inputs(graph, 5)["image"] != drawn_inputs(graph, 6)["image"]).all()


def test_the_first_wrong_kernel_is_named(edgec, cache, digits, monkeypatch):
    """Code for the second kernel is generated wrongly: its values are halved."""
    def wrong(program, *arguments, **options):
        kernel = program.steps[1]
        last = replace(kernel.stages[-1], value=kernel.stages[-1].value * 0.5)
        steps = (program.steps[0], replace(kernel, stages=(*kernel.stages[:-1], last)), *program.steps[2:])
        return emit(program.with_steps(steps), *arguments, **options)

    monkeypatch.setattr(verification, "emit", wrong)
    result = edgec("verify", digits, *cache)
    assert result.status == 1 and "differs" in result.out
    first = edgec("show", digits, "--text", "kernels").out.split("\nkernel ")[2].split("(")[0]
    assert f"\nkernel {first}(" in result.out and "the first tensor that differs is" in result.out
    assert result.out.count("\nkernel ") == 1


def test_shared_memory_is_suspected_when_every_kernel_is_right(cache, monkeypatch):
    """All temporaries lie at one place, so a product is stored over what it still has to read."""
    def wrong(program, *arguments, **options):
        arena = {b: at if b.root.kind == "scratch" else program.arena_bytes for b, at in program.arena.items()}
        return emit(replace(program, arena=arena, arena_bytes=program.arena_bytes + 4 * 300 * 20), *arguments, **options)

    weights = constant(np.random.default_rng(1).standard_normal((300, 300)).astype(np.float32), "w")
    x = value = graph_input("x", TensorType(f32, (300, 20)))
    for _ in range(3):
        value = OPERATORS["", "MatMul"](weights, value).output
    graph = Graph((x,), (value,), ("y",))
    assert verify(graph, drawn_inputs(graph), optimize="0", cache=cache[-1]).same
    monkeypatch.setattr(verification, "emit", wrong)
    verdict = verify(graph, drawn_inputs(graph), optimize="0", cache=cache[-1])
    assert not verdict.same and "liveness" in verdict.first


def test_passes_are_suspected_when_the_program_is_wrong(edgec, cache, digits, monkeypatch):
    def wrong(graph, target, **options):
        program = lower(graph, target)
        kernel = program.steps[-1]
        last = replace(kernel.stages[-1], value=kernel.stages[-1].value * 0.5)
        return program.with_steps((*program.steps[:-1], replace(kernel, stages=(*kernel.stages[:-1], last))))

    monkeypatch.setattr(verification, "lower", wrong)
    result = edgec("verify", digits, *cache)
    assert result.status == 1 and "before code generation" in result.out


def test_a_tolerance_decides(edgec, cache, digits):
    assert edgec("verify", digits, *cache, "--tolerance", "0.5").status == 0
    assert edgec("verify", digits, *cache, "--tolerance", "-1").status == 1


@pytest.mark.parametrize("found, expected, same", [
    ([1.0, 2.0], [1.0, 2.0], True), ([1.0, 2.00001], [1.0, 2.0], True), ([1.0, 2.1], [1.0, 2.0], False),
    ([np.nan, 1], [np.nan, 1], True), ([np.nan, 1], [0, 1], False), ([np.inf, 1], [np.inf, 1], True), ([np.inf, 1], [-np.inf, 1], False),
    ([], [], True), ([1.0], [1.0, 2.0], False), ([0.0, 0.0], [0.0, 0.0], True), ([1e-3, 0.0], [0.0, 0.0], False),
])
def test_comparison_of_floats(found, expected, same):
    assert compare("y", np.array(found, np.float32), np.array(expected, np.float32)).same is same


def test_integers_must_be_equal():
    a = np.array([1000, 2], np.int32)
    assert compare("y", a, a).same and not compare("y", a + 1, a).same
    assert not compare("y", a.astype(np.int64), a).same
