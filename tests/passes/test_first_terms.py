"""A sum begins with the term that is added to it, where that costs nothing and changes no other reduction."""

import pytest

from edgec.backends.target import find
from edgec.expr import Expr, fresh, inside, max_over, read, sum_over
from edgec.kernel import Axis, Buffer, Stage
from edgec.loops import Param
from edgec.passes.first_terms import first_terms
from edgec.passes.nest import flatten
from edgec.sweeps import walk
from edgec.types import f32

X, W, B, C = (Buffer(name, f32, shape, "input") for name, shape in (("x", (5, 3)), ("w", (3, 4)), ("b", (4,)), ("c", (5, 4))))
Y = Buffer("y", f32, (5, 4), "output")


def after(value, combine: str = "", target: str = "aarch64") -> tuple[Expr, Expr]:
    """The value of y[i, j] before and after the pass."""
    axes = tuple(Axis(fresh("i", 0, n - 1), n) for n in (5, 4))
    stage = Stage("y", (), value(*(a.var for a in axes)), Y, tuple(a.var for a in axes), combine)
    nest = flatten([stage], axes, {b: Param(b.name, f32, b.max_size, b is Y) for b in (X, W, B, C, Y)})
    result = first_terms(nest, find(target))
    assert {n for n in walk(*result.values) if n.op == "reduce"} <= set(result.domains)  # what is known of a reduction stays known
    return nest.values[0], result.values[0]


def product(i, j):
    return sum_over(3, lambda k: read(X, (i, k)) * read(W, (k, j)))


def starts(value) -> bool:
    before, found = after(value)
    return found is not before


@pytest.mark.parametrize("value", [
    lambda i, j: product(i, j) + read(B, (j,)), lambda i, j: read(C, (i, j)) + product(i, j),
    lambda i, j: (product(i, j) + read(B, (j,))) * 2.0, lambda i, j: product(i, j) + (read(B, (j,)) + read(C, (i, j))),
], ids=["bias", "residual", "scaled", "two terms"])
def test_a_term_starts_the_sum(value):
    _, found = after(value)
    assert all(n.op != "add" or not any(a.op == "reduce" for a in n.args) for n in walk(found))


def test_a_sum_that_is_used_twice_is_left_alone():
    def value(i, j):
        total = product(i, j)
        return (total + read(B, (j,))) * total
    assert not starts(value)


def test_a_term_that_varies_more_than_the_sum_does_not_multiply_its_work():
    assert not starts(lambda i, j: sum_over(3, lambda k: read(X, (i, k))) + read(B, (j,)))


def test_other_reductions_keep_their_start():
    assert not starts(lambda i, j: max_over(3, lambda k: read(X, (i, k)) * read(W, (k, j))) + read(B, (j,)))
    assert not starts(lambda i, j: sum_over(3, lambda k: read(X, (i, k)) * (product(i, j) + read(B, (j,)))))


def test_tests_and_reductions_stay_behind_the_loops():
    assert not starts(lambda i, j: product(i, j) + inside([(j - 1, 4)], read(B, (j - 1,)), 0.0))
    assert not starts(lambda i, j: product(i, j) + 1.0)


def test_merging_stores_are_left_alone():
    before, found = after(lambda i, j: product(i, j) + read(B, (j,)), combine="add")
    assert found is before


def test_targets_may_want_terms_behind_their_sums():
    before, found = after(lambda i, j: product(i, j) + read(B, (j,)), target="cortex-a7")
    assert found is before
