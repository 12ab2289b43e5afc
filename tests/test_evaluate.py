"""edgec.evaluate against plain numpy: every node kind, nesting, poison of reads out of range, and whole-op evaluation."""

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from edgec.evaluate import convert, divide, evaluate, evaluate_op
from edgec.expr import (
    Combine,
    argument,
    binary,
    cast,
    compare,
    const,
    fresh,
    inside,
    maximum,
    mul_add,
    read,
    reduce,
    reduce_over,
    select,
    sum_over,
    unary,
    var,
)
from edgec.graph import Op, Value, graph_input
from edgec.types import TensorType, bf16, bool_, f16, f32, i8, i32, i64, index, u8


class Source:
    """A readable array."""

    def __init__(self, data):
        self.data, self.shape = np.asarray(data), np.shape(data)
        self.dtype = {"float32": f32, "int32": i32, "int64": i64}[str(self.data.dtype)]


def fetch(source, indices):
    return source.data[indices]


def run(expr, **env):
    return evaluate(expr, {var(k, 0, 99): v for k, v in env.items()}, fetch)


I, J = var("i", 0, 99), var("j", 0, 99)


def test_index_arithmetic_broadcasts():
    i, j = np.arange(5).reshape(5, 1), np.arange(7)
    np.testing.assert_array_equal(run((I * 7 + J) // 3, i=i, j=j), (i * 7 + j) // 3)
    np.testing.assert_array_equal(run((I * 7 + J - 9) % 4, i=i, j=j), (i * 7 + j - 9) % 4)
    np.testing.assert_array_equal(run(I * J * I + 1, i=i, j=j), i * j * i + 1)
    np.testing.assert_array_equal(run(maximum(I - J, 0), i=i, j=j), np.maximum(i - j, 0))


@given(st.integers(-128, 127), st.integers(-128, 127))
@settings(deadline=None, max_examples=60)
def test_integer_division_and_remainder_are_those_of_c(a, b):
    x, y = const(a, i8), const(b, i8)
    expected = a if b == 0 else (abs(a) // abs(b)) * (1 if (a < 0) == (b < 0) else -1)
    assert evaluate(binary("div", x, y), {}, None) == np.int64(expected).astype(np.int8)
    if b:
        assert evaluate(binary("mod", x, y), {}, None) == a - expected * b


def test_divide_handles_whole_arrays():
    np.testing.assert_array_equal(divide(np.array([7, -7, 6, 1]), np.array([2, 2, -3, 0])), [3, -3, -2, 1])


def test_float_to_int_truncates_and_saturates():
    x = np.array([1.9, -1.9, 300, -300, np.nan, np.inf, -np.inf], np.float32)
    np.testing.assert_array_equal(convert(x, f32, u8), [1, 0, 255, 0, 0, 255, 0])
    np.testing.assert_array_equal(convert(x, f32, i8), [1, -1, 127, -128, 0, 127, -128])
    assert convert(np.float32(1e30), f32, i64) == np.iinfo(np.int64).max
    assert convert(np.float32(-1e30), f32, i64) == np.iinfo(np.int64).min


def test_int_to_int_wraps_or_saturates():
    x = np.array([300, -1, 127], np.int32)
    np.testing.assert_array_equal(convert(x, i32, u8), [44, 255, 127])
    np.testing.assert_array_equal(convert(x, i32, u8, saturate=True), [255, 0, 127])
    np.testing.assert_array_equal(convert(x, i32, bool_), [True, True, True])


def test_floats_round_to_their_type():
    assert evaluate(binary("add", const(2048, f16), const(1, f16)) * 1.0, {}, None).dtype == np.float16
    assert evaluate(mul_add(const(3, f32), const(4, f32), const(5, f32)), {}, None) == np.float32(17)
    assert evaluate(unary("exp", const(1, bf16)), {}, None).dtype == bf16.numpy
    assert evaluate(unary("erf", const(0.5, f32)), {}, None) == np.float32(0.5204998778130465)


def test_bool_and_comparison_nodes():
    i = np.arange(4)
    np.testing.assert_array_equal(run((I < 3) & compare("ne", I, 1), i=i), [True, False, True, False])
    np.testing.assert_array_equal(run(~(I < 3), i=i), [False, False, False, True])
    np.testing.assert_array_equal(run(select(I < 2, I * 2, I), i=i), [0, 2, 2, 3])


def test_matmul_is_a_sum_of_reads():
    a, b = (np.random.default_rng(0).normal(size=s).astype(np.float32) for s in ((3, 5), (5, 4)))
    x, y = Source(a), Source(b)
    body = sum_over(5, lambda k: read(x, (I, k)) * read(y, (k, J)))
    result = run(body, i=np.arange(3).reshape(3, 1), j=np.arange(4))
    np.testing.assert_allclose(result, a @ b, rtol=1e-6)
    assert result.dtype == np.float32


def test_inner_reductions_nest_and_outer_ones_are_shared():
    a = np.arange(12, dtype=np.float32).reshape(3, 4)
    x = Source(a)
    top = reduce_over([4], "max", lambda k: read(x, (I, k)))
    body = sum_over(4, lambda c: unary("exp", read(x, (I, c)) - top)) + sum_over(2, lambda c: sum_over(4, lambda d: read(x, (c, d))))
    expected = np.exp(a - a.max(1, keepdims=True)).sum(1) + a[:2].sum()
    np.testing.assert_allclose(run(body, i=np.arange(3)), expected, rtol=1e-6)


def test_a_sum_of_a_constant_counts_its_points():
    assert evaluate(sum_over(3, 4, lambda i, j: const(2, i32)), {}, None) == 24
    assert evaluate(sum_over(0, lambda i: const(2, f32)), {}, None) == 0


def test_a_triangular_extent_masks_the_rest():
    x = Source(np.arange(5, dtype=np.int64))
    np.testing.assert_array_equal(run(sum_over(I + 1, lambda k: read(x, (k,))), i=np.arange(5)), [0, 1, 3, 6, 10])


def test_all_named_reductions():
    x = Source(np.array([[3, 5, 6], [1, 1, 7]], np.int32))
    row = np.arange(2)
    for name, expected in {"add": [14, 9], "mul": [90, 7], "min": [3, 1], "max": [6, 7], "and": [0, 1], "or": [7, 7]}.items():
        start = const(-1, i32) if name == "and" else None
        np.testing.assert_array_equal(run(reduce_over([3], name, lambda k: read(x, (I, k)), start), i=row), expected)


def test_argmax_as_a_tuple_reduction():
    data = np.array([[1, 9, 9, 2, 0], [4, 3, 2, 4, 1]], np.float32)
    x, k = Source(data), fresh("k", 0, 4)
    lv, li, rv, ri = argument("lv", f32), argument("li", i64), argument("rv", f32), argument("ri", i64)
    left = (rv < lv) | (compare("eq", lv, rv) & (li <= ri))
    combine = Combine((lv, li), (rv, ri), (select(left, lv, rv), select(left, li, ri)))
    best, where = reduce(combine, (k,), (5,), (const(-np.inf, f32), const(1 << 40, i64)), (read(x, (I, k)), cast(k, i64)))
    np.testing.assert_array_equal(run(best, i=np.arange(2)), [9, 4])
    np.testing.assert_array_equal(run(where, i=np.arange(2)), [1, 0])


def test_inside_does_not_evaluate_outside():
    x = Source(np.array([10, 20, 30], np.int64))
    shifted = inside([(I - 1, 3)], read(x, (I - 1,)), const(7, i64))
    np.testing.assert_array_equal(run(shifted, i=np.arange(6)), [7, 10, 20, 30, 7, 7])


def test_inside_over_an_empty_source_is_all_fill():
    x = Source(np.zeros((0,), np.float32))
    np.testing.assert_array_equal(run(inside([(I, 0)], read(x, (I,)) * 2.0, const(1, f32)), i=np.arange(2)), [1, 1])


def test_an_unguarded_read_out_of_range_is_an_error():
    x = Source(np.array([10, 20, 30], np.int64))
    with pytest.raises(IndexError, match="leaves its source"):
        run(read(x, (I - 1,)) + 1, i=np.arange(3))
    with pytest.raises(IndexError, match="leaves its source"):
        run(sum_over(4, lambda k: read(x, (k,))))


def test_an_unbound_variable_is_named():
    with pytest.raises(KeyError, match="no value for var i"):
        evaluate(I + 1, {}, None)


def test_a_long_chain_needs_no_recursion():
    e = cast(I, f32)
    for _ in range(20000):
        e = unary("abs", e + 1.0)
    assert run(e, i=0) == 20000


class Shift(Op):
    """y[n, j] = x[n, j] + x[n, 0] (a test operator)."""

    x: Value

    def infer(self):
        return self.x.type

    def lower(self, at, x):
        return x(*at) + x(at[0], 0)


def test_evaluate_op_binds_symbolic_dimensions():
    n = var("batch", 1, 8)
    op = Shift(graph_input("x", TensorType(f32, (n, 3))))
    data = np.arange(6, dtype=np.float32).reshape(2, 3)
    np.testing.assert_array_equal(evaluate_op(op, [data])[0], data + data[:, :1])


def test_evaluate_op_checks_the_element_type():
    class Wrong(Shift):
        def lower(self, at, x):
            return cast(x(*at), i32)

    with pytest.raises(TypeError, match="lower gives i32, infer says f32"):
        evaluate_op(Wrong(graph_input("x", TensorType(f32, (2,)))), [np.zeros(2, np.float32)])


def test_casts_between_index_and_data_types():
    np.testing.assert_array_equal(run(cast(cast(I, f32) * 0.5, index), i=np.arange(5)), [0, 0, 1, 1, 2])
