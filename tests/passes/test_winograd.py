"""Winograd: exact matrices, what is recognised, and the three-stage kernel against the plain one, tiles overhanging or not."""

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgec.backends.target import find
from edgec.graph import Graph, constant, graph_input
from edgec.interpreter import run
from edgec.kernel import Program
from edgec.ops.activation import Relu
from edgec.ops.arithmetic import Add
from edgec.ops.convolution import Conv
from edgec.passes.fuse import fuse
from edgec.passes.layout import layout
from edgec.passes.winograd import matrices, recognise, rewrite, winograd
from edgec.program_interpreter import run_program
from edgec.types import TensorType, f32

V4 = find("x86-64-v4")


def weights(seed: int, *shape: int) -> np.ndarray:
    return (np.random.default_rng(seed).standard_normal(shape) / np.sqrt(np.prod(shape[1:]))).astype(np.float32)


def network(channels: int, out: int, height: int, width: int, pads=(1, 1, 1, 1), residual: bool = False, **attributes) -> Graph:
    """A pointwise convolution (which makes channels neighbours in memory), then a 3x3 one with bias, relu and maybe a residual."""
    x = graph_input("x", TensorType(f32, (1, 3, height, width)))
    first = Conv(x, constant(weights(0, channels, 3, 1, 1))).output
    y = Conv(first, constant(weights(1, out, channels // attributes.get("group", 1), 3, 3)), constant(weights(2, out)), pads=pads, **attributes).output
    y = Add(y, Conv(x, constant(weights(3, out, 3, 1, 1))).output).output if residual else y
    last = Conv(Relu(y).output, constant(weights(4, 2, out, 1, 1))).output
    return Graph((x,), (last,), ("y",), "net")


def candidates(graph: Graph) -> list:
    return [found for kernel in layout(fuse(graph)).steps if (found := recognise(kernel)) is not None]


def forced(graph: Graph, m: int) -> Program:
    """The program with every recognised convolution in the form F(m, 3), whatever it costs."""
    program = layout(fuse(graph))
    return program.with_steps(rewrite(found, m, V4) if (found := recognise(k)) else k for k in program.steps)


@pytest.mark.parametrize("m", [2, 4, 6])
def test_matrices_are_exact(m):
    """A^T ((G w) * (B^T d)) is the correlation of d with w, in rational numbers."""
    at, g, bt = matrices(m, 3)
    d, w = [Fraction(3 * n * n - 7 * n + 1) for n in range(m + 2)], [Fraction(2), Fraction(-5), Fraction(3)]
    products = [sum(a * b for a, b in zip(row, w)) * sum(a * b for a, b in zip(other, d)) for row, other in zip(g, bt)]
    assert [sum(a * b for a, b in zip(row, products)) for row in at] == [sum(d[i + k] * w[k] for k in range(3)) for i in range(m)]


def test_a_plain_convolution_is_recognised():
    found, = candidates(network(8, 16, 12, 12))
    assert found.channel[1] == 8 and found.out.extent == 16 and found.size == 3 and [a.extent for a in found.rows] == [12, 12]


@pytest.mark.parametrize("attributes", [{"strides": (2, 2)}, {"dilations": (2, 2), "pads": (2, 2, 2, 2)}, {"group": 8}, {"group": 2}])
def test_others_are_not(attributes):
    assert not candidates(network(8, 8, 12, 12, **attributes))


@settings(max_examples=12)
@given(m=st.sampled_from([2, 4, 6]), height=st.integers(5, 15), width=st.integers(5, 15), channels=st.integers(2, 6), out=st.integers(2, 6),
       pads=st.tuples(*[st.integers(0, 2)] * 4), residual=st.booleans())
def test_the_stages_compute_the_same(m, height, width, channels, out, pads, residual):
    residual = residual and pads == (1, 1, 1, 1)
    graph = network(channels, out, height, width, pads, residual)
    program = forced(graph, m)
    assert any(len(k.stages) > 16 for k in program.steps)
    x = weights(9, 1, 3, height, width)
    expected, = run(graph, [x])
    np.testing.assert_allclose(run_program(program, {"x": x})["y"], expected, rtol=0, atol=2e-5 * max(1.0, float(np.abs(expected).max())))


@pytest.mark.parametrize("size", [8, 14])
def test_native_code_agrees(size):
    from edgec.compiler import emit
    from edgec.passes.liveness import liveness
    graph, x = network(24, 40, size, size, residual=True), weights(9, 1, 3, size, size)
    expected, = run(graph, [x])
    found = emit(liveness(forced(graph, 4)), find("native"), "net", workers=0).run({"x": x})["y"]
    np.testing.assert_allclose(found, expected, rtol=0, atol=2e-5 * float(np.abs(expected).max()))


@pytest.mark.parametrize("m, bound", [(2, 4e-6), (4, 2e-5), (6, 6e-5)])
def test_the_error_at_512_channels_is_bounded(m, bound):
    """Relative to the largest output; direct summation in f32 has about 3e-7."""
    graph, x = network(512, 8, 8, 8), weights(9, 1, 3, 8, 8)
    expected, = run(graph, [x])
    found = run_program(forced(graph, m), {"x": x})["y"]
    assert float(np.abs(found - expected).max()) <= bound * float(np.abs(expected).max())


def test_cost_decides():
    """Many channels pay, few or a tiny map do not, and a core without room for larger weights keeps the direct form."""
    def stages(graph: Graph, target: str) -> int:
        return max(len(k.stages) for k in winograd(layout(fuse(graph)), find(target)).steps)
    assert stages(network(64, 64, 28, 28), "x86-64-v4") > 16
    assert stages(network(64, 64, 28, 28), "cortex-m4") == 1
    assert stages(network(64, 64, 28, 28), "cortex-m55") == 1
    assert stages(network(4, 4, 28, 28), "x86-64-v4") == 1
    assert stages(network(16, 32, 4, 4), "x86-64-v4") == 1
