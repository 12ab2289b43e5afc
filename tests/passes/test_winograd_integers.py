"""Winograd on bytes: the form's sums modulo 2^32 are the convolution's own, bit for bit, and only where its weights prove that."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from edgec.backends.target import find
from edgec.compiler import lower
from edgec.emission import emit
from edgec.evaluate import evaluate
from edgec.expr import const
from edgec.graph import Graph, constant, graph_input
from edgec.interpreter import run
from edgec.kernel import Program
from edgec.ops.convolution import Conv
from edgec.ops.lookup import Lookup
from edgec.ops.quantized import QLinearConv
from edgec.passes.fuse import fuse
from edgec.passes.layout import layout
from edgec.passes.liveness import liveness
from edgec.passes.winograd_arithmetic import arithmetic, transformed, weights_of
from edgec.passes.winograd_convolution import recognise
from edgec.passes.winograd_cost import forms
from edgec.passes.winograd_matrices import POINTS
from edgec.passes.winograd_stages import rewrite
from edgec.program_interpreter import run_program
from edgec.testing.quantized import byte_inputs
from edgec.types import DType, TensorType, f32, i8, i32, u8

V4, WHOLE = find("x86-64-v4"), (2, 3, 4)


def layer(x, w: np.ndarray, out: DType, pads=(0, 0, 0, 0), zero: int = 0, ):
    """A QLinearConv with scales that use the range of its result."""
    count, taps = w.shape[0], float(np.prod(w.shape[1:]))
    scale = lambda value, shape=(): constant(np.full(shape, value, np.float32))
    zeros = constant(np.zeros((), np.int8).astype(w.dtype))
    bias = constant(np.random.default_rng(count).integers(-5000, 5000, count).astype(np.int32))
    middle = constant(np.array((out.low + out.high) // 2, out.numpy))
    return QLinearConv(x, scale(1.0), constant(np.array(zero, x.dtype.numpy)), constant(w), scale(1.0, (count,)), zeros,
                       scale(74 * taps ** 0.5), middle, bias, pads=pads).output


def network(channels: int, out: int, height: int, width: int, x: DType = u8, pads=(1, 1, 1, 1), zero: int = 0,
            weights: np.ndarray | None = None) -> Graph:
    """A pointwise layer (which makes channels neighbours in memory), then a 3x3 one, all of bytes."""
    given = graph_input("x", TensorType(u8, (1, 3, height, width)))
    draw = lambda seed, *shape: np.random.default_rng(seed).integers(-128, 128, shape).astype(np.int8)
    first = layer(given, draw(1, channels, 3, 1, 1), x)
    second = layer(first, draw(2, out, channels, 3, 3) if weights is None else weights, i8, pads, zero)
    return Graph((given,), (layer(second, draw(3, 2, out, 1, 1), u8),), ("y",), "net")


def recognised(graph: Graph) -> list:
    return [found for kernel in layout(fuse(graph)).steps if (found := recognise(kernel)) is not None]


def test_a_sum_that_chooses_from_a_table_stays_in_its_tile():
    """The last stage of the form would read the table one point at a time."""
    plain = network(8, 8, 8, 8)
    second = next(op for op in plain.ops if isinstance(op, QLinearConv) and op.w.shape[2] == 3)
    activated = Lookup(second.output, constant(np.arange(256, dtype=np.uint8)[::-1].copy())).output
    last = layer(activated, np.ones((2, 8, 1, 1), np.int8), u8)
    assert len(recognised(plain)) == 1 and not recognised(Graph(plain.inputs, (last,), ("y",), "net"))


def forced(graph: Graph, m: int, band: int = 1) -> Program:
    program = layout(fuse(graph))
    return program.with_steps(rewrite(found, m, band) if (found := recognise(k)) else k for k in program.steps)


@settings(max_examples=20)
@given(m=st.sampled_from(WHOLE), band=st.integers(1, 3), height=st.integers(4, 13), width=st.integers(4, 13), channels=st.integers(2, 7),
       out=st.integers(2, 6), x=st.sampled_from((u8, i8)), pads=st.tuples(*[st.integers(0, 2)] * 4), zero=st.sampled_from((0, 7, 127)))
def test_every_bit_is_the_convolution(m, band, height, width, channels, out, x, pads, zero):
    graph = network(channels, out, height, width, x, pads, zero)
    program, given = forced(graph, m, band), byte_inputs(graph, seed=height)
    assert any(len(k.stages) > 16 for k in program.steps)
    np.testing.assert_array_equal(run_program(program, given)["y"], run(graph, [given["x"]])[0])


@pytest.mark.parametrize("target", ["native", "x86-64-v3", "x86-64-v2"])
@pytest.mark.parametrize("size, m, band, x", [(8, 4, 2, u8), (14, 4, 1, i8), (13, 3, 3, u8), (9, 2, 2, i8)])
def test_native_code_agrees(target, size, m, band, x):
    graph = network(24, 40, size, size, x, zero=3)
    given = byte_inputs(graph, seed=size)
    machine = find("native") if target == "native" else find(target)
    found = emit(liveness(forced(graph, m, band)), machine, "net", optimize="1", workers=0).run(given)["y"]
    np.testing.assert_array_equal(found, run(graph, [given["x"]])[0])


@pytest.mark.parametrize("value", [-128, 127])
def test_extremes(value):
    """All weights and inputs at the ends of their range: 16 bits and the sums hold, or the form is not offered."""
    graph = network(40, 4, 8, 8, u8, zero=0, weights=np.full((4, 40, 3, 3), value, np.int8))
    found, = recognised(graph)
    offered = {m for m in WHOLE if arithmetic(found, m) is not None}
    assert offered == WHOLE_OF_LARGE[40 * 9 * 255 * abs(value) < 1 << 25]
    given = {"x": np.full((1, 3, 8, 8), 255, np.uint8)}
    for m in offered:
        np.testing.assert_array_equal(run_program(forced(graph, m), given)["y"], run(graph, [given["x"]])[0])


WHOLE_OF_LARGE = {True: {2, 3, 4}, False: {2, 3}}


def test_sums_that_might_not_fit_are_not_offered():
    """255 * 127 * 9 * 128 is beyond 2^25, which F(4,3) leaves of 32 bits, and below 2^29, which F(2,3) and F(3,3) do."""
    found, = recognised(network(128, 4, 8, 8, u8, weights=np.full((4, 128, 3, 3), 127, np.int8)))
    assert [arithmetic(found, m) is not None for m in sorted(POINTS)] == [True, True, False, False, False]
    small, = recognised(network(128, 4, 8, 8, u8, weights=np.full((4, 128, 3, 3), 31, np.int8)))
    assert [arithmetic(small, m) is not None for m in sorted(POINTS)] == [True, True, True, False, False]


def test_transformed_weights_are_whole():
    found, = recognised(network(8, 16, 8, 8))
    for m in WHOLE:
        how = arithmetic(found, m)
        assert all(x.denominator == 1 for matrix in (how.at, how.g, how.bt) for row in matrix for x in row)
        u = transformed(weights_of(found), how.g)
        assert u.shape == ((m + 2) ** 2, 8, 16) and np.abs(u).max() < 1 << 15 and how.factor.bits == 16


def test_the_scale_is_taken_out_again():
    """Modulo 2^32, for every sum that is within the bounds."""
    found, = recognised(network(8, 16, 8, 8))
    how = arithmetic(found, 4)
    assert how.scale == 576
    for y in (0, 1, -1, 2 ** 25 - 1, -2 ** 25 + 1, 12345678, -23456789):
        assert evaluate(how.result(const(576 * y, i32)), {}, None) == y


def test_floats_are_as_they_were():
    x = graph_input("x", TensorType(f32, (1, 4, 8, 8)))
    y = Conv(Conv(x, constant(np.ones((8, 4, 1, 1), np.float32))).output, constant(np.ones((8, 8, 3, 3), np.float32)), pads=(1, 1, 1, 1)).output
    found, = recognised(Graph((x,), (y,), ("y",), "net"))
    assert not found.is_integer and arithmetic(found, 6).scale == 1 and arithmetic(found, 6).factor is f32


def test_cost_decides():
    """Where the machine has dot products of 16 bits, layers with enough channels and pixels take it, if their weights may grow."""
    def most(graph: Graph, target) -> int:
        return max(len(k.stages) for k in lower(graph, target).steps)
    small = np.random.default_rng(0).integers(-31, 32, (64, 64, 3, 3)).astype(np.int8)
    large, roomy = network(64, 64, 28, 28, weights=small), {"max_flash_growth": 16.0}
    assert most(large, replace(V4, **roomy)) > 16 and most(large, replace(find("x86-64-v3"), **roomy)) > 16
    assert most(large, replace(find("cortex-m4"), **roomy)) == 1
    assert most(network(4, 4, 28, 28), replace(V4, **roomy)) == 1
    found, = recognised(network(64, 64, 7, 7, weights=small))
    assert min(forms(found, V4, WHOLE), key=lambda form: form.cycles).m in (0, 4)
