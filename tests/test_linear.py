"""The canonical form of index arithmetic: splitting, joining, intervals of remainders, division, strides."""

import pytest
from hypothesis import given, strategies as st

from edgec.expr import UNBOUNDED, const, maximum, minimum, var
from edgec.linear import coefficient, floordiv, interval, join, multiply, scale, split
from edgec.sweeps import substitute
from edgec.testing import index_exprs
from edgec.types import index

I, J, K, N, M = var("i", 0, 7), var("j", 0, 6), var("k", 0, 99), var("n", 1, 8), var("m", 2, 5)
WIDE = var("wide")


@given(index_exprs((I, J, K)))
def test_split_and_join_are_inverse(e):
    constant, terms = split(e)
    assert join(constant, terms) is e
    assert all(c for c in terms.values()) and all(a.op not in ("linear", "const") for a in terms)


atoms = st.sampled_from([I, J, K, I // 2, minimum(I, J)])


@given(st.lists(st.tuples(atoms, st.integers(-5, 5)), max_size=8), st.integers(-9, 9), st.randoms())
def test_the_order_of_terms_does_not_matter(pairs, constant, random):
    def total(items):
        found = const(constant, index)
        for atom, c in items:
            found = found + atom * c
        return found
    shuffled = list(pairs)
    random.shuffle(shuffled)
    assert total(pairs) is total(shuffled)


def test_a_lone_atom_stands_for_itself():
    assert join(0, {I: 1}) is I
    assert join(0, {I: 2}).op == "linear" and join(1, {I: 1}).op == "linear"
    assert join(5, {}) is const(5, index) and join(5, {I: 0}) is const(5, index)


@pytest.mark.parametrize("e, low, high", [
    (I * 4 + J - 3, -3, 31),
    (-I, -7, 0),
    (K % 7, 0, 6),
    (K // 7, 0, 14),
    (K // 7 % 4, 0, 3),                    # a middle digit
    (K - 10 * (K // 10), 0, 9),
    (3 * (K % 10) + I, 0, 34),
    (K // 2 - 3 * (K // 6) + 5, 5, 7),
    ((I * 8 + J) % 8, 0, 6),
    ((K + 3) % 5 - (K + 3) % 5, 0, 0),
    ((I - J) * 2, -12, 14),
    (minimum(I, J) + 1, 1, 7),
    (maximum(I, 3), 3, 7),
    (I * N, 0, 56),
    (WIDE + 1, 1, UNBOUNDED),
    (-WIDE, -UNBOUNDED, 0),
], ids=str)
def test_intervals(e, low, high):
    assert (e.lo, e.hi) == (low, high)


def test_an_interval_of_terms():
    assert interval(10, {I: 2, J: -1}) == (4, 24)
    assert interval(3, {}) == (3, 3)


@pytest.mark.parametrize("e, expected", [
    ((56 * I + J) // 56, I),
    ((56 * I + J) // 7, I * 8),
    ((56 * I + J + 7) // 7, I * 8 + 1),
    ((56 * I + 7 * J) // 7, I * 8 + J),
    ((6 * I + 4 * J) // 2, I * 3 + J * 2),
    ((6 * I + 4 * J) // 4, (3 * I + 2 * J) // 2),
    ((K // 3) // 4, K // 12),
    ((K // 3 + 4 * I) // 4, K // 12 + I),
    (I // 8, const(0, index)),
    ((I - 8) // 8, const(-1, index)),
    (const(-7, index) // 2, const(-4, index)),
], ids=str)
def test_floor_division(e, expected):
    assert e is expected


def test_what_does_not_divide_stays():
    e = (K + 3) // 7
    assert e.op == "floordiv" and e.args == (K + 3, const(7, index)) and (e.lo, e.hi) == (0, 14)


def test_reshape_of_reshape_cancels():
    """[64, 49] -> [64*49] -> [64, 7, 7]: the row and column of the flat index are the indices again."""
    c, y, x = var("c", 0, 63), var("y", 0, 6), var("x", 0, 6)
    flat = (c * 7 + y) * 7 + x
    assert flat // 49 is c and flat % 49 is 7 * y + x
    assert flat % 49 // 7 is y and flat % 7 is x


def test_symbolic_products_distribute_and_divide_out():
    assert (I + 1) * N is I * N + N
    assert (N + 1) * (M - 1) is N * M - N + M - 1
    assert N * M is M * N and (N * M) * I is N * (M * I)
    assert (I * N + N * 3) // N is I + 3
    assert (I * N * M) // N is I * M
    assert N // N is const(1, index)
    assert (N * M + 1) // M is N
    assert (I * M).lo == 0 and (I * M).hi == 35


def test_a_symbolic_rest_stays_divided():
    e = (K + N * 2) // N
    assert e.op == "linear" and (e - K // N) is const(2, index)


def test_products_of_many_factors_survive_substitution():
    e = I * N * M
    assert substitute(e, {I: const(3, index)}) is N * M * 3
    assert substitute(e, {I: J + 1}) is J * N * M + N * M
    assert substitute(e, {I: const(2, index), N: const(3, index), M: const(4, index)}) is const(24, index)


def test_multiplying_by_a_number_scales():
    assert multiply(I + 2, const(3, index)) is scale(I + 2, 3) is I * 3 + 6
    assert scale(I, 0) is const(0, index)


def test_dividing_needs_a_divisor_that_is_not_negative():
    assert floordiv(I * 0 + 9, const(2, index)) is const(4, index)


@pytest.mark.parametrize("e, variable, expected", [
    (4 * I + J, I, 4), (4 * I + J, K, 0), (I * N, I, None), (K // 2, K, None), (K // 2 + 3 * K, K, None), (const(3, index), I, 0),
    (minimum(I, J), J, None), (I, I, 1),
], ids=str)
def test_coefficients(e, variable, expected):
    assert coefficient(e, variable) == expected


@given(index_exprs((I, J)), st.integers(0, 6))
def test_the_coefficient_is_the_step(e, at):
    step = coefficient(e, I)
    if step is not None:
        here, there = (substitute(e, {I: const(n, index)}) for n in (at, at + 1))
        assert there - here is const(step, index)
