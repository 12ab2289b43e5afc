"""Portable arithmetic against numpy in float64: accuracy over all exponents with and without a fused mul_add, special values, what remains.

A normal run takes some hundred thousand f32 values spread evenly over all bit patterns; `pytest --long` takes every one of them.
"""

import math

import numpy as np
import pytest

from edgec.evaluate import evaluate
from edgec.expr import COMPARE, argument, binary, bitcast, compare, const, mul_add, select, unary, var
from edgec.expr_parser import parse_expr
from edgec.expr_text import print_expr
from edgec.loops import Param, Register, get, horizontal, lane, load, splat, vector
from edgec.portable import (
    erf as portable_erf,
    exp as portable_exp,
    hyperbolic as portable_hyperbolic,
    inverse_trig as portable_inverse_trig,
    log as portable_log,
    pow as portable_pow,
    trig as portable_trig,
)
from edgec.portable.constants import LN2, PI, parts
from edgec.portable.expansion import FUNCTIONS, UNARY, expand
from edgec.portable.fit import fit, largest_error
from edgec.sweeps import substitute, transform, walk
from edgec.types import DTYPES, f32, f64, i32, i64, index, u8

X, Y, WIDE_X, WIDE_Y = argument("x", f32), argument("y", f32), argument("x", f64), argument("y", f64)
INF, NAN = float("inf"), float("nan")
REMAINING = {"add", "sub", "mul", "div", "neg", "abs", "min", "max", *COMPARE, "select", "cast", "bitcast", "mul_add", "and", "or", "xor",
             "shl", "shr", "const", "arg"}
EXACT = ("round", "floor", "ceil", "trunc")
NUMPY = {"exp": np.exp, "log": np.log, "sin": np.sin, "cos": np.cos, "tan": np.tan, "asin": np.arcsin, "acos": np.arccos, "atan": np.arctan,
         "sinh": np.sinh, "cosh": np.cosh, "asinh": np.arcsinh, "acosh": np.arccosh, "atanh": np.arctanh, "tanh": np.tanh, "sqrt": np.sqrt,
         "rsqrt": lambda x: 1 / np.sqrt(x), "floor": np.floor, "ceil": np.ceil, "round": np.rint, "trunc": np.trunc,
         "erf": lambda x: np.frompyfunc(math.erf, 1, 1)(x).astype(np.float64)}
CHUNK = 1 << 20
SPECIAL = np.array([0.0, -0.0, 1, -1, 0.5, -0.5, 1.5, 2.5, -2.5, 3, -3, INF, -INF, NAN, 1e-45, -1e-45, 1.1754944e-38, 3.4028235e38,
                    -3.4028235e38, 2.0**22 + 0.5, 2.0**23 - 0.5, 2.0**23, 2.0**24, -(2.0**24) + 1, 0.99999994, 1.0000001, 88.722839,
                    88.72284, -87.33654, -87.33655, -104], np.float32)


def ulps(found, exact, dtype=np.float32):
    """Errors in units in the last place of the rounded exact value; 0 where both are below the smallest normal number, inf where one is
    NaN or infinite and the other is not (but the neighbours of the overflow count as finite)."""
    limits = np.finfo(dtype)
    with np.errstate(all="ignore"):
        found = np.asarray(found, np.float64)
        _, exponent = np.frexp(np.abs(exact))
        unit = np.ldexp(1.0, np.clip(exponent, limits.minexp + 1, limits.maxexp) - limits.nmant - 1)
        if dtype is np.float32:  # an infinity stands for the first number past the largest finite one
            found, exact = np.clip(found, -(2.0**128), 2.0**128), np.clip(exact, -(2.0**128), 2.0**128)
        error = np.where(found == exact, 0.0, np.abs(found - exact) / unit)
    flushed = (np.abs(exact) <= limits.smallest_normal) & (np.abs(found) <= limits.smallest_normal)
    error = np.where(flushed | (np.isnan(exact) & np.isnan(found)), 0.0, error)
    return np.where(np.isnan(error), np.inf, error)


def run(op, x, fma, native=frozenset()):
    return evaluate(expand(unary(op, X), native, fma), {X: x}, None)


def domain(op, fma):
    """The largest |x| at which a bound is promised."""
    return (2.0**18 if fma else 102400.0) if op in ("sin", "cos", "tan") else INF


def chunks(long):
    """All f32 bit patterns, or every 33001st, in arrays."""
    stride = 1 if long else 33001
    for start in range(0, 1 << 32, CHUNK * stride):
        yield np.arange(start, min(start + CHUNK * stride, 1 << 32), stride, dtype=np.int64).astype(np.uint32).view(np.float32)
    draw = np.random.default_rng(0)
    yield np.concatenate([SPECIAL, *(draw.uniform(-s, s, 20000).astype(np.float32) for s in (1, 4, 30, 110))])


@pytest.mark.parametrize("fma", [True, False], ids=["fused", "unfused"])
@pytest.mark.parametrize("op", NUMPY)
def test_unary_is_accurate(op, fma, request):
    bound = 0 if op in EXACT else 2 if fma else 4
    for x in chunks(request.config.getoption("--long")):
        x = x[~(np.abs(x) > domain(op, fma)) | np.isinf(x)]
        with np.errstate(all="ignore"):
            exact = NUMPY[op](x.astype(np.float64))
        found = run(op, x, fma)
        errors = ulps(found, exact)
        worst = np.argmax(errors)
        assert errors[worst] <= bound, (x[worst], found[worst], exact[worst])
        same_sign = (np.signbit(found) == np.signbit(exact)) | np.isnan(exact)
        assert same_sign.all(), x[~same_sign][:5]


@pytest.mark.parametrize("op", ["isnan", "isinf"])
def test_tests_are_exact(op):
    for x in chunks(long=False):
        np.testing.assert_array_equal(run(op, x, True), getattr(np, op)(x))


@pytest.mark.parametrize("op", ["sin", "cos", "tan"])
def test_angles_beyond_the_reduction_count_as_zero(op):
    found = run(op, np.array([1e9, -3e38, INF, -INF, NAN], np.float32), True)
    np.testing.assert_array_equal(np.abs(found), [1.0 if op == "cos" else 0.0] * 2 + [NAN] * 3)


def powers():
    """Bases and exponents: anything, results over the whole range, whole exponents of negative bases, all pairs of special values."""
    draw, count = np.random.default_rng(1), 60000
    any_x, any_y = draw.integers(0, 1 << 32, (2, count), dtype=np.uint32).view(np.float32)
    far, near = np.exp(draw.uniform(-88, 88, count)).astype(np.float32), draw.uniform(0.5, 2, count).astype(np.float32)
    goal = draw.uniform(-87, 88.6, count)
    far_y, near_y = ((goal / np.log(b.astype(np.float64))).astype(np.float32) for b in (far, near))
    pairs = [g.ravel() for g in np.meshgrid(SPECIAL, SPECIAL)]
    return np.concatenate([any_x, far, near, -near, pairs[0]]), np.concatenate([any_y, far_y, near_y, np.round(near_y), pairs[1]])


@pytest.mark.parametrize("fma", [True, False], ids=["fused", "unfused"])
def test_pow_is_accurate_and_has_the_special_values_of_c(fma):
    x, y = powers()
    with np.errstate(all="ignore"):
        exact = np.power(x.astype(np.float64), y.astype(np.float64))
    found = evaluate(expand(binary("pow", X, Y), frozenset(), fma), {X: x, Y: y}, None)
    errors = ulps(found, exact)
    worst = np.argmax(errors)
    assert errors[worst] <= 6, (x[worst], y[worst], found[worst], exact[worst])
    assert ((np.signbit(found) == np.signbit(exact)) | np.isnan(exact)).all()


@pytest.mark.parametrize("exponent", [1.0, 2.0, 3.0, -1.0, -2.0, 0.5, -0.5, 7.0, 0.0])
def test_pow_with_a_known_exponent(exponent):
    x = np.concatenate([SPECIAL, np.random.default_rng(2).uniform(-9, 9, 5000).astype(np.float32)])
    with np.errstate(all="ignore"):
        exact = np.power(x.astype(np.float64), np.full(x.size, exponent))  # a scalar 0.5 would be numpy's sqrt
    expanded = expand(binary("pow", X, const(exponent, f32)), frozenset(), True)
    assert ulps(evaluate(expanded, {X: x}, None), exact).max() <= 6
    if exponent in portable_pow.SIMPLE and exponent != 0.5:
        assert len(walk(expanded)) <= 4


@pytest.mark.parametrize("fma", [True, False], ids=["fused", "unfused"])
def test_remainder_is_exact_up_to_large_quotients(fma):
    x, y = powers()
    y = np.concatenate([y, np.full(x.size, 3.7, np.float32)])
    x = np.concatenate([x, x])
    with np.errstate(all="ignore"):
        exact, quotient = np.fmod(x, y), np.abs(x.astype(np.float64) / y)
    found = evaluate(expand(binary("mod", X, Y), frozenset(), fma), {X: x, Y: y}, None)
    promised = ~(quotient >= 2.0**60) | (y == 0)
    np.testing.assert_array_equal(found[promised], exact[promised])
    assert ((np.signbit(found) == np.signbit(exact)) | np.isnan(exact))[promised].all()
    rest = ~promised & np.isfinite(x)
    assert (np.abs(found[rest]) < np.abs(y[rest])).all()


@pytest.mark.parametrize("op", sorted(set(NUMPY) - {"erf"}))
def test_f64_is_accurate(op):
    draw = np.random.default_rng(3)
    bits = draw.integers(0, 1 << 64, 30000, dtype=np.uint64).view(np.float64)
    x = np.concatenate([bits, *(draw.uniform(-s, s, 10000) for s in (1, 4, 40, 700)), SPECIAL])
    x = x[~(np.abs(x) > (2.0**20 if op in ("sin", "cos", "tan") else INF)) | np.isinf(x)]
    with np.errstate(all="ignore"):
        exact = NUMPY[op](x.astype(np.longdouble)).astype(np.float64)
    found = evaluate(expand(unary(op, WIDE_X), frozenset(), True), {WIDE_X: x}, None)
    assert ulps(found, exact, np.float64).max() <= (0 if op in EXACT else 4)


def test_f64_erf_pow_and_remainder():
    draw = np.random.default_rng(4)
    x, y, small = np.exp(draw.uniform(-30, 30, 20000)), draw.uniform(-20, 20, 20000), draw.uniform(-7, 7, 20000)
    found = evaluate(expand(unary("erf", WIDE_X), frozenset(), True), {WIDE_X: small}, None)
    assert ulps(found, NUMPY["erf"](small), np.float64).max() <= 8
    found = evaluate(expand(binary("pow", WIDE_X, WIDE_Y), frozenset(), True), {WIDE_X: x, WIDE_Y: y}, None)
    assert ulps(found, np.power(x, y), np.float64).max() <= 64
    found = evaluate(expand(binary("mod", WIDE_X, WIDE_Y), frozenset(), True), {WIDE_X: x, WIDE_Y: y}, None)
    np.testing.assert_array_equal(found, np.fmod(x, y))


@pytest.mark.parametrize("fma", [True, False], ids=["fused", "unfused"])
@pytest.mark.parametrize("dtype", [f32, f64])
@pytest.mark.parametrize("op", FUNCTIONS)
def test_only_simple_operations_remain(op, dtype, fma):
    a, b = argument("a", dtype), argument("b", dtype)
    root = expand(unary(op, a) if op in UNARY else binary(op, a, b), frozenset(), fma)
    assert {n.op for n in walk(root)} <= REMAINING - (set() if fma else {"mul_add"})


def test_exp_is_cheap():
    assert sum(n.op not in ("const", "arg", "bitcast") for n in walk(expand(unary("exp", X), frozenset(), True))) == 14


def test_native_operations_stay():
    assert expand(unary("sqrt", X), frozenset({"sqrt"}), True) is unary("sqrt", X)
    assert unary("sqrt", X * X) in walk(expand(unary("rsqrt", X * X), frozenset({"sqrt"}), True))
    assert any(n.op == "trunc" for n in walk(expand(binary("mod", X, Y), frozenset({"trunc"}), True)))
    only_f32 = frozenset({"sqrt.f32"})
    assert expand(unary("sqrt", X), only_f32, True) is unary("sqrt", X)
    assert all(n.op != "sqrt" for n in walk(expand(unary("sqrt", WIDE_X), only_f32, True)))


def test_without_fma_mul_add_is_a_product_and_a_sum():
    assert expand(mul_add(X, Y, X), frozenset(), False) is X * Y + X
    assert expand(mul_add(X, Y, X), frozenset(), True) is mul_add(X, Y, X)


def test_other_types_are_left_alone():
    half = unary("exp", argument("h", DTYPES["f16"]))
    assert expand(half, frozenset(), True) is half


def test_nan_survives_a_minimum_made_of_compare_and_select():
    def as_instructions(node):
        if node.op in ("min", "max"):
            a, b = node.args
            return select(compare("lt", a, b) if node.op == "min" else compare("lt", b, a), a, b)

    for op in set(UNARY) - {"isnan", "isinf"}:
        root = transform((expand(unary(op, X), frozenset(), True),), as_instructions)[0]
        assert np.isnan(evaluate(root, {X: np.float32(NAN)}, None)), op


@pytest.mark.parametrize("dtype", [i32, i64, u8])
def test_integer_pow(dtype):
    a, b = argument("a", dtype), argument("b", dtype)
    low = 0 if dtype is u8 else -4
    x, y = (g.ravel().astype(dtype.numpy) for g in np.meshgrid(np.arange(low, 6), np.arange(low, 40)))
    expected = np.array([_wrapped_power(int(p), int(q), dtype) for p, q in zip(x, y)])
    np.testing.assert_array_equal(evaluate(expand(binary("pow", a, b), frozenset(), True), {a: x, b: y}, None), expected)
    np.testing.assert_array_equal(evaluate(expand(binary("pow", a, const(3, dtype)), frozenset(), True), {a: x}, None), x * x * x)


def _wrapped_power(x, y, dtype):
    exact = int(math.copysign(abs(x) ** y if x else 0, 1)) if y < 0 and abs(x) == 1 else 0 if y < 0 else x**y
    exact = exact * (-1 if x == -1 and y < 0 and y % 2 else 1)
    return (exact - dtype.low) % (1 << dtype.bits) + dtype.low


def test_integers_are_already_rounded():
    a = argument("a", i32)
    assert expand(unary("floor", a), frozenset(), True) is a
    assert expand(unary("isnan", a), frozenset(), True).data is False


def test_lanes_loads_and_registers_pass_through():
    param, register, i = Param("p", f32, 64), Register("acc", f32, 8), var("i", 0, 7)
    at = unary("exp", load(param, i * 8, 8, 3)) + get(register)
    root = expand(at, frozenset(), True)
    assert root.lanes == 8 and load(param, i * 8, 8, 3) in walk(root) and get(register) in walk(root)


@pytest.mark.parametrize("build", [
    lambda p, i: load(p, i * 8, 8, 3), lambda p, i: splat(load(p, i), 4), lambda p, i: lane(load(p, i, 4), 2),
    lambda p, i: vector((load(p, i), load(p, i + 1))), lambda p, i: horizontal("add", load(p, i, 4))])
def test_vector_nodes_are_rebuilt_as_they_were(build):
    param, i = Param("p", f32, 64), var("i", 0, 7)
    assert substitute(build(param, i), {i: const(5, index)}) is build(param, const(5, index))


def test_bitcast_folds_prints_and_evaluates():
    assert bitcast(const(1.0, f32), i32) is const(0x3F800000, i32)
    assert bitcast(bitcast(X, i32), f32) is X
    with pytest.raises(TypeError, match="keeps the width: f32 to i64"):
        bitcast(X, i64)
    np.testing.assert_array_equal(evaluate(bitcast(X, i32), {X: np.array([-0.0, 2.0], np.float32)}, None), [-(1 << 31), 1 << 30])
    node = bitcast(bitcast(X, i32) + const(1, i32), f32)
    assert parse_expr(print_expr(node), {"x": X}) is node


def test_a_deep_chain_is_expanded_in_one_pass():
    value = X
    for _ in range(200):
        value = value / (unary("exp", -value) + 1.0)
    assert len(walk(expand(value, frozenset(), True))) < 200 * 20


def _tail(f, order):
    """(f(a) - a) / a^order as a function of z = a*a."""
    def tail(z):
        a = np.sqrt(np.asarray(z, np.longdouble))
        return ((f(a) - a) / a**order).astype(np.float64)
    return tail


def _odd(f):
    return _tail(f, 3), lambda z: f(np.sqrt(z)) / np.sqrt(z) / z


def _log1p_tail(f):
    wide = np.asarray(f, np.longdouble)
    return ((np.log1p(wide) - wide) / wide**2).astype(np.float64)


def _log2_atanh(z):
    s = np.sqrt(np.asarray(z, np.longdouble))
    return ((2 * np.arctanh(s) - 2 * s) / s**3 / np.log(np.longdouble(2))).astype(np.float64)


TABLES = {  # coefficients, function, what errors are relative to, interval, the error its comment states
    "exp": (portable_exp.EXP["f32"], np.exp, np.exp, (-0.347, 0.347), 2.9e-8),
    "exp, overflowing": (portable_exp.EXP["f32"], np.exp, np.exp, (-0.347, 0.6935), 5.7e-8),
    "log": (portable_log.LOG1P, _log1p_tail, lambda f: 1 / f, (-0.293, 0.4143), 4.5e-9),
    "sin": (portable_trig.SIN["f32"], *_odd(np.sin), (1e-6, 0.795**2), 4.3e-9),
    "tan": (portable_trig.TAN, *_odd(np.tan), (1e-6, 0.795**2), 1.7e-9),
    "asin": (portable_inverse_trig.ASIN["f32"], *_odd(np.arcsin), (1e-6, 0.5625**2), 2.0e-9),
    "atan": (portable_inverse_trig.ATAN["f32"], *_odd(np.arctan), (1e-6, 1.0), 2.7e-9),
    "sinh": (portable_hyperbolic.SINH["f32"], *_odd(np.sinh), (1e-6, 1.0), 3.1e-10),
    "log2": (portable_pow.LOG2["f32"], _log2_atanh, lambda z: 2 / z / math.log(2), (1e-4, 0.02945), 1.3e-11),
    "exp2 of pow": (portable_pow.EXP2["f32"], np.exp2, np.exp2, (-0.501, 1.0005), 2.9e-9),
    "exp2 of erf": (portable_erf.EXP2["f32"], np.exp2, np.exp2, (-0.501, 0.501), 9.6e-8),
}


@pytest.mark.parametrize("name", TABLES)
def test_tables_are_as_good_as_they_say(name):
    coefficients, function, relative_to, (low, high), stated = TABLES[name]
    rounded = {power: float(np.float32(c)) for power, c in enumerate(coefficients)}
    assert largest_error(function, rounded, low, high, relative_to) <= stated


def test_the_fit_finds_such_tables():
    found = fit(np.exp2, -0.501, 0.501, range(6), np.exp2, fixed={0: 1.0})
    stated = largest_error(np.exp2, {k: float(np.float32(c)) for k, c in enumerate(portable_erf.EXP2["f32"])}, -0.501, 0.501, np.exp2)
    assert largest_error(np.exp2, found, -0.501, 0.501, np.exp2) <= 1.05 * stated


def test_constants_are_cut_into_parts_that_add_up():
    assert sum(reversed(parts(PI, (24, 24, 24)))) == math.pi
    assert parts(PI, (8, 8))[0] == 3.140625
    assert sum(reversed(parts(LN2, (15, 24, 24)))) == math.log(2)
