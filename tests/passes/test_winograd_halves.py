"""Winograd of f16: operands transformed in f32 or in f16, the bound on the rounding errors of either, and which is offered and taken."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from edgec.backends.emulate import missing_tools
from edgec.backends.target import all_targets, find
from edgec.emission import emit
from edgec.graph import Graph, constant, graph_input
from edgec.kernel import Program
from edgec.ops.convolution import Conv
from edgec.passes.fuse import fuse
from edgec.passes.halves import multiplies_halves
from edgec.passes.layout import layout
from edgec.passes.liveness import liveness
from edgec.passes.precision import precision
from edgec.passes.winograd import winograd
from edgec.passes.winograd_arithmetic import arithmetic
from edgec.passes.winograd_convolution import recognise
from edgec.passes.winograd_cost import forms
from edgec.passes.winograd_matrices import POINTS, error_bound, half_error_bound
from edgec.passes.winograd_stages import rewrite
from edgec.program_interpreter import run_program
from edgec.sweeps import walk
from edgec.testing.amplified import KINDS, amplified
from edgec.types import TensorType, f16, f32

HALVES = next(t for t in all_targets() if multiplies_halves(t) and t.emulator and t.fma_per_cycle > 1)
WIDENING = next(t for t in all_targets() if any("fmlal" in row.llvm for row in t.instructions) and t.emulator)


def drawn(random: np.random.Generator, kind: str, shape: tuple[int, ...]) -> np.ndarray:
    """Data of one kind, as f16 holds it."""
    return amplified(random, kind, shape, 2).astype(np.float16).astype(np.float32)


def network(channels: int, size: int, weights: np.ndarray) -> Graph:
    """Channels as neighbours in memory, made by a convolution with ones, then the 3x3 convolution in question, its result as it is."""
    x = graph_input("x", TensorType(f32, (1, channels, size, size)))
    first = Conv(x, constant(np.eye(channels, dtype=np.float32)[:, :, None, None])).output
    return Graph((x,), (Conv(first, constant(weights), pads=(1, 1, 1, 1)).output,), ("y",), "net")


def narrowed(graph: Graph, target=HALVES) -> Program:
    return layout(fuse(precision(graph, target, to="f16"), target), target)


def forced(graph: Graph, m: int, half: bool, target=HALVES, band: int = 2) -> Program:
    """The program with the 3x3 convolution in the form F(m, 3), whatever it costs."""
    program = narrowed(graph, target)
    return program.with_steps(rewrite(c, m, band, half) if (c := recognise(k)) else k for k in program.steps)


def exact(x: np.ndarray, w: np.ndarray) -> np.ndarray:
    size, padded = x.shape[-1], np.pad(x[0].astype(np.float64), ((0, 0), (1, 1), (1, 1)))
    return sum(np.einsum("oc,cyx->oyx", w[:, :, p, q].astype(np.float64), padded[:, p:p + size, q:q + size])
               for p in range(3) for q in range(3))


@settings(max_examples=20)
@given(form=st.sampled_from([(2, True), *((m, False) for m in sorted(POINTS))]), channels=st.integers(2, 24), size=st.integers(5, 13),
       x_kind=st.sampled_from(KINDS), w_kind=st.sampled_from(KINDS), seed=st.integers(0, 999))
def test_the_bound_holds(form, channels, size, x_kind, w_kind, seed):
    """Transformed in f32, the bound is that of f32; in f16, what the three roundings of a product add to it."""
    random, (m, half) = np.random.default_rng(seed), form
    x, w = drawn(random, x_kind, (1, channels, size, size)), drawn(random, w_kind, (4, channels, 3, 3))
    program = forced(network(channels, size, w), m, half)
    assert {n.data.dtype for k in program.steps for s in k.stages for n in walk(s.value)
            if n.op == "read" and n.data.name.endswith(".u")} == {f16 if half else f32}
    found, largest = run_program(program, {"x": x})["y"][0], (float(np.abs(x).max()), float(np.abs(w).max()))
    bound = half_error_bound(channels, *largest, in_blocks=False) if half else error_bound(m, channels, *largest)
    assert np.abs(found - exact(x, w)).max() <= bound


@pytest.mark.parametrize("target", [HALVES.name, WIDENING.name])
@pytest.mark.parametrize("form", [(2, True, 64, 8), (2, True, 33, 7), (4, False, 24, 9)], ids=str)
def test_machine_code_stays_within_the_bound(target, form):
    """Under emulation, where sums of f16 are made in blocks, or in f32."""
    machine, (m, half, channels, size) = find(target), form
    if missing_tools(machine):
        pytest.skip(f"{target}: {', '.join(missing_tools(machine))} not installed")
    random = np.random.default_rng(channels)
    x, w = drawn(random, "normal", (1, channels, size, size)), drawn(random, "normal", (40, channels, 3, 3))
    program = liveness(forced(network(channels, size, w), m, half, machine))
    error = np.abs(emit(program, machine, "net", optimize="1", workers=0).run({"x": x})["y"][0] - exact(x, w)).max()
    largest, in_blocks = (float(np.abs(x).max()), float(np.abs(w).max())), multiplies_halves(machine)
    assert error <= (half_error_bound(channels, *largest, in_blocks) if half else error_bound(m, channels, *largest))
    usual = (1e-2 if in_blocks else 3e-3) if half else 1e-4       # of the outputs' standard deviation: errors cancel
    assert error <= usual * np.sqrt(9 * channels)


def convolution(channels: int, size: int, weights: np.ndarray | None = None, target=HALVES):
    drawn_weights = np.random.default_rng(1).standard_normal((channels, channels, 3, 3)).astype(np.float32)
    program = narrowed(network(channels, size, drawn_weights if weights is None else weights), target)
    return next(c for k in program.steps if (c := recognise(k)))


def test_transforms_in_f16_are_those_that_amplify_little():
    found = convolution(16, 8)
    assert found.is_half and [m for m in sorted(POINTS) if arithmetic(found, m, half=True)] == [2]
    assert all(arithmetic(found, m).factor is f32 for m in POINTS)


def test_weights_that_grow_too_large_are_transformed_in_f32():
    """The middle row of G adds three weights and takes half of that, in both directions: 2.25 times 40000 is beyond f16."""
    found = convolution(16, 8, np.full((16, 16, 3, 3), 40000.0, np.float32))
    assert arithmetic(found, 2, half=True) is None and arithmetic(found, 2) is not None


def test_operands_of_f32_have_no_form_of_f16():
    plain = layout(fuse(network(16, 8, np.ones((16, 16, 3, 3), np.float32))))
    found, = (c for k in plain.steps if (c := recognise(k)))
    assert not found.is_half and arithmetic(found, 2, half=True) is None
    assert not any(form.half for form in forms(found, HALVES, (2, 4)))


@pytest.mark.parametrize("target, factor", [(HALVES, f16), (WIDENING, f32)], ids=["blocks", "widening"])
def test_cost_decides_what_is_transformed_in_what(target, factor):
    """Where f16 multiply-adds take twice as many lanes F(2,3) in f16 wins, elsewhere the larger tiles of f32."""
    graph = network(32, 16, np.random.default_rng(1).standard_normal((32, 32, 3, 3)).astype(np.float32))
    program = winograd(narrowed(graph, target), replace(target, max_flash_growth=20.0))
    tables = {n.data for k in program.steps for s in k.stages for n in walk(s.value) if n.op == "read" and n.data.name.endswith(".u")}
    assert [(t.dtype, t.shape[0]) for t in tables] == [(factor, 16 if factor is f16 else 36)]


def test_no_growth_leaves_f16_direct():
    graph = network(32, 16, np.ones((32, 32, 3, 3), np.float32))
    assert all(len(k.stages) == 1 for k in winograd(narrowed(graph), replace(HALVES, max_flash_growth=1.0)).steps)


@pytest.mark.parametrize("growth, is_taken", [(1.5, False), (3.0, True)])
def test_growth_is_counted_from_the_weights_before_they_were_narrowed(growth, is_taken):
    """F(4,3) in f32 has four times the bytes of the model's weights, eight times those of its f16; F(2,3) in f32 1.8 and 3.6 times."""
    graph = network(64, 20, np.random.default_rng(1).standard_normal((64, 64, 3, 3)).astype(np.float32))
    program = winograd(narrowed(graph, WIDENING), replace(WIDENING, max_flash_growth=growth))
    reads = {n.data.root for k in program.steps for s in k.stages for n in walk(s.value) if n.op == "read"}
    size = sum(b.bytes for b in reads if b.kind == "constant")
    model = 4 * (64 * 64 + 64 * 64 * 9)
    assert size <= growth * model and any(b.dtype is f32 and b.name.endswith(".u") for b in reads) == is_taken
