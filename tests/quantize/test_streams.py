"""Two networks side by side: what rounding a layer learns from them is what the arrays say."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from edgec.graph import Graph, constant, graph_input
from edgec.interpreter import run
from edgec.ops.activation import Relu
from edgec.ops.arithmetic import Add
from edgec.ops.matmul import Gemm
from edgec.ops.recurrent import RNN
from edgec.quantize.paired_moments import DAMPINGS, PairedMoments, chosen_damping
from edgec.quantize.product_rows import matrices_of, rows_of, weights_of
from edgec.quantize.streams import Streams
from edgec.types import TensorType, f32

RNG = np.random.default_rng(3)


def values(*shape):
    return constant(RNG.standard_normal(shape).astype(np.float32))


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 99), st.integers(5, 40), st.integers(1, 3), st.integers(1, 6), st.booleans())
def test_moments_are_those_of_all_rows(seed, count, groups, inputs, centred):
    rng = np.random.default_rng(seed)
    t, w, q = (rng.standard_normal(shape) for shape in ((count, groups, inputs), (groups, inputs, 3), (groups, inputs, 3)))
    x = (t + 0.1 * rng.standard_normal(t.shape)).astype(np.float32)
    pair = PairedMoments(centred)
    pair.see(x[:4], t[:4])
    pair.see(x[4:], t[4:])
    for g in range(groups):
        near, exact = x[:, g].astype(np.float64), t[:, g]
        if centred:
            near, exact = near - near.mean(0), exact - exact.mean(0)
        np.testing.assert_allclose(pair.moment[g], near.T @ near / count, atol=1e-9)
        np.testing.assert_allclose(pair.crossed[g], near.T @ exact / count, atol=1e-9)
    shift = pair.shift(w, q).sum(1) if centred else np.zeros((groups, 3))
    change = np.einsum("ngk,gko->ngo", x, q) + shift - np.einsum("ngk,gko->ngo", t, w)
    least = np.einsum("ngk,gko->ngo", t, w)
    lost = pair.loss(w, q, shift) + np.mean(least**2, 0).sum()
    np.testing.assert_allclose(lost, np.mean(change**2, 0).sum(), rtol=1e-6, atol=1e-9)


def test_targets_undo_what_was_broken():
    """Inputs that went through a linear map give the weights behind its inverse."""
    t, w, broken = RNG.standard_normal((500, 1, 5)), RNG.standard_normal((1, 5, 2)), RNG.standard_normal((5, 5))
    pair = PairedMoments()
    pair.see(t @ broken, t)
    np.testing.assert_allclose(pair.problem(w, 1e-12).weights[0], np.linalg.solve(broken, w[0]), rtol=1e-4, atol=1e-5)
    pair = PairedMoments()
    pair.see(t, t)
    assert pair.problem(w).weights is w


def test_few_samples_are_damped_more_than_many():
    mixed, w = RNG.standard_normal((20, 20)), RNG.standard_normal((1, 20, 4))

    def damping(count):
        halves = [PairedMoments(), PairedMoments()]
        for half in halves:
            t = RNG.standard_normal((count, 1, 20)) @ mixed
            half.see(t + RNG.standard_normal(t.shape), t)
        return chosen_damping(halves, w, lambda problem: problem.weights)
    assert damping(12) > damping(4000) and {damping(12), damping(4000)} <= set(DAMPINGS)


@pytest.mark.parametrize("direction", ["forward", "reverse", "bidirectional"])
@pytest.mark.parametrize("first", [False, True])
def test_rows_of_recurrent_cells(direction, first):
    """The next state is tanh of the row times the matrix."""
    x, directions = graph_input("x", TensorType(f32, (7, 2, 4))), 2 if direction == "bidirectional" else 1
    start = values(directions, 2, 3) if first else None
    op = RNN(x, values(directions, 3, 4), values(directions, 3, 3), None, None, start, hidden_size=3, direction=direction)
    array = RNG.standard_normal((7, 2, 4)).astype(np.float32)
    arrays = [array, *(v.array for v in op.operands[1:])]
    rows, matrix = rows_of(op, arrays), matrices_of(op, arrays[1:3])
    states = run(Graph((x,), (op.results[0],), ("y",)), [array])[0].swapaxes(1, 2).reshape(14, directions, 3)
    np.testing.assert_allclose(np.tanh(np.einsum("ndk,dko->ndo", rows, matrix)), states, atol=1e-5)
    assert all(np.array_equal(a, b) for a, b in zip(weights_of(op, matrix), arrays[1:3]))


def test_streams_share_what_is_equal_and_forget_what_is_read():
    x = graph_input("x", TensorType(f32, (1, 6)))
    ops = [Gemm(x, values(6, 6), values(6))]
    for _ in range(30):  # residual blocks: as many paths as 2^30
        ops += [Relu(ops[-1].output), Gemm(ops[-1].output, values(6, 6), values(6))]
        ops.append(Add(ops[-1].output, ops[-2].output))
    graph = Graph((x,), (ops[-1].output,), ("y",))
    streams = Streams(graph, [{"x": RNG.standard_normal((1, 6)).astype(np.float32)} for _ in range(3)])
    changed = ops[5]
    for op in graph.ops:
        pairs = streams.operands(op)
        if op is changed:
            assert all(a is b for near, exact in pairs for a, b in zip(near, exact))
            streams.advance(op, op.with_operands([op.operands[0], values(6, 6), op.operands[2]]))
        else:
            streams.advance(op)
        assert len(streams.exact[0]) <= 4 and len(streams.near[0]) <= 4
    assert not streams.exact[0] and ops[-1].output not in streams.near[0]
