"""The loop interpreter against numpy, and what it refuses."""

import numpy as np
import pytest
from hypothesis import given, settings

from edgec.errors import Internal
from edgec.loops_interpreter import run_loops
from edgec.loops_parser import parse_loops
from edgec.loops_verifier import verify_loops
from edgec.testing import loop_programs

HEAD = "loops t\nsymbols n in 1..8\nparam x: f32[32]\nparam y: f32[32] writable\n"
X = np.linspace(-4, 4, 32, dtype=np.float32)


def run(body, n=3, x=X):
    """The output after running the statements on x."""
    loops = parse_loops(HEAD + body)
    verify_loops(loops)
    y = np.zeros(32, np.float32)
    run_loops(loops, [x.copy(), y], {"n": n})
    return y


def test_a_vector_matmul():
    loops = parse_loops("loops mm\nsymbols n in 1..8\nparam x: f32[32*n]\nparam w: f32[512]\nparam y: f32[16*n] writable\nfor i in 0..n:\n"
                        "  acc: f32[16] = splat<16>(0.0)\n  for k in 0..32:\n    acc = mul_add(splat<16>(x[32*i + k]), w[16*k : 16], acc)\n"
                        "  y[16*i : 16] = acc\n")
    generator = np.random.default_rng(0)
    x, w, y = (generator.standard_normal(n).astype(np.float32) for n in (128, 512, 64))
    before = y.copy()
    run_loops(loops, [x, w, y], {"n": 3})
    np.testing.assert_allclose(y[:48].reshape(3, 16), x[:96].reshape(3, 32) @ w.reshape(32, 16), rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(y[48:], before[48:])


@pytest.mark.parametrize("body, expected", [
    ("for i in 0..n:\n  y[i] = x[2*i]\n", lambda y: y.__setitem__(slice(0, 3), X[0:6:2])),
    ("for i in 1..8 step 3:\n  y[i] = 1.0\n", lambda y: y.__setitem__([1, 4, 7], 1)),
    ("y[4 : 8 : 5] = x[0 : 8]\n", lambda y: y.__setitem__(slice(4, 9), X[:5])),
    ("y[0 : 8] = x[28 : 8 : 4]\n", lambda y: y.__setitem__(slice(0, 4), X[28:])),
    ("y[0 : 4] = vector<4>(x[3], x[2], x[1], x[0])\n", lambda y: y.__setitem__(slice(0, 4), X[3::-1])),
    ("y[0] = lane<2>(x[4 : 4])\ny[1] = horizontal<max>(x[0 : 8])\n", lambda y: y.__setitem__(slice(0, 2), [X[6], X[7]])),
    ("y[0 : 8] = cast<f32>(3*n + iota<8>())\n", lambda y: y.__setitem__(slice(0, 8), np.arange(9, 17))),
    ("y[0 : 4] = select(x[14 : 4] < 0.0, 0.0, x[14 : 4])\n", lambda y: y.__setitem__(slice(0, 4), np.maximum(X[14:18], 0))),
    ("if n < 4:\n  y[0] = 1.0\nelse:\n  y[0] = 2.0\n", lambda y: y.__setitem__(0, 1)),
    ("if n < 3:\n  y[0] = 1.0\nelse:\n  y[0] = 2.0\n", lambda y: y.__setitem__(0, 2)),
    ("a: f32 = x[1]\na = a + x[2]\nblock:\n  y[max(n - 2, n // 2)] = a\n", lambda y: y.__setitem__(1, X[1] + X[2])),
    ("for i in 0..4:\n  y[i] = inside(i - 2 < 32; x[i - 2]; 9.0)\n", lambda y: y.__setitem__(slice(0, 4), [9, 9, X[0], X[1]])),
    ("y[0 : 4] = inside(iota<4>() - 2 < 32; x[0 : 4]; 9.0)\n", lambda y: y.__setitem__(slice(0, 4), [9, 9, X[2], X[3]])),
    ("y[0 : 4] = x[0 : 4] * x[5]\n", lambda y: y.__setitem__(slice(0, 4), X[:4] * X[5])),
    ("a: f32[4] = x[0]\ny[0 : 4] = a\n", lambda y: y.__setitem__(slice(0, 4), X[0])),
])
def test_statements(body, expected):
    y = np.zeros(32, np.float32)
    expected(y)
    np.testing.assert_array_equal(run(body), y)


@pytest.mark.parametrize("body, message", [
    ("y[0] = x[32]\n", r"load from x\[32\] of 1 elements leaves its 32"),
    ("y[0] = x[n - 4]\n", r"load from x\[-1\]"),
    ("y[0 : 8] = x[28 : 8]\n", r"load from x\[28\] of 8"),
    ("y[30 : 4] = splat<4>(1.0)\n", r"store to y\[30\] of 4"),
    ("for i in 0..9:\n  y[4*i] = 1.0\n", r"store to y\[32\]"),
    ("y[0] = select(n < 9, 1.0, x[40])\n", r"load from x\[40\]"),
])
def test_leaving_a_parameter_is_an_error(body, message):
    with pytest.raises(Internal, match=message):
        run(body)


def test_the_place_of_an_error_is_told():
    with pytest.raises(Internal) as caught:
        run("for i in 0..9:\n  y[4*i] = 1.0\n")
    assert "n = 3" in str(caught.value) and "= 8" in str(caught.value)


def test_a_register_must_be_assigned():
    loops = parse_loops(HEAD + "for i in 0..n - 1:\n  a: f32 = 1.0\ny[0] = a\n")
    y = np.zeros(32, np.float32)
    run_loops(loops, [X, y], {"n": 2})
    assert y[0] == 1
    with pytest.raises(Internal, match="register a is read before"):
        run_loops(loops, [X, y], {"n": 1})


@pytest.mark.parametrize("arrays, symbols, message", [
    ([X], {"n": 1}, "2 parameters, 1 arrays"),
    ([X, np.zeros(31, np.float32)], {"n": 1}, "needs 32 elements of f32"),
    ([X, np.zeros(32)], {"n": 1}, "needs 32 elements of f32"),
    ([X, np.zeros((4, 8), np.float32)], {"n": 1}, "needs 32 elements of f32"),
    ([X, np.zeros(32, np.float32)], {}, "no value for symbol n"),
])
def test_arrays_must_fit(arrays, symbols, message):
    with pytest.raises(Internal, match=message):
        run_loops(parse_loops(HEAD + "y[0] = x[0]\n"), arrays, symbols)


@given(loop_programs())
@settings(max_examples=100)
def test_drawn_loops_verify_and_run(loops):
    verify_loops(loops)
    arrays = [X.repeat(3), np.zeros(96, np.float32)]
    run_loops(loops, arrays, {"n": 2})
    np.testing.assert_array_equal(arrays[0], X.repeat(3))
