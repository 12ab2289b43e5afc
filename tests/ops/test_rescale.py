"""Whole-number scaling: against Python's unbounded integers, lowering against reference, compiled against interpreted on every family."""

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

import edgec
from edgec.backends.emulate import emulate, missing_tools
from edgec.backends.native import runs_here
from edgec.backends.target import find
from edgec.errors import TypeMismatch
from edgec.evaluate import evaluate_op
from edgec.graph import Graph, constant, graph_input, run_reference
from edgec.onnx.tensor import CODE_OF_DTYPE
from edgec.ops.fixed_point import exp_of_negative, half_sum, high_product, reciprocal, rounding_shift
from edgec.ops.fixed_softmax import FixedReciprocal, FixedShare
from edgec.ops.integer_pool import IntegerAveragePool
from edgec.ops.rescale import Rescale, RoundAway
from edgec.types import TensorType, f32, i8, i16, i32, u8

quick = settings(deadline=None, max_examples=60)
WHOLE = st.integers(-(1 << 31), (1 << 31) - 1)
MULTIPLIERS = st.integers(1 << 30, (1 << 31) - 1)
SHIFTS = st.integers(24, 50)


def away(x: Fraction) -> int:
    """The nearest whole number, halves away from zero."""
    return int(abs(x) + Fraction(1, 2)) * (1 if x >= 0 else -1)


def upwards(x: Fraction) -> int:
    """The nearest whole number, halves upwards."""
    return (x + Fraction(1, 2)).__floor__()


@given(WHOLE, st.integers(0, (1 << 31) - 1))
@quick
def test_high_product(a, b):
    assert high_product(np.int64(a), np.int64(b)) == upwards(Fraction(a * b, 1 << 31))


@given(WHOLE, st.integers(0, 31))
@quick
def test_rounding_shift(x, bits):
    assert rounding_shift(np.int64(x), np.int64(bits)) == away(Fraction(x, 1 << bits))


@given(WHOLE, WHOLE)
@quick
def test_half_sum(a, b):
    assert half_sum(np.int64(a), np.int64(b)) == away(Fraction(a + b, 2))


@given(st.integers(-(1 << 31), 0))
@quick
def test_exponentials_are_near(raw):
    rest = (1 / 8) ** 5 / 120  # of the series that the polynomial is the beginning of
    assert exp_of_negative(np.int64(raw), 5) / 2.0 ** 31 == pytest.approx(np.exp(raw / 2.0 ** 26), abs=rest + 2.0 ** -26)


@given(st.integers(0, (1 << 31) - 1))
@quick
def test_reciprocals_are_near(raw):
    assert reciprocal(np.int64(raw)) / 2.0 ** 31 == pytest.approx(1 / (1 + raw / 2.0 ** 31), abs=2.0 ** -27)


def value(name, *shape, dtype=i32):
    return graph_input(name, TensorType(dtype, shape))


def vector(*numbers):
    return constant(np.array(numbers, np.int32))


@given(x=st.lists(WHOLE, min_size=4, max_size=4), factors=st.lists(st.tuples(MULTIPLIERS, SHIFTS), min_size=4, max_size=4))
@quick
def test_rescale_once(x, factors):
    op = Rescale(value("x", 4), vector(*(m for m, _ in factors)), vector(*(s for _, s in factors)), rounding="once", to=CODE_OF_DTYPE[i32])
    array = np.array(x, np.int32)
    found, = run_reference(op, [array, *(v.array for v in op.operands[1:])])
    wanted = [upwards(Fraction(a * m, 1 << s)) for a, (m, s) in zip(x, factors)]
    np.testing.assert_array_equal(found, np.array(wanted, np.int64).astype(np.int32))


@given(x=st.lists(st.integers(-(1 << 24), 1 << 24), min_size=4, max_size=4), factor=MULTIPLIERS, shift=SHIFTS)
@quick
def test_rescale_twice(x, factor, shift):
    op = Rescale(value("x", 4), constant(np.int32(factor)), constant(np.int32(shift)))
    found, = run_reference(op, [np.array(x, np.int32), *(v.array for v in op.operands[1:])])
    left, right = max(31 - shift, 0), max(shift - 31, 0)
    moved = [int(np.int64(a << left).astype(np.int32)) for a in x]
    np.testing.assert_array_equal(found, [away(Fraction(upwards(Fraction(a * factor, 1 << 31)), 1 << right)) for a in moved])


def sums(seed, *shape, bits=20):
    return np.random.default_rng(seed).integers(-(1 << bits), 1 << bits, shape).astype(np.int32)


def cases():
    """Operators over inputs of their own, with arrays: every way of rounding, single factors and one a channel."""
    rng = np.random.default_rng(7)
    x, multipliers = value("x", 2, 5, 9), constant(rng.integers(1 << 30, 1 << 31, 5).astype(np.int32))
    wide, narrow = (constant(rng.integers(low, 46, 5).astype(np.int32)) for low in (32, 28))
    one = constant(np.int32(1518500250)), constant(np.int32(40))
    bytes_ = {"to": CODE_OF_DTYPE[i8], "zero": -7}
    array = sums(1, 2, 5, 9)
    found = {f"{rounding}-{name}": (Rescale(x, m, s, axis=1, rounding=rounding, **options), [array])
             for rounding in ("once", "twice")
             for name, m, s, options in (("channels", multipliers, wide, bytes_), ("left", multipliers, narrow, {}),
                                         ("single", *one, {"low": -5, "high": 90, **bytes_}))}
    real = rng.normal(0, 30, (2, 5, 9)).astype(np.float32)
    real.ravel()[:6] = 0.25, -0.25, 0.75, -0.75, 1e9, -1e9
    found["away"] = RoundAway(value("r", 2, 5, 9, dtype=f32), scale=0.5, zero=3, to=CODE_OF_DTYPE[u8]), [real]
    totals = rng.integers(1 << 19, 1 << 30, (4, 6)).astype(np.int32)
    found["reciprocal"] = FixedReciprocal(value("t", 4, 6)), [totals]
    share = FixedShare(value("e", 4, 6), value("s", 4, 1), value("b", 4, 1), to=CODE_OF_DTYPE[i16])
    found["share"] = share, [np.abs(sums(2, 4, 6, bits=30)), np.abs(sums(3, 4, 1, bits=30)) + (1 << 29), np.array([[0], [1], [4], [9]], np.int32)]
    pool = IntegerAveragePool(value("p", 1, 3, 7, 8, dtype=i8), kernel_shape=(3, 2), strides=(2, 1), auto_pad="SAME_UPPER")
    found["pool"] = pool, [rng.integers(-128, 128, (1, 3, 7, 8)).astype(np.int8)]
    return found


@pytest.mark.parametrize("name", cases())
def test_lowering_equals_reference(name):
    op, arrays = cases()[name]
    given_ = [*arrays, *(v.array for v in op.operands if v.is_constant)]
    for found, expected, result in zip(evaluate_op(op, given_), run_reference(op, given_), op.results):
        assert expected.dtype == result.dtype.numpy and expected.shape == result.shape
        np.testing.assert_array_equal(found, expected)


def together():
    """One graph of all operators, and its inputs."""
    ops = cases()
    inputs = {v.name: (v, a) for op, arrays in ops.values() for v, a in zip((v for v in op.operands if not v.is_constant), arrays)}
    outputs = [(f"{name}{n}", v) for name, (op, _) in ops.items() for n, v in enumerate(op.results)]
    graph = Graph(tuple(v for v, _ in inputs.values()), tuple(v for _, v in outputs), tuple(n for n, _ in outputs))
    return graph, {name: array for name, (_, array) in inputs.items()}


HERE, ELSEWHERE = ("x86-64", "x86-64-v3", "x86-64-v4", "native"), ("aarch64", "cortex-a7", "cortex-m4")


@pytest.mark.parametrize("name", [*HERE, *ELSEWHERE])
def test_compiled_equals_interpreted(name):
    target = find(name)
    graph, inputs = together()
    artifact = edgec.compile(graph, target, workers=0)
    if name in HERE:
        if not runs_here(target):
            pytest.skip(f"this processor cannot run {name}")
        found = artifact.run(inputs)
    else:
        missing = missing_tools(target)
        if missing:
            pytest.skip(f"running {name} needs {', '.join(missing)}")
        found, = emulate(artifact, [inputs]).outputs
    for output, expected in edgec.interpret(graph, inputs).items():
        np.testing.assert_array_equal(found[output], expected, err_msg=output)


X, ONE = value("x", 2, 3), constant(np.int32(1 << 30))


@pytest.mark.parametrize("make, message", [
    (lambda: Rescale(value("f", 3, dtype=f32), ONE, ONE), "the operand is f32; i32 is needed"),
    (lambda: Rescale(X, ONE, value("s")), "%s must be an i32 constant"),
    (lambda: Rescale(X, vector(1, 2), ONE, axis=1), "must be an i32 constant, one or one a place of axis 1"),
    (lambda: Rescale(X, ONE, vector(0, 40, 41), axis=1), "a shift is not within 1 to 62"),
    (lambda: Rescale(X, ONE, vector(40, 40, 41), axis=1, rounding="never"), "it can be 'twice' or 'once'"),
    (lambda: RoundAway(X, scale=1.0), "the operand is i32; f32 is needed"),
    (lambda: FixedReciprocal(value("r", 3, dtype=f32)), "the operand is f32; i32 is needed"),
    (lambda: FixedShare(X, X, value("r", 3, dtype=f32)), "all operands must be i32"),
    (lambda: IntegerAveragePool(value("p", 1, 3, 7, 8, dtype=f32), kernel_shape=(2, 2)), "8 or 16-bit integers are needed"),
])
def test_errors(make, message):
    with pytest.raises(TypeMismatch, match=message):
        make()
