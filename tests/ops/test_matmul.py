"""MatMul and Gemm: reference against onnxruntime, lowering against reference, symbolic dimensions, error messages."""

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from edgec.errors import TypeMismatch
from edgec.evaluate import evaluate_op
from edgec.expr import var
from edgec.graph import graph_input, run_reference
from edgec.ops.matmul import Gemm, MatMul
from edgec.types import TensorType, bf16, f32, i32

quick = settings(deadline=None, max_examples=25)
extent = st.integers(1, 5)


def value(name, *shape, dtype=f32):
    return graph_input(name, TensorType(dtype, shape))


def draw_array(shape, dtype, seed):
    random = np.random.default_rng(seed)
    return random.integers(0, 9, shape).astype(dtype) if np.dtype(dtype).kind in "iu" else random.standard_normal(shape).astype(dtype)


@st.composite
def factors(draw):
    """Shapes of two matmul operands: 1-D or batches that broadcast."""
    m, k, n = draw(extent), draw(extent), draw(extent)
    lead = draw(st.lists(extent, max_size=2))
    thin = lambda: [1 if draw(st.booleans()) else d for d in lead[draw(st.integers(0, len(lead))):]]
    a = [k] if draw(st.integers(0, 4)) == 0 else [*thin(), m, k]
    b = [k] if draw(st.integers(0, 4)) == 0 else [*thin(), k, n]
    return a, b


@given(factors(), st.sampled_from((np.float32, np.float64, np.int32, np.uint64)), st.integers(0, 99))
@quick
def test_matmul(check, shapes, dtype, seed):
    a, b = draw_array(shapes[0], dtype, seed), draw_array(shapes[1], dtype, seed + 1)
    check(MatMul, [a, b], terms=a.shape[-1], magnitude=a.shape[-1] * float(np.abs(a).max() * np.abs(b).max()))


@given(extent, extent, extent, st.integers(0, 1), st.integers(0, 1), st.data())
@quick
def test_gemm(check, m, k, n, trans_a, trans_b, data):
    seed = data.draw(st.integers(0, 99))
    a, b = draw_array((k, m) if trans_a else (m, k), np.float32, seed), draw_array((n, k) if trans_b else (k, n), np.float32, seed + 1)
    shape = data.draw(st.sampled_from((None, (), (1,), (n,), (1, n), (m, 1), (m, n))))
    c = None if shape is None else np.asarray(draw_array(shape, np.float32, seed + 2))
    alpha, beta = data.draw(st.sampled_from(((1.0, 1.0), (0.5, 2.0), (-1.25, 0.0))))
    size = k * float(np.abs(a).max() * np.abs(b).max()) * 2 + (0 if c is None else 2 * float(np.abs(c).max()))
    check(Gemm, [a, b, c], terms=k, magnitude=size, transA=trans_a, transB=trans_b, alpha=alpha, beta=beta)


@pytest.mark.parametrize("dtype", [np.float16, bf16.numpy, np.int32, np.uint32])
def test_other_types(check, dtype):
    a, b, c = (draw_array(shape, dtype, 4) for shape in ((3, 4), (4, 5), (5,)))
    size = 8 * float(np.abs(a.astype(float)).max() * np.abs(b.astype(float)).max())
    check(MatMul, [a, b], terms=4, magnitude=size, oracle=False)
    check(Gemm, [a, b, c], alpha=2.0, beta=3.0, terms=4, magnitude=size, oracle=False)


def test_symbolic_rows_and_inner_dimension():
    n, k = var("n", 1, 6), var("k", 1, 6)
    op = MatMul(value("a", n, 3, k), value("b", k, 4))
    assert op.output.shape == (n, 3, 4)
    a, b = draw_array((5, 3, 2), np.float32, 0), draw_array((2, 4), np.float32, 1)
    np.testing.assert_allclose(evaluate_op(op, [a, b])[0], run_reference(op, [a, b])[0], rtol=1e-5, atol=1e-5)


def test_an_empty_inner_dimension_gives_zeros(check):
    check(MatMul, [np.zeros((2, 0), np.float32), np.zeros((0, 3), np.float32)])


@pytest.mark.parametrize("make, message", [
    (lambda: MatMul(value("a", 1, 512), value("b", 500, 10)), "inner dimensions differ: 512 and 500"),
    (lambda: MatMul(value("a", 2, 3, 4), value("b", 5, 4, 3)), r"shapes \[2\] and \[5\] do not broadcast"),
    (lambda: MatMul(value("a"), value("b", 3)), "an operand is a scalar"),
    (lambda: MatMul(value("a", 3), value("b", 3, dtype=i32)), "element types differ: f32 and i32"),
    (lambda: MatMul(value("a", var("n"), var("k")), value("b", var("m"), 3)), "inner dimensions differ: k and m"),
    (lambda: Gemm(value("a", 2, 3, 4), value("b", 4, 3)), "ranks 3 and 2"),
    (lambda: Gemm(value("a", 2, 3), value("b", 4, 3)), "inner dimensions differ: 3 and 4"),
    (lambda: Gemm(value("a", 2, 3), value("b", 3, 4), value("c", 3)), "do not broadcast"),
    (lambda: Gemm(value("a", 2, 3), value("b", 3, 4), value("c", 1, 2, 4)), "does not broadcast to"),
    (lambda: Gemm(value("a", 2, 3, dtype=i32), value("b", 3, 4, dtype=i32), alpha=0.5), "must be whole numbers"),
    (lambda: Gemm(value("a", 2, 3, dtype=i32), value("b", 3, 4)), "one number type"),
])
def test_errors(make, message):
    with pytest.raises(TypeMismatch, match=message):
        make()
