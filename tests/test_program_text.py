"""Program text: canonical, complete, and read back to a program that says and does the same."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings

from edgec.errors import ModelError
from edgec.expr import const, fresh, max_over, maximum, read, sum_over, unary, var
from edgec.kernel import Axis, Buffer, Kernel, Program, Stage
from edgec.passes.liveness import liveness
from edgec.program_interpreter import run_program
from edgec.program_parser import parse_program
from edgec.program_text import constants, kernel_key, print_kernel, print_program
from edgec.testing import assert_same, programs, random_inputs
from edgec.types import f32, i8, index

TEXT = """\
program net(x) -> ("prob/0")
symbols n in 1..4
input x: f32[n, 10]
output "prob/0": f32[n, 10]
constant w: f32[10] = @w
temporary t: f32[n, 10] order 1, 0 at 0
scratch m: f32[] at 192
scratch e: f32[10] at 256
scratch s: f32[] at 320
arena 384 live 384

kernel scale(i0 < n, i1 < 10)
  store s() t[i0, i1] = max(x[i0, i1] * w[i1], 0.0)

kernel softmax(i0 < n)
  schedule rows=2
  store m() m[] = max_over(r0 < 10; -inf; t[i0, r0])
  store e(i1 < 10) e[i1] = exp(t[i0, i1] - m[])
  store s() s[] = add_over(r1 < 10; 0.0; e[r1])
  store y(i1 < 10) "prob/0"[i0, i1] = e[i1] / s[]
"""


class Rows:
    def __repr__(self):
        return "rows=2"


def build():
    n = var("n", 1, 4)
    x, y, t = (Buffer(name, f32, (n, 10), kind, order=o) for name, kind, o in
               (("x", "input", ()), ("prob/0", "output", ()), ("t", "temporary", (1, 0))))
    w = Buffer("w", f32, (10,), "constant", np.arange(10, dtype=np.float32))
    a, c = fresh("a", 0, 3), fresh("c", 0, 9)
    scale = Kernel("scale", (Axis(a, n), Axis(c, 10)), (Stage("s", (), maximum(read(x, (a, c)) * read(w, (c,)), 0.0), t, (a, c)),))
    m, e, s = (Buffer(name, f32, shape, "scratch") for name, shape in (("m", ()), ("e", (10,)), ("s", ())))
    softmax = Kernel("softmax", (Axis(a, n),), (
        Stage("m", (), max_over(10, lambda r: read(t, (a, r))), m),
        Stage("e", (Axis(c, 10),), unary("exp", read(t, (a, c)) - read(m, ())), e, (c,)),
        Stage("s", (), sum_over(10, lambda r: read(e, (r,))), s),
        Stage("y", (Axis(c, 10),), read(e, (c,)) / read(s, ()), y, (a, c))), Rows())
    return liveness(Program("net", (x,), (y,), (scale, softmax), (n,)))


def test_the_text_of_a_program():
    assert print_program(build()) == TEXT


def test_the_text_means_the_program():
    program = build()
    again = parse_program(TEXT, constants(program))
    assert print_program(again) == TEXT
    arrays = random_inputs(program)
    assert_same(run_program(again, arrays, arena=True), run_program(program, arrays))
    x = np.maximum(arrays["x"].astype(np.float64) * np.arange(10), 0)
    e = np.exp(x - x.max(axis=1, keepdims=True))
    np.testing.assert_allclose(run_program(again, arrays)["prob/0"], e / e.sum(axis=1, keepdims=True), rtol=1e-5)


@given(programs())
@settings(max_examples=80)
def test_programs_round_trip(program):
    program = liveness(program)
    text = print_program(program)
    again = parse_program(text, constants(program))
    assert print_program(again) == text
    assert [kernel_key(k) for k in again.steps] == [kernel_key(k) for k in program.steps]
    arrays = random_inputs(program)
    assert_same(run_program(again, arrays), run_program(program, arrays))


def copy_kernel(**changes):
    """One kernel y[i, j] = x[i, j] + 1, with a part of it replaced."""
    options = {"name": "k", "x": {}, "y": {}, "schedule": None, "extent": 4, "value": 1.0, "stem": "a"} | changes
    x, y = Buffer(**{"name": "x", "dtype": f32, "shape": (4, 8), "kind": "input"} | options["x"]), \
        Buffer(**{"name": "y", "dtype": f32, "shape": (4, 8), "kind": "output"} | options["y"])
    i, j = fresh(options["stem"], 0, options["extent"] - 1), fresh("b", 0, 7)
    value = read(x, (i, j)) + options["value"]
    return Kernel(options["name"], (Axis(i, options["extent"]), Axis(j, 8)), (Stage("s", (), value, y, (i, j)),), options["schedule"])


def test_the_key_knows_no_names():
    assert kernel_key(copy_kernel()) == kernel_key(copy_kernel(name="other", x={"name": "u"}, y={"name": "v"}, stem="q"))


@pytest.mark.parametrize("changes", [
    {"x": {"dtype": i8}, "value": 1}, {"x": {"shape": (5, 8)}}, {"x": {"order": (1, 0)}}, {"x": {"kind": "constant"}},
    {"extent": 3}, {"value": 2.0}, {"schedule": "tile 4"}, {"x": {"shape": (var("n", 1, 9), 8)}},
    {"y": {"parent": Buffer("p", f32, (4, 16), "output"), "offset": 0, "view_strides": (16, 1)}},
    {"y": {"parent": Buffer("p", f32, (4, 16), "output"), "offset": 8, "view_strides": (16, 1)}},
])
def test_the_key_is_complete(changes):
    if changes.get("x", {}).get("dtype") is i8:
        changes = changes | {"y": {"dtype": i8}}
    keys = {kernel_key(copy_kernel()), kernel_key(copy_kernel(**changes))}
    assert len(keys) == 2


def test_the_key_tells_bounds_of_symbols_apart():
    def of(high):
        n = var("n", 1, high)
        x, y = Buffer("x", f32, (n,), "input"), Buffer("y", f32, (n,), "output")
        i = fresh("i", 0, high - 1)
        return kernel_key(Kernel("k", (Axis(i, n),), (Stage("s", (), read(x, (i,)), y, (i,)),)))
    assert of(8) != of(9)


def test_equal_names_are_made_unique_and_symbols_keep_theirs():
    i0 = var("i0", 1, 4)
    x, also, y = Buffer("x", f32, (i0,), "input"), Buffer("x", f32, (i0,), "input"), Buffer("y", f32, (i0,), "output")
    i = fresh("i", 0, 3)
    kernel = Kernel("k", (Axis(i, i0),), (Stage("s", (), read(x, (i,)) - read(also, (i,)), y, (i,)),))
    assert print_kernel(kernel) == "kernel k(i1 < i0)\n  store s() y[i1] = x[i1] - x.2[i1]\n"
    program = Program("p", (x, also), (y,), (kernel,), (i0,))
    assert print_program(parse_program(print_program(program))) == print_program(program)


def test_updates_and_guards():
    x, y = Buffer("x", f32, (4,), "input"), Buffer("y", f32, (2,), "output")
    i, j = fresh("i", 0, 1), fresh("j", 0, 3)
    stages = (Stage("start", (Axis(i, 2),), const(1, f32), y, (i,), guards=((i - 1, const(1, index)), (i, const(9, index)))),
              Stage("merge", (Axis(j, 4),), read(x, (j,)), y, (j // 2,), "max"))
    program = Program("p", (x,), (y,), (Kernel("k", (), stages),))
    text = print_program(program)
    assert text.endswith("kernel k()\n  store start(i0 < 2) y[i0] = 1.0 where i0 - 1 < 1, i0 < 9\n"
                         "  merge \"merge\"(i1 < 4) y[i1 // 2] max = x[i1]\n")
    assert print_program(parse_program(text)) == text
    keys = {kernel_key(Kernel("k", (), (replace(stages[0], **changes), stages[1]))) for changes in
            ({}, {"guards": ()}, {"guards": stages[0].guards[:1]}, {"combine": "add"}, {"combine": "mul"})}
    assert len(keys) == 5


def test_stages_over_the_very_same_axes_stay_one_walk():
    x, y, z = Buffer("x", f32, (4,), "input"), Buffer("y", f32, (4,), "output"), Buffer("z", f32, (4,), "output")
    axis = Axis(fresh("i", 0, 3), 4)
    kernel = Kernel("k", (), tuple(Stage(t.name, (axis,), read(x, (axis.var,)) * 2.0, t, (axis.var,)) for t in (y, z)))
    again = parse_program(print_program(Program("p", (x,), (y, z), (kernel,)))).steps[0]
    assert again.stages[0].axes[0] is again.stages[1].axes[0]


def test_loops_around_kernels():
    x, y = Buffer("x", f32, (3, 4), "input"), Buffer("y", f32, (3, 4), "output")

    def step(name, target, source, *repeat):
        i = fresh("i", 0, 3)
        return Kernel(name, (Axis(i, 4),), (Stage("s", (), read(source, (repeat[-1].var, i)), target, (repeat[-1].var, i)),), repeat=repeat)

    t, u, v = (Axis(fresh("t", 0, 2), 3) for _ in range(3))
    program = Program("p", (x,), (y,), (step("a", y, x, t), step("b", y, x, t), step("c", y, x, u), step("d", y, x, u, v)))
    text = print_program(program)
    heads = [line for line in text.splitlines() if line.startswith("kernel")]
    assert heads == ["kernel a(i0 < 4) repeat (t0 < 3)", "kernel b(i0 < 4) repeat (t0 < 3)", "kernel c(i0 < 4) repeat (t1 < 3)",
                     "kernel d(i0 < 4) repeat (t1 < 3, t2 < 3)"]
    again = parse_program(text)
    assert print_program(again) == text
    a, b, c, d = (kernel.repeat for kernel in again.steps)
    assert a[0] is b[0] and b[0] is not c[0] and c[0] is d[0]
    assert print_kernel(program.steps[2]).startswith("kernel c(i0 < 4) repeat (t0 < 3)\n  store s() y[t0, i0] = x[t0, i0]")
    assert len({kernel_key(kernel) for kernel in program.steps}) == 2


def test_shared_parts_inside_reductions():
    x, y = Buffer("x", f32, (4, 4), "input"), Buffer("y", f32, (4,), "output")
    i = fresh("i", 0, 3)

    def value(r):
        e = unary("exp", read(x, (i, r)) * 0.25 + 1.0)
        return e * e + e

    program = Program("p", (x,), (y,), (Kernel("k", (Axis(i, 4),), (Stage("s", (), sum_over(4, value), y, (i,)),)),))
    text = print_program(program)
    assert "  vars r0<4\n  %0 = exp((x[i0, r0] * 0.25) + 1.0)\n" in text
    again = parse_program(text)
    assert print_program(again) == text
    arrays = random_inputs(program)
    assert_same(run_program(again, arrays), run_program(program, arrays))


def test_shared_parts_of_inner_axes():
    x, y = Buffer("x", f32, (4, 6), "input"), Buffer("y", f32, (4, 6), "output")
    i, j = fresh("i", 0, 3), fresh("j", 0, 5)
    e = unary("exp", read(x, (i, j)) * 0.25 + 1.0)
    program = Program("p", (x,), (y,), (Kernel("k", (Axis(i, 4),), (Stage("s", (Axis(j, 6),), e * e + e, y, (i, j)),)),))
    text = print_program(program)
    assert "  vars i1<6\n  %0 = exp((x[i0, i1] * 0.25) + 1.0)\n  store s(i1 < 6) y[i0, i1]" in text
    again = parse_program(text)
    assert print_program(again) == text
    arrays = random_inputs(program)
    assert_same(run_program(again, arrays), run_program(program, arrays))


@pytest.mark.parametrize("line, replacement, message", [
    ("input x: f32[n, 10]", "input x: f33[n, 10]", "line 3: expected an element type"),
    ("input x: f32[n, 10]", "input x: f32[m, 10]", "line 3: unknown name m"),
    ("constant w: f32[10] = @w", "constant w: f32[10] = @v", "line 5: no data given for @v"),
    ("kernel scale(i0 < n, i1 < 10)", "kernels scale(i0 < n, i1 < 10)", "line 12: expected program, symbols"),
    ("  store s() s[] = add_over(r1 < 10; 0.0; e[r1])", "  store s() s[] = add_over(r1 < 10; 0.0; e[r1, 0])",
     "line 19: 2 indices for 1 axes"),
    ("  store s() s[] = add_over(r1 < 10; 0.0; e[r1])", "  store s() k[] = add_over(r1 < 10; 0.0; e[r1])", "unknown buffer k"),
    ("arena 384 live 384", "arena 384", "line 10: expected 'live'"),
    ("arena 384 live 384", "arena many live 3", "line 10: expected a whole number"),
])
def test_mistakes_name_the_line(line, replacement, message):
    assert line in TEXT
    with pytest.raises(ModelError) as caught:
        parse_program(TEXT.replace(line, replacement), {"w": np.zeros(10, np.float32)})
    assert message in str(caught.value)
