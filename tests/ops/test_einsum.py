"""Einsum: onnxruntime, lowering, diagonals, ellipses, implicit results, symbolic sizes, error messages."""

import string

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from edgec.errors import TypeMismatch
from edgec.evaluate import evaluate_op
from edgec.expr import var
from edgec.graph import graph_input, run_reference
from edgec.ops.einsum import Einsum
from edgec.types import TensorType, f32, i32

CASES = [("ij,jk->ik", (2, 3), (3, 4)), ("bij,bjk->bik", (2, 3, 4), (2, 4, 2)), ("ij->ji", (2, 3)), ("ii->i", (3, 3)), ("ii", (3, 3)),
         ("ij->", (2, 3)), ("i,j->ij", (2,), (3,)), ("...ij,...jk->...ik", (2, 1, 3, 4), (5, 4, 2)), ("...ij->...ji", (2, 3, 4)),
         ("bhwc,hkc->bhwk", (2, 3, 2, 4), (3, 5, 4)), ("ij, jk", (2, 3), (3, 4)), ("ab,bc,cd->ad", (2, 3), (3, 2), (2, 4)),
         ("i...->...", (2, 3)), ("ijk,ijk->i", (2, 3, 2), (2, 3, 2)), ("...,...", (2, 3), (3,)), ("iij->j", (2, 2, 3)),
         ("Aa,aB->AB", (2, 3), (3, 4)), ("i...j", (2, 4, 3))]


def value(name, *shape, dtype=f32):
    return graph_input(name, TensorType(dtype, shape))


@pytest.mark.parametrize("case", CASES, ids=lambda c: c[0])
@pytest.mark.parametrize("dtype", [np.float32, np.int32, np.float64])
def test_cases(check, case, dtype):
    equation, *shapes = case
    random = np.random.default_rng(0)
    arrays = [(random.standard_normal(s) * 3).astype(dtype) for s in shapes]
    broadcasts = len(shapes) > 1 and "..." in equation  # onnxruntime refuses broadcast axes of different sizes
    result, = check(Einsum, arrays, terms=16, magnitude=500, oracle=not broadcasts, equation=equation)
    wide = [a.astype(np.float64) if dtype != np.int32 else a for a in arrays]
    np.testing.assert_allclose(result, np.einsum(equation.replace(" ", ""), *wide), rtol=1e-5, atol=1e-5)


@given(st.data())
@settings(deadline=None, max_examples=30)
def test_drawn_equations(check, data):
    labels = string.ascii_letters[:data.draw(st.integers(1, 4))]
    sizes = {c: data.draw(st.integers(1, 3)) for c in labels}
    terms = ["".join(data.draw(st.lists(st.sampled_from(labels), max_size=3, unique=True))) for _ in range(data.draw(st.integers(1, 3)))]
    used = sorted(set("".join(terms)))
    result = "".join(data.draw(st.lists(st.sampled_from(used), unique=True))) if used else ""
    arrays = [np.random.default_rng(n).standard_normal([sizes[c] for c in t]).astype(np.float32) for n, t in enumerate(terms)]
    check(Einsum, arrays, terms=81, magnitude=500, oracle=False, equation=",".join(terms) + "->" + result)


def test_symbolic_labels():
    n = var("n", 1, 8)
    op = Einsum((value("a", n, 3), value("b", 3, 2)), equation="ni,ij->nj")
    assert op.output.shape == (n, 2)
    arrays = [np.random.default_rng(0).standard_normal(s).astype(np.float32) for s in ((5, 3), (3, 2))]
    np.testing.assert_allclose(evaluate_op(op, arrays)[0], run_reference(op, arrays)[0], rtol=1e-6)


def test_errors():
    a, b = value("a", 2, 3), value("b", 4, 5)
    with pytest.raises(TypeMismatch, match="'j' labels axes of sizes 3 and 4"):
        Einsum((a, b), equation="ij,jk->ik")
    with pytest.raises(TypeMismatch, match="has 1 terms for 2 operands"):
        Einsum((a, b), equation="ij->i")
    with pytest.raises(TypeMismatch, match="the term 'ijk' does not label the axes of an operand of rank 2"):
        Einsum((a,), equation="ijk->i")
    with pytest.raises(TypeMismatch, match="repeats a label or names one that no operand has"):
        Einsum((a,), equation="ij->k")
    with pytest.raises(TypeMismatch, match="repeats a label"):
        Einsum((a,), equation="ij->ii")
    with pytest.raises(TypeMismatch, match=r"cannot read the term 'i\*'"):
        Einsum((a,), equation="i*->i")
    with pytest.raises(TypeMismatch, match="element types differ: f32 and i32"):
        Einsum((a, value("c", 3, dtype=i32)), equation="ij,j->i")
