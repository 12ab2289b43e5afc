"""Comparisons, logic, bits and choices: reference against onnxruntime, lowering against reference, symbolic choices, error messages."""

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from edgec.errors import TypeMismatch, Unsupported
from edgec.expr import var
from edgec.graph import constant, graph_input, run_reference
from edgec.ops.comparison import (
    And,
    BitShift,
    BitwiseAnd,
    BitwiseNot,
    BitwiseOr,
    BitwiseXor,
    Dropout,
    Equal,
    Greater,
    GreaterOrEqual,
    Identity,
    Less,
    LessOrEqual,
    Not,
    Or,
    Where,
    Xor,
)
from edgec.ops.reshape import Shape
from edgec.types import TensorType, bool_, f32, i32

SHAPES = st.sampled_from([((2, 3), (3,)), ((), (2, 2)), ((1, 4), (3, 1)), ((5,), (5,)), ((2, 1, 3), (2, 1))])


def small(shape, dtype, seed):
    return np.random.default_rng(seed).integers(0, 4, shape).astype(dtype)


def value(name, *shape, dtype=f32):
    return graph_input(name, TensorType(dtype, shape))


@pytest.mark.parametrize("cls", [Equal, Less, Greater, LessOrEqual, GreaterOrEqual])
@given(SHAPES, st.integers(0, 99), st.sampled_from([np.float32, np.float64, np.int32, np.int64]))
@settings(deadline=None, max_examples=25)
def test_comparisons(check, cls, shapes, seed, dtype):
    check(cls, [small(shapes[0], dtype, seed), small(shapes[1], dtype, seed + 1)])


@pytest.mark.parametrize("cls", [Equal, Less, Greater, LessOrEqual, GreaterOrEqual])
@pytest.mark.parametrize("dtype", [np.float16, np.int8, np.uint8, np.uint32, np.uint64])
def test_comparisons_of_other_types(check, cls, dtype):
    check(cls, [small((3, 4), dtype, 0), small((4,), dtype, 1)], oracle=False)


def test_nothing_equals_nan(check):
    x = np.array([np.nan, 1, np.inf], np.float32)
    for cls in (Equal, Less, GreaterOrEqual):
        check(cls, [x, x])


@pytest.mark.parametrize("cls", [And, Or, Xor, Equal])
@given(SHAPES, st.integers(0, 99))
@settings(deadline=None, max_examples=25)
def test_logic(check, cls, shapes, seed):
    check(cls, [small(shapes[0], np.int8, seed) > 1, small(shapes[1], np.int8, seed + 1) > 1])


def test_not(check):
    check(Not, [np.array([[True, False]])])


@pytest.mark.parametrize("cls", [BitwiseAnd, BitwiseOr, BitwiseXor])
@pytest.mark.parametrize("dtype", [np.int8, np.uint8, np.int32, np.uint16, np.int64, np.uint64])
def test_bits(check, cls, dtype):
    random = np.random.default_rng(0)
    a, b = (random.integers(np.iinfo(dtype).min, np.iinfo(dtype).max, (3, 5), dtype) for _ in range(2))
    check(cls, [a, b])
    check(BitwiseNot, [a])


@pytest.mark.parametrize("direction", ["LEFT", "RIGHT"])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.uint32, np.uint64])
def test_unsigned_shifts(check, direction, dtype):
    bits = 8 * np.dtype(dtype).itemsize
    x, y = np.meshgrid(np.array([0, 1, 5, np.iinfo(dtype).max], dtype), np.arange(bits).astype(dtype))
    check(BitShift, [x, y], direction=direction, oracle=dtype is not np.uint16)


@pytest.mark.parametrize("dtype", [np.int8, np.int32, np.int64, np.uint8])
def test_shifts_out_of_range_leave_the_sign(check, dtype):
    bits = 8 * np.dtype(dtype).itemsize
    x = np.array([-5, 5, np.iinfo(dtype).max]).astype(dtype)
    for amount in (0, 1, bits - 1, bits, 100, *([] if dtype is np.uint8 else [-1])):
        for direction in ("LEFT", "RIGHT"):
            check(BitShift, [x, np.full(3, amount, dtype)], direction=direction, oracle=False)
    result, = check(BitShift, [np.array([-5], np.int8), np.array([100], np.int8)], direction="RIGHT", oracle=False)
    assert result == -1


@given(st.sampled_from([((2, 3), (3,), (1,)), ((), (2, 2), (2,)), ((3, 1), (1, 4), ()), ((5,), (5,), (5,))]), st.integers(0, 99),
       st.sampled_from([np.float32, np.int32, np.int64, np.uint8]))
@settings(deadline=None, max_examples=25)
def test_where(check, shapes, seed, dtype):
    check(Where, [small(shapes[0], np.int8, seed) > 1, small(shapes[1], dtype, seed), small(shapes[2], dtype, seed + 1)])


def test_where_chooses_between_dimensions():
    n = var("n", 1, 8)
    shape = Shape(value("x", n, 3)).output
    minus = constant(np.array([-1, 3]))
    chosen = Where(Equal(minus, constant(np.array([-1, -1]))).output, shape, minus).output
    assert chosen.elements == (n, 3)
    assert Equal(shape, constant(np.array([-1, 3]))).output.elements == (False, True)
    assert Equal(shape, constant(np.array([4, 3]))).output.elements is None


def test_identity_and_dropout(check):
    x = np.arange(6, dtype=np.float32).reshape(2, 3)
    check(Identity, [x])
    result, mask = check(Dropout, [x, np.float32(0.3)])
    assert result is x and mask.all()
    check(Dropout, [x, np.float32(0.3), np.array(False)], constants=(1, 2))


def test_errors():
    with pytest.raises(TypeMismatch, match="must be bool, it is f32"):
        And(value("a", 2), value("b", 2))
    with pytest.raises(TypeMismatch, match="the condition must be bool, it is i32"):
        Where(value("c", 2, dtype=i32), value("a", 2), value("b", 2))
    with pytest.raises(TypeMismatch, match="element types differ: f32 and i32"):
        Where(value("c", 2, dtype=bool_), value("a", 2), value("b", 2, dtype=i32))
    with pytest.raises(TypeMismatch, match="direction 'UP' is neither LEFT nor RIGHT"):
        BitShift(value("a", 2, dtype=i32), value("b", 2, dtype=i32), direction="UP")
    with pytest.raises(TypeMismatch, match="must be an integer type, it is f32"):
        BitwiseNot(value("a", 2))
    with pytest.raises(Unsupported, match="training mode is not inference"):
        Dropout(value("a", 2), None, constant(np.array(True)))


def test_dropout_of_nothing_may_train():
    x, yes = graph_input("x", TensorType(f32, (2,))), constant(np.array(True))
    assert run_reference(Dropout(x, constant(np.float32(0)), yes), [np.float32([1, 2]), np.float32(0), np.array(True)])[0].tolist() == [1, 2]
    with pytest.raises(Unsupported, match="training mode"):
        Dropout(x, constant(np.float32(0.5)), yes)
    with pytest.raises(Unsupported, match="not known at compile time"):
        Dropout(x, None, graph_input("t", TensorType(bool_, ())))
