"""Loop text: canonical, and read back to loops that say and do the same."""

import numpy as np
import pytest
from hypothesis import given, settings

from edgec.errors import ModelError
from edgec.expr import const, fresh, var
from edgec.loops import Block, For, Let, Loops, Param, Prefetch, Register, Store, get, load
from edgec.loops_interpreter import run_loops
from edgec.loops_parser import parse_loops
from edgec.loops_text import loops_key, print_loops
from edgec.testing import loop_programs
from edgec.types import f32, index

TEXT = """\
loops matmul
symbols n in 1..8
param x: f32[32*n]
param w: f32[512] constant
param y: f32[16*n] writable
for i0 in 0..n:
  acc0: f32[16] = splat<16>(0.0)
  for i1{0..30} in 0..32 step 2:
    acc0 = mul_add(splat<16>(x[32*i0 + i1]), w[16*i1 : 16], acc0)
    acc0 = mul_add(splat<16>(x[32*i0 + i1 + 1]), w[16*i1 + 16 : 16], acc0)
  %0 = exp((acc0 * acc0) + acc0)
  if i0 < 3:
    y[16*i0 : 16 : 13] = select(acc0 < 0.0, (acc0 * acc0) + acc0, acc0)
  else:
    block:
      y[16*i0 : 16] = inside(i0 - 4 < n; acc0; 1.0)
  y[0] = lane<3>(acc0)
"""


def test_the_text_of_loops_round_trips():
    text = TEXT.replace("  %0 = exp((acc0 * acc0) + acc0)\n", "")
    assert print_loops(parse_loops(text)) == text


def test_an_unused_shared_part_disappears():
    assert "%0" not in print_loops(parse_loops(TEXT))


@given(loop_programs())
@settings(max_examples=150)
def test_drawn_loops_round_trip(loops):
    text = print_loops(loops)
    again = parse_loops(text)
    assert print_loops(again) == text
    assert loops_key(again) == loops_key(loops)
    results = []
    for each in (loops, again):
        arrays = [np.linspace(-2, 2, 96, dtype=np.float32), np.zeros(96, np.float32)]
        run_loops(each, arrays, {"n": 3})
        results.append(arrays[1])
    np.testing.assert_array_equal(*results)


def small(x="x", y="y", stem="k", register="acc", size=8, writable=True, step=1, value=1.0):
    """y[i] = x[i] + value through a register."""
    source, target, r = Param(x, f32, size), Param(y, f32, 8, writable), Register(register, f32)
    i = fresh(stem, 0, 7)
    body = (Let(r, load(source, i) + value), Store(target, i, get(r)))
    return Loops("small", (source, target), (), (For(i, const(0, index), const(8, index), step, body),))


def test_the_key_knows_no_names():
    assert loops_key(small()) == loops_key(small("a", "b", "q", "other.acc12"))
    assert print_loops(small("a")) != print_loops(small("b"))


@pytest.mark.parametrize("changes", [{"size": 9}, {"writable": False}, {"step": 2}, {"value": 2.0}])
def test_the_key_is_complete(changes):
    assert loops_key(small()) != loops_key(small(**changes))


def test_loop_variables_never_hide_symbols_or_registers():
    i0 = var("i0", 1, 4)
    y, r, k = Param("y", f32, 8, True), Register("i", f32), fresh("k", 0, 3)
    loops = Loops("l", (y,), (i0,), (For(k, const(0, index), i0, 1, (Let(r, const(1, f32)), Store(y, k, get(r)))),))
    text = print_loops(loops)
    assert "for i2 in 0..i0:\n  i1: f32 = 1.0\n  y[i2] = i1\n" in text
    assert print_loops(parse_loops(text)) == text


def test_odd_names_are_quoted():
    x, y = Param("a b", f32, 4), Param("for", f32, 4, True)
    loops = Loops("x/y", (x, y), (), (Store(y, const(0, index), load(x, 1)),
                                      Prefetch(x, const(64, index)), Block((Store(y, const(1, index), load(x, 2)),))))
    text = print_loops(loops)
    assert '"for"[0] = "a b"[1]\nprefetch "a b"[64]\nblock:\n  "for"[1] = "a b"[2]\n' in text
    assert print_loops(parse_loops(text)) == text


@pytest.mark.parametrize("line, replacement, message", [
    ("param x: f32[32*n]", "param x: f32[32*m]", "line 3: unknown name m"),
    ("for i0 in 0..n:", "for i0 in 0.n:", "line 6: unexpected '.'"),
    ("for i0 in 0..n:", "for i0 in 0..n", "line 6: expected ':'"),
    ("  acc0: f32[16] = splat<16>(0.0)", "  acc1: f32[16] = splat<16>(0.0)", "line 9: unknown register acc0"),
    ("  acc0: f32[16] = splat<16>(0.0)", "      acc0: f32[16] = splat<16>(0.0)", "line 7: unexpected indent"),
    ("  else:", "  then:", "line 14"),
    ("  y[0] = lane<3>(acc0)", "  y[0 : 4] = lane<3>(acc0)", "a store of 4 lanes is given 1"),
    ("  y[0] = lane<3>(acc0)", "  z[0] = lane<3>(acc0)", "unknown param z"),
    ("  y[0] = lane<3>(acc0)", "  else:", "line 17"),
])
def test_mistakes_name_the_line(line, replacement, message):
    assert line in TEXT
    with pytest.raises(ModelError) as caught:
        parse_loops(TEXT.replace(line, replacement))
    assert message in str(caught.value)
