"""The loop verifier: each violation is found, all are reported at once."""

import numpy as np
import pytest

from edgec.errors import Internal
from edgec.expr import binary, const, fresh, make, read, var
from edgec.kernel import Buffer
from edgec.loops import For, If, Let, Loops, Param, Prefetch, Register, Store, get, iota, lane, load, splat, vector
from edgec.loops_verifier import loops_errors, verify_loops
from edgec.types import f32, i32, index

X, Y, N = Param("x", f32, 32), Param("y", f32, 32, writable=True), var("n", 1, 8)
ROW, ACC, WIDE = fresh("i", 0, 7), Register("acc", f32), Register("wide", f32, 8)
ZERO, EIGHT, ONE = const(0, index), const(8, index), const(1, f32)
V8, V4 = load(X, 0, 8), load(X, 0, 4)


def messages(*body, params=(X, Y)):
    return [e.message for e in loops_errors(Loops("l", params, (N,), body))]


def test_good_loops_pass():
    body = (Let(WIDE, splat(ONE, 8)),
            For(ROW, ZERO, N, 1, (Let(ACC, load(X, ROW)), Store(Y, ROW, get(ACC)), Store(Y, ZERO, get(WIDE) * ONE, 5))),
            Let(WIDE, ONE), If(N < 3, (Store(Y, N, ONE),)))
    verify_loops(Loops("l", (X, Y), (N,), body))


def test_a_load_may_deal_elements_out_in_equal_steps():
    def body(places):
        return Store(Y, ZERO, make("load", (places,), f32, (X, 0), lanes=4, key=(id(X), 0))),
    verify_loops(Loops("l", (X, Y), (N,), body(4 * iota(4) + 1)))
    with pytest.raises(Internal, match="nor are they equal steps"):
        verify_loops(Loops("l", (X, Y), (N,), body(iota(4) + 1)))


@pytest.mark.parametrize("body, message", [
    ((Store(Y, ROW, ONE),), "is not defined here"),
    ((For(ROW, ZERO, EIGHT, 1, ()), Store(Y, ROW, ONE)), "is not defined here"),
    ((For(ROW, ZERO, EIGHT, 1, (For(ROW, ZERO, EIGHT, 1, ()),)),), "already in use around the loop"),
    ((For(ROW, ZERO, EIGHT, 0, ()),), "the step of"),
    ((For(ROW, ZERO, ONE, 1, ()),), "is no single index"),
    ((For(ROW, ZERO, iota(4) + 1, 1, ()),), "is no single index"),
    ((Store(X, ZERO, ONE),), "store to x, which is not writable"),
    ((Store(Param("z", f32, 4, True), ZERO, ONE),), "z is no parameter"),
    ((Store(Y, ZERO, load(Param("z", f32, 4), 0)),), "z is no parameter"),
    ((Prefetch(Param("z", f32, 4), ZERO),), "z is no parameter"),
    ((Prefetch(X, iota(8)),), "of a prefetch is no single index"),
    ((Store(Y, iota(8) * 2, V8),), "of a store is no single index"),
    ((Store(Y, ZERO, const(1, i32)),), "i32 is stored to y of f32"),
    ((Store(Y, ZERO, V8, 9),), "9 of 8 lanes are stored"),
    ((Store(Y, ZERO, make("load", (iota(8),), f32, (X, 0), lanes=8, key=(id(X), 0))),), "the index of a load is a vector"),
    ((Store(Y, ZERO, load(X, ONE)),), "is indexed by f32"),
    ((Store(Y, ZERO, V8 + V4),), "operands of [4, 8] lanes"),
    ((Store(Y, ZERO, lane(V4, 4)),), "lane 4 of 4"),
    ((Store(Y, ZERO, vector([V4, V4])),), "a part of a vector is a vector"),
    ((Store(Y, ZERO, make("splat", (V4,), f32, 8, lanes=8)),), "what is splatted is a vector"),
    ((Store(Y, ZERO, get(ACC)),), "register acc is read before it is assigned"),
    ((For(ROW, ZERO, N - 1, 1, (Let(ACC, ONE),)), Store(Y, ZERO, get(ACC))), "register acc is read before it is assigned"),
    ((If(N < 3, (Let(ACC, ONE),)), Store(Y, ZERO, get(ACC))), "register acc is read before it is assigned"),
    ((Let(ACC, V8),), "8 lanes are assigned to register acc of 1"),
    ((Let(WIDE, V4),), "4 lanes are assigned to register wide of 8"),
    ((Let(ACC, const(1, i32)),), "i32 is assigned to register acc of f32"),
    ((If(ONE, ()),), "is no single truth value"),
    ((If(V8 < ONE, ()),), "is no single truth value"),
    ((Store(Y, ZERO, read(Buffer("b", f32, (4,), "input"), (0,))),), "read has no meaning in loops"),
    ((Store(Y, ZERO, make("add", (ONE, const(1, i32)), f32)),), "operands of f32, i32"),
    ((Store(Y, ZERO, make("select", (ONE, ONE, ONE), f32)),), "operand types of"),
])
def test_each_violation_is_found(body, message):
    found = messages(*body)
    assert len(found) == 1 and found[0].startswith("l: ") and message in found[0]


def test_registers_assigned_on_every_path_are_assigned():
    both = If(N < 3, (Let(ACC, ONE),), (Let(ACC, load(X, 1)),))
    always = For(ROW, ZERO, N, 1, (Let(WIDE, V8),))
    assert messages(both, always, Store(Y, ZERO, get(ACC)), Store(Y, ZERO, get(WIDE))) == []


def test_parameters_need_different_names_and_sizes_of_symbols():
    m = var("m", 1, 4)
    assert messages(params=(X, Y, Param("x", f32, 4))) == ["l: two parameters are called x"]
    assert messages(params=(X, Y, Param("z", f32, m * 2))) == ["l: the size of z depends on m, which is no symbol"]


def test_all_problems_are_reported_once():
    bad = Store(X, ROW, get(ACC))
    with pytest.raises(Internal) as caught:
        verify_loops(Loops("l", (X, Y), (), (bad, bad)))
    text = str(caught.value)
    assert text.startswith("3 problems")
    assert [text.count(part) for part in ("not writable", "not defined", "before it is assigned")] == [1, 1, 1]


def test_index_products_are_checked_too():
    assert np.any([("operands of" in m) for m in messages(Store(Y, ZERO, binary("mul", V8, V4)))])
