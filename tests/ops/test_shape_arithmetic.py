"""Arithmetic on shapes with symbols: broadcasting, products, quotients, axes, and elements that must be known."""

import numpy as np
import pytest

from edgec.errors import TypeMismatch, Unsupported
from edgec.expr import dim, var
from edgec.graph import constant, graph_input
from edgec.ops.comparison import Identity
from edgec.ops.reshape import Shape
from edgec.ops.shape_arithmetic import (
    broadcast_shapes,
    exact_quotient,
    factors,
    known,
    known_numbers,
    normal_axes,
    product,
    same_product,
    shape_text,
)
from edgec.types import TensorType, f32, i64

N, M = var("n", 1, 8), var("m", 2, 5)
OP = Identity(graph_input("x", TensorType(f32, (2,))))


def test_broadcast():
    assert broadcast_shapes(OP, (N, 1, 4), (3, 1), ()) == (N, 3, 4)
    assert broadcast_shapes(OP, (N, M), (N, 1)) == (N, M)
    assert broadcast_shapes(OP, (0,), (1,)) == (0,)
    with pytest.raises(TypeMismatch, match="sizes n and m at axis -1"):
        broadcast_shapes(OP, (N,), (M,))


def test_products_and_quotients():
    assert product((N, 3, 4)) is dim(N * 12)
    assert same_product((N, 12), (4, N, 3)) and not same_product((N, 12), (N, 11))
    assert same_product((0, N), (5, 0))
    assert exact_quotient((N, 3, 8), (4, N)) == 6
    assert exact_quotient((dim(N * 12),), (4,)) is dim(N * 3)
    assert exact_quotient((dim(N * M), 2), (M,)) is dim(N * 2)
    assert exact_quotient((N,), (2,)) is None and exact_quotient((6,), (4,)) is None and exact_quotient((4,), (N,)) is None
    assert exact_quotient((0, 3), (3,)) == 0 and exact_quotient((4,), (0,)) is None


def test_a_sum_is_one_factor_without_its_common_divisor():
    number, symbols = factors((dim(N * 4 + 4), 3))
    assert number == 12 and symbols == [N + 1]


def test_axes():
    assert normal_axes(OP, (-1, 0), 3) == (2, 0)
    with pytest.raises(TypeMismatch, match=r"axis 3 is outside \[-3, 2\]"):
        normal_axes(OP, (3,), 3)
    with pytest.raises(TypeMismatch, match="name one axis twice"):
        normal_axes(OP, (0, -3), 3)


def test_known_operands():
    assert known(OP, constant(np.array([1, 2])), "it") == (1, 2)
    with pytest.raises(Unsupported, match="Identity: the shape %s is not known at compile time"):
        known(OP, graph_input("s", TensorType(i64, (2,))), "the shape")
    with pytest.raises(Unsupported, match=r"depends on a symbolic dimension: \[n, 3\]"):
        known_numbers(OP, Shape(graph_input("x", TensorType(f32, (N, 3)))).output, "it")


def test_text():
    assert shape_text((N, 3)) == "[n, 3]"
