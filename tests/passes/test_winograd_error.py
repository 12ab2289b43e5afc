"""The rounding error of F(m, 3) stays within the bounds that docs/numerics.md states, whatever the data."""

import numpy as np
import pytest
from hypothesis import example, given, settings, strategies as st

from edgec.graph import Graph, constant, graph_input
from edgec.ops.convolution import Conv
from edgec.passes.fuse import fuse
from edgec.passes.layout import layout
from edgec.passes.winograd_convolution import recognise
from edgec.passes.winograd_matrices import POINTS, amplification, error_bound
from edgec.passes.winograd_stages import rewrite
from edgec.program_interpreter import run_program
from edgec.testing.amplified import KINDS, amplified
from edgec.types import TensorType, f32


def errors(m: int, channels: int, size: int, x_kind: str, w_kind: str, seed: int) -> tuple[np.ndarray, float, float]:
    """|computed - exact| of a convolution in the form F(m, 3), the largest |x| and the largest |w|."""
    random = np.random.default_rng(seed)
    first, second = np.eye(channels, dtype=np.float32)[:, :, None, None], amplified(random, w_kind, (4, channels, 3, 3))
    x = graph_input("x", TensorType(f32, (1, channels, size, size)))
    y = Conv(Conv(x, constant(first)).output, constant(second), pads=(1, 1, 1, 1)).output  # the first makes channels neighbours
    graph = Graph((x,), (Conv(y, constant(np.eye(4, dtype=np.float32)[:, :, None, None])).output,), ("y",), "net")
    program = layout(fuse(graph))
    program = program.with_steps(rewrite(c, m, 2) if (c := recognise(k)) else k for k in program.steps)
    assert any(len(k.stages) > 8 for k in program.steps)
    data = amplified(random, x_kind, (1, channels, size, size))
    found = run_program(program, {"x": data})["y"][0].astype(np.float64)
    padded = np.pad(data[0].astype(np.float64), ((0, 0), (1, 1), (1, 1)))
    exact = sum(np.einsum("oc,cyx->oyx", second[:, :, p, q].astype(np.float64), padded[:, p:p + size, q:q + size])
                for p in range(3) for q in range(3))
    return np.abs(found - exact), float(np.abs(data).max()), float(np.abs(second).max())


@settings(max_examples=40)
@given(m=st.sampled_from(sorted(POINTS)), channels=st.integers(2, 24), size=st.integers(5, 13), x_kind=st.sampled_from(KINDS),
       w_kind=st.sampled_from(KINDS), seed=st.integers(0, 999))
@example(6, 24, 12, "alternating", "alternating", 0)
@example(4, 24, 12, "one", "one", 0)
def test_the_bound_holds(m, channels, size, x_kind, w_kind, seed):
    difference, x, w = errors(m, channels, size, x_kind, w_kind, seed)
    assert difference.max() <= error_bound(m, channels, x, w)


@pytest.mark.parametrize("m, usual", [(2, 4e-6), (3, 1.5e-5), (4, 2e-5), (5, 4e-5), (6, 6e-5)])
def test_the_usual_error_at_512_channels(m, usual):
    """Of normally distributed data, relative to the largest output of some hundreds; direct summation has about 3e-7."""
    difference, _, _ = errors(m, 512, 8, "normal", "normal", 1)
    largest = np.sqrt(9 * 512)  # one standard deviation of the outputs, which is less than the largest of them
    assert difference.max() <= usual * largest


@pytest.mark.parametrize("m, worst", [(2, 7.1), (3, 65.8), (4, 256.0), (5, 473.6), (6, 508.8)])
def test_the_amplification_is_what_the_page_says(m, worst):
    assert round(amplification(m), 1) == worst
