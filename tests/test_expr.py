"""Expressions: interning, canonical forms, intervals, substitution, guards and reductions."""

import gc

import numpy as np
import pytest
from hypothesis import given, strategies as st

from edgec.evaluate import evaluate
from edgec.expr import (
    Combine,
    ReduceParts,
    argument,
    binary,
    bitcast,
    cast,
    compare,
    const,
    dim,
    fresh,
    inside,
    inside_pairs,
    is_const,
    make,
    max_over,
    maximum,
    minimum,
    mul_add,
    neutral,
    read,
    reduce,
    reduce_over,
    select,
    sum_over,
    unary,
    var,
)
from edgec.kernel import Buffer
from edgec.sweeps import evaluate_dim, rebuild, substitute, transform, walk
from edgec.testing import value_exprs
from edgec.types import DTYPES, bool_, f32, f64, i8, i32, i64, index, u8, u16

I, J, N = var("i", 0, 7), var("j", -3, 11), var("n", 1, 6)
VARIABLES = (I, J, N)
X = Buffer("x", f32, (64,), "input")


# ------------------------------------------------------------------------------------- index expressions, said twice

@st.composite
def formulas(draw, depth=4):
    """A tree of index arithmetic as nested tuples: what it means is said by `number`, what edgec makes of it by `expression`."""
    if depth == 0 or draw(st.integers(0, 4)) == 0:
        return draw(st.one_of(st.sampled_from(VARIABLES), st.integers(-20, 20)))
    op = draw(st.sampled_from(["+", "-", "*", "//", "%", "min", "max", "scale", "if", "product"]))
    a = draw(formulas(depth - 1))
    if op in ("//", "%"):
        return op, a, draw(st.one_of(st.integers(1, 12), st.just(N)))
    if op == "scale":
        return "*", a, draw(st.integers(-6, 6))
    if op == "if":
        return op, a, draw(formulas(depth - 1)), draw(st.integers(-9, 9))
    if op == "product":  # of sums: what distribution and symbolic division work on
        return "*", ("+", draw(st.sampled_from(VARIABLES)), draw(st.integers(-3, 3))), a if depth < 3 else N
    return op, a, draw(formulas(depth - 1 if op != "*" else 1))


MEANING = {"+": lambda a, b: a + b, "-": lambda a, b: a - b, "*": lambda a, b: a * b, "//": lambda a, b: a // b, "%": lambda a, b: a % b}


def number(formula, env):
    if not isinstance(formula, tuple):
        return env.get(formula, formula)
    op, *rest = formula
    if op == "if":
        a, b = (number(f, env) for f in rest[:2])
        return a if a < rest[2] else b
    a, b = (number(f, env) for f in rest)
    return MEANING[op](a, b) if op in MEANING else min(a, b) if op == "min" else max(a, b)


def expression(formula):
    if not isinstance(formula, tuple):
        return const(formula, index) if isinstance(formula, int) else formula
    op, *rest = formula
    if op == "if":
        a, b = (expression(f) for f in rest[:2])
        return select(a < rest[2], a, b)
    a, b = (expression(f) for f in rest)
    return MEANING[op](a, b) if op in MEANING else minimum(a, b) if op == "min" else maximum(a, b)


environments = st.fixed_dictionaries({v: st.integers(v.lo, v.hi) for v in VARIABLES})


@given(formulas(), environments)
def test_simplified_index_arithmetic_means_the_same(formula, env):
    assert evaluate(expression(formula), env, None) == number(formula, env)


@given(formulas())
def test_intervals_contain_every_value(formula):
    e = expression(formula)
    grid = {v: np.arange(v.lo, v.hi + 1).reshape([-1 if k == n else 1 for k in range(3)]) for n, v in enumerate(VARIABLES)}
    values = evaluate(e, grid, None)
    assert e.lo <= values.min() and values.max() <= e.hi


@given(formulas(), environments)
def test_substituting_numbers_leaves_a_number(formula, env):
    found = substitute(expression(formula), {v: const(n, index) for v, n in env.items()})
    assert is_const(found, number(formula, env))


@given(formulas(3), formulas(2), environments)
def test_substituting_expressions_commutes_with_evaluation(formula, inner, env):
    """i is replaced by an expression in range; the value is that of i bound to the expression's value."""
    replacement = minimum(maximum(expression(inner), I.lo), I.hi)
    value = min(max(number(inner, env), I.lo), I.hi)
    assert evaluate(substitute(expression(formula), {I: replacement}), env, None) == number(formula, {**env, I: value})


@given(formulas())
def test_rebuilding_changes_nothing(formula):
    e = expression(formula)
    assert transform((e,), lambda node: None)[0] is e
    for node in walk(e):
        assert rebuild(node, node.args) is node


@given(formulas(3), formulas(3), formulas(3))
def test_sums_are_canonical(a, b, c):
    a, b, c = map(expression, (a, b, c))
    assert (a + b) + c is a + (b + c) is (c + a) + b
    assert a + b - b is a
    assert a - a is const(0, index)
    assert (a + b) * 3 is a * 3 + b * 3
    assert -(a - b) is b - a


@given(formulas(3), st.integers(1, 12), st.integers(1, 5), st.integers(-9, 9))
def test_laws_of_floor_division(formula, d, e, k):
    a = expression(formula)
    assert a // d * d + a % d is a
    assert (a % d).lo >= 0 and (a % d).hi < d
    assert (a + k * d) // d is a // d + k
    assert (a * d) // d is a
    assert (a * e) // (d * e) is a // d
    assert (a % d) // d is const(0, index)


@given(formulas(3), environments)
def test_division_by_a_symbol(formula, env):
    a = expression(formula)
    value = number(formula, env)
    assert evaluate(a // N, env, None) == value // env[N] and evaluate(a % N, env, None) == value % env[N]
    assert (a * N) // N is a


# ----------------------------------------------------------------------------------------------------------- identity

def test_equal_expressions_are_one():
    assert var("i", 0, 7) is I and var("i", 0, 8) is not I
    assert I * 4 + J is J + I * 4
    assert read(X, (I,)) is read(X, (I,)) and read(X, (I,)) is not read(Buffer("x", f32, (64,), "input"), (I,))
    assert sum_over(8, lambda k: read(X, (k,))) is not sum_over(8, lambda k: read(X, (k,)))  # each has a variable of its own
    k = fresh("k", 0, 7)
    first, second = (reduce("add", (k,), (8,), (const(0.0, f32),), (read(X, (k,)),))[0] for _ in range(2))
    assert first is second


def test_literals_are_told_apart_by_type_and_sign():
    assert const(1, i32) is not const(1, i64) and const(1.0, f32) is not const(1.0, f64)
    assert const(0.0, f32) is not const(-0.0, f32)
    assert const(True, bool_) is not const(1, u8)
    assert const(float("nan"), f32) is const(float("nan"), f32)


def test_literals_round_and_wrap():
    assert const(0.1, f32).data == float(np.float32(0.1))
    assert const(200, i8).data == -56 and const(-1, u8).data == 255 and const(1 << 40, i32).data == 0


def test_an_expression_is_forgotten_when_nobody_holds_it():
    from edgec import expr
    gc.collect()
    before = len(expr._interned)
    many = [I * n + 100_000 for n in range(2, 200)]
    assert len(expr._interned) >= before + len(many) - 1
    del many
    gc.collect()
    assert len(expr._interned) <= before + 4


def test_digits_of_an_index_come_back_together():
    i, j = var("a", 0, 55), var("b", 0, 55)
    flat = 56 * i + j
    assert flat // 56 is i and flat % 56 is j
    assert (flat // 7) // 8 is i
    assert (flat + 3136 * N) // 3136 is N


def test_depth_is_no_limit():
    e = read(X, (I,))
    for n in range(20_000):
        e = unary("neg", e) if n % 2 else e * 1.5
    assert len(walk(e)) > 20_000
    assert substitute(e, {I: const(3, index)}).free == frozenset()
    assert transform((e,), lambda node: const(1.0, f32) if node.op == "read" else None)[0].op == "const"


# ----------------------------------------------------------------------------------------------------- types and folds

def test_operands_of_different_types_are_refused():
    with pytest.raises(TypeError, match="f32 and f64"):
        read(X, (I,)) + const(1.0, f64)
    with pytest.raises(TypeError, match="//"):
        read(X, (I,)) // 2


def test_an_undecided_truth_is_refused():
    with pytest.raises(TypeError, match="not known at compile time"):
        bool(I < J)
    assert bool(I < 8) and not bool(I < 0)


@pytest.mark.parametrize("op, known", [("lt", [(0, False), (1, None), (8, True)]), ("le", [(-1, False), (0, None), (7, True)]),
                                       ("eq", [(-1, False), (3, None), (8, False)]), ("ne", [(-1, True), (3, None), (8, True)])])
def test_comparisons_are_decided_by_intervals(op, known):
    for n, answer in known:
        e = compare(op, I, n)
        assert (e.op == "const" and e.data is answer) if answer is not None else e.op == op


def test_neutral_operands_vanish():
    x = read(X, (I,))
    assert x + -0.0 is x and x - 0.0 is x and x * 1.0 is x and 1.0 * x is x
    assert (x + 0.0) is not x  # -0.0 + 0.0 is 0.0
    assert select(const(True, bool_), x, 0.0) is x and select(I < J, x, x) is x
    assert unary("not", unary("not", I < J)) is (I < J)
    assert binary("and", I < J, const(True, bool_)) is (I < J)
    assert is_const(binary("and", I < J, const(False, bool_)), False) and is_const(binary("or", I < J, const(True, bool_)), True)


def test_floats_are_not_reassociated():
    x = read(X, (I,))
    assert (x + 1.0) + 2.0 is not x + (const(1.0, f32) + 2.0)
    assert (x - x).op == "sub" and (x * 0.0).op == "mul"  # x may be infinite


@pytest.mark.parametrize("op", ["add", "sub", "mul", "min", "max"])
@given(st.floats(width=32), st.floats(width=32))
def test_literals_fold_as_numpy_computes(op, a, b):
    folded = binary(op, const(a, f32), const(b, f32))
    assert folded.op == "const"
    np.testing.assert_array_equal(np.float32(folded.data), evaluate(make_node(op, a, b), {}, None))


def make_node(op, a, b):
    """The operation that `binary` would have folded."""
    return make(op, (const(a, f32), const(b, f32)), f32)


@pytest.mark.parametrize("op", ["add", "sub", "mul", "and", "or", "xor"])
@given(st.integers(-128, 127), st.integers(-128, 127))
def test_integer_literals_wrap_as_numpy_does(op, a, b):
    with np.errstate(all="ignore"):
        expected = {"add": np.add, "sub": np.subtract, "mul": np.multiply, "and": np.bitwise_and, "or": np.bitwise_or,
                    "xor": np.bitwise_xor}[op](np.int8(a), np.int8(b))
    assert binary(op, const(a, i8), const(b, i8)) is const(int(expected), i8)


def test_casts():
    assert cast(read(X, (I,)), f32) is read(X, (I,))
    assert cast(const(3, index), f32) is const(3.0, f32)
    assert cast(I, i64).dtype is i64
    assert bitcast(bitcast(read(X, (I,)), i32), f32) is read(X, (I,))
    assert bitcast(const(1.0, f32), i32) is const(0x3F800000, i32)
    with pytest.raises(TypeError, match="width"):
        bitcast(read(X, (I,)), i64)


def test_mul_add_keeps_its_operands():
    x = read(X, (I,))
    assert mul_add(x, x, x).args == (x, x, x) and mul_add(x, x, x).dtype is f32


# -------------------------------------------------------------------------------------------------- guards, reductions

def test_a_guard_that_always_holds_is_none():
    x = read(X, (I,))
    assert inside([(I, 8)], x, 0.0) is x
    assert inside([(I, 8), (I + 1, 9)], x, 0.0) is x


def test_a_guard_that_never_holds_gives_the_fill():
    x = read(X, (I,))
    assert inside([(I - 8, 8)], x, 2.0) is const(2.0, f32)
    assert inside([(I + 9, 9)], x, 2.0) is const(2.0, f32)


def test_a_guard_keeps_what_is_open():
    node = inside([(I, 8), (I - 1, 8), (J, 4)], read(X, (I,)), 0.0)
    assert inside_pairs(node) == [(I - 1, const(8, index)), (J, const(4, index))]
    closed = substitute(node, {I: const(1, index), J: const(0, index)})
    assert closed is read(X, (const(1, index),))
    assert substitute(node, {I: const(0, index)}) is const(0.0, f32)


@given(formulas(2), st.integers(1, 9), environments)
def test_guards_mean_what_they_say(formula, extent, env):
    e = inside([(expression(formula), extent)], cast(expression(formula), f32), -1.0)
    n = number(formula, env)
    assert evaluate(e, env, None) == (n if 0 <= n < extent else -1.0)


def test_the_parts_of_a_reduction():
    k, m = fresh("k", 0, 3), fresh("m", 0, 5)
    node, = reduce("max", (k, m), (4, N), (const(-np.inf, f32),), (read(X, (k * 6 + m + I,)),))
    parts = ReduceParts(node)
    assert (parts.combine, parts.axes, parts.extents) == ("max", (k, m), (const(4, index), N))
    assert parts.init == (const(-np.inf, f32),) and parts.body == (read(X, (k * 6 + m + I,)),)
    assert node.free == {I, N}


def test_a_reduction_hides_its_variable_but_not_others():
    total = sum_over(8, lambda k: read(X, (k + I,)))
    assert total.free == {I}
    moved = substitute(total, {I: const(2, index)})
    assert moved.free == frozenset() and ReduceParts(moved).axes == ReduceParts(total).axes


def test_items_of_a_tuple_reduction():
    k = fresh("k", 0, 7)
    a, b, i, j = argument("a", f32), argument("b", f32), argument("i", index), argument("j", index)
    combine = Combine((a, i), (b, j), (maximum(a, b), select(a < b, j, i)))
    best, where = reduce(combine, (k,), (8,), (const(-np.inf, f32), const(-1, index)), (read(X, (k + I,)), k))
    assert best.op == where.op == "item" and best.args[0] is where.args[0]
    assert best.free == {I} and best.dtype is f32 and where.dtype is index
    data = np.array([3, 1, 4, 1, 5, 9, 2, 6, 5, 3, 5, 8, 9, 7, 9], np.float32)
    found = [evaluate(e, {I: np.arange(8)}, lambda source, at: data[at]) for e in (best, where)]
    windows = np.lib.stride_tricks.sliding_window_view(data, 8)
    np.testing.assert_array_equal(found[0], windows.max(axis=1))
    np.testing.assert_array_equal(found[1], windows.argmax(axis=1))


@pytest.mark.parametrize("combine", ["add", "mul", "min", "max"])
@pytest.mark.parametrize("dtype", [f32, i32, u16], ids=str)
def test_neutral_elements_change_nothing(combine, dtype):
    data = np.arange(1, 6).astype(dtype.numpy)
    x = Buffer("x", dtype, (5,), "input")
    total = evaluate(reduce_over([5], combine, lambda k: read(x, (k,))), {}, lambda source, at: data[at])
    assert total == {"add": data.sum, "mul": data.prod, "min": data.min, "max": data.max}[combine]()
    empty = evaluate(reduce_over([0], combine, lambda k: read(x, (k,))), {}, lambda source, at: data[at])
    assert empty == evaluate(neutral(combine, dtype), {}, None)


def test_a_reduction_over_a_symbolic_extent():
    data = np.arange(6, dtype=np.float32)
    x = Buffer("x", f32, (N,), "input")
    total = max_over(N, lambda k: read(x, (k,)))
    assert [float(evaluate(total, {N: n}, lambda source, at: data[at])) for n in (1, 4, 6)] == [0.0, 3.0, 5.0]


@given(value_exprs(lambda variables: [read(X, (sum(variables[1:], variables[0]) % 64,))], (I,), depth=3))
def test_transforming_values_changes_nothing(e):
    assert transform((e,), lambda node: None)[0] is e
    data = np.linspace(-2, 2, 64, dtype=np.float32)
    load = lambda source, at: data[at]
    moved = substitute(e, {I: I + 0})
    np.testing.assert_array_equal(evaluate(moved, {I: np.arange(8)}, load), evaluate(e, {I: np.arange(8)}, load))
    at_three = substitute(e, {I: const(3, index)})
    np.testing.assert_array_equal(evaluate(at_three, {}, load), evaluate(e, {I: np.array(3)}, load))


# ---------------------------------------------------------------------------------------------------------- dimensions

def test_dimensions():
    assert dim(const(5, index)) == 5 and isinstance(dim(const(5, index)), int)
    assert dim(N) is N and dim(np.int64(3)) == 3
    assert evaluate_dim(N * 3 + 1, {"n": 4}) == 13 and evaluate_dim(7, {}) == 7


def test_every_type_has_literals():
    for dtype in DTYPES.values():
        assert const(1, dtype).dtype is dtype and neutral("max", dtype).dtype is dtype


@pytest.mark.parametrize("make", [lambda x: unary("sine", x), lambda x: binary("plus", x, x)])
def test_names_that_are_no_operation_are_refused(make):
    with pytest.raises(ValueError, match="there is no "):
        make(var("x", 0, 4))
