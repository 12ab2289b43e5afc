"""If, Loop and Scan: whole models against onnxruntime, inferred sizes, error messages."""

import numpy as np
import onnx
import onnxruntime
import pytest

from edgec.backends.emulate import missing_tools
from edgec.backends.target import find
from edgec.compiler import compile, lower, optimise_graph
from edgec.errors import TypeMismatch, Unsupported
from edgec.expr import Expr, var
from edgec.graph import Graph, constant, graph_input, run_reference
from edgec.interpreter import interpret
from edgec.onnx.reader import load
from edgec.ops.arithmetic import Add
from edgec.ops.comparison import Identity
from edgec.ops.control_flow import If, Loop, Scan
from edgec.program_interpreter import run_program
from edgec.program_parser import parse_program
from edgec.program_text import constants, print_program
from edgec.types import TensorType, bool_, f32, i64

HEADER = '<ir_version: 8, opset_import: ["": 18]>\n'


def agree(text, **arrays):
    """The model's results in the interpreter, after comparing them with onnxruntime's."""
    model = onnx.parser.parse_model(HEADER + text)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    expected = onnxruntime.InferenceSession(model.SerializeToString(), options).run(None, arrays)
    found = interpret(load(model), arrays)
    for name, array in zip(found, expected):
        assert found[name].dtype == array.dtype
        np.testing.assert_allclose(found[name], array, rtol=1e-6)
    return list(found.values())


IF = """choose (bool[1] cond, float[3] x, float[3] y) => (float[3] z, float[3] w) {
    s = Add (x, y)
    z, w = If (cond) <
        then_branch = then () => (float[3] a, float[3] b) { a = Mul (s, x)  b = Identity (y) },
        else_branch = other () => (float[3] c, float[3] d) { t = Neg (s)  c = Add (t, y)  d = Identity (x) }>
}"""


@pytest.mark.parametrize("cond", [True, False])
def test_if_takes_one_branch_with_outer_values(cond):
    x, y = np.array([1, 2, 3], np.float32), np.array([4, 5, 6], np.float32)
    z, w = agree(IF, cond=np.array([cond]), x=x, y=y)
    np.testing.assert_array_equal(z, (x + y) * x if cond else -x)
    np.testing.assert_array_equal(w, y if cond else x)


LOOP = """power (float[2] x, bool go) => (float[2] y, float[5, 2] rows) {
    m = Constant <value = int64 {5}> ()
    y, rows = Loop (m, go, x) <body = step (int64 i, bool c, float[2] s) => (bool keep, float[2] t, float[2] row) {
        keep = Identity (c)
        f = Cast <to = 1> (i)
        u = Mul (s, x)
        t = Add (u, f)
        row = Neg (s)
    }>
}"""


def test_loop_carries_a_state_and_stacks_scan_results():
    y, rows = agree(LOOP, x=np.array([0.5, -1.5], np.float32), go=np.array(True))
    np.testing.assert_array_equal(rows[0], [-0.5, 1.5])
    assert y.shape == (2,) and rows.shape == (5, 2)


WHILE = """count (int64 x) => (int64 y, int64[n] rows) {
    m = Constant <value = int64 {20}> ()
    yes = Constant <value_int = 1> ()
    go = Cast <to = 9> (yes)
    y, rows = Loop (m, go, x) <body = step (int64 i, bool c, int64 s) => (bool keep, int64 t, int64 row) {
        t = Add (s, s)
        limit = Constant <value = int64 {50}> ()
        keep = Less (t, limit)
        row = Identity (s)
    }>
}"""


def test_loop_stops_when_its_condition_fails():
    y, rows = agree(WHILE, x=np.array(3, np.int64))
    assert y == 96 and rows.tolist() == [3, 6, 12, 24, 48]


SCAN = """running (float[2] init, float[3, 2] x, float[2, 3] w) => (float[2] last, float[2, 3] sums, float[3, 2] products) {
    last, sums, products = Scan <num_scan_inputs = 2, scan_input_axes = [0, 1], scan_input_directions = [1, 0],
                                 scan_output_axes = [1, 0], scan_output_directions = [0, 1],
        body = step (float[2] s, float[2] a, float[2] b) => (float[2] t, float[2] u, float[2] v) {
            t = Add (s, a)
            u = Identity (t)
            v = Mul (b, init)
        }> (init, x, w)
}"""


def test_scan_slices_along_axes_in_both_directions():
    random = np.random.default_rng(0)
    init, x, w = (random.standard_normal(s).astype(np.float32) for s in ((2,), (3, 2), (2, 3)))
    last, sums, products = agree(SCAN, init=init, x=x, w=w)
    np.testing.assert_allclose(last, init + x.sum(axis=0), rtol=1e-5)
    np.testing.assert_allclose(sums[:, 0], init + x[2], rtol=1e-6)
    np.testing.assert_allclose(products[0], w[:, 2] * init, rtol=1e-6)


def value(name, *shape, dtype=f32, tag=0):
    return graph_input(name, TensorType(dtype, shape), tag=tag)


def graph(inputs, *outputs):
    return Graph(tuple(inputs), outputs, tuple(f"y{n}" for n in range(len(outputs))))


COND, X, Y = value("cond", dtype=bool_), value("x", 3), value("y", 3)
COUNT, GO, STATE = value("i", dtype=i64), value("go", dtype=bool_), value("s", 3)


def body(*results, inputs=(STATE,)):
    return graph((COUNT, GO, *inputs), *results)


def test_branches_of_different_sizes_give_a_bounded_dimension():
    longer = constant(np.zeros(7, np.float32))
    op = If(COND, (X,), graph([X], Add(X, X).output), graph([X], longer))
    [size] = op.output.shape
    assert isinstance(size, Expr) and (size.lo, size.hi) == (3, 7)
    x = np.ones(3, np.float32)
    assert [run_reference(op, [np.array(c), x])[0].shape for c in (True, False)] == [(3,), (7,)]


def test_the_trip_count_is_exact_only_where_nothing_stops_the_loop():
    m, grown = constant(np.int64(4)), Add(STATE, STATE).output
    assert Loop(m, None, (X,), (), body(Identity(GO).output, grown, grown)).results[1].shape == (4, 3)
    stops = value("stops", dtype=bool_)
    size = Loop(m, None, (X,), (stops,), body(stops, grown, grown, inputs=(STATE, stops))).results[1].shape[0]
    assert (size.lo, size.hi) == (0, 4)
    n = var("n", 0, 6)
    scan = Scan((X, value("rows", n, 3)), (), graph((STATE, value("row", 3)), STATE, STATE), 1)
    assert scan.results[1].shape == (n, 3)


def test_a_loop_that_does_not_run_gives_its_state_and_no_rows():
    op = Loop(constant(np.int64(0)), None, (X,), (), body(GO, STATE, STATE))
    y, rows = run_reference(op, [np.int64(0), np.ones(3, np.float32)])
    assert y.tolist() == [1, 1, 1] and rows.shape == (0, 3)


@pytest.mark.parametrize("error, make, message", [
    (TypeMismatch, lambda: If(X, (), graph([], Y), graph([], Y)), "the condition is f32\\[3\\]; one bool is needed"),
    (TypeMismatch, lambda: If(COND, (X,), graph([], Y), graph([X], Y)), "then_branch has 0 inputs, it is given 1"),
    (TypeMismatch, lambda: If(COND, (X,), graph([value("z", 4)], Y), graph([X], Y)), r"%z, is f32\[4\], it is given f32\[3\]"),
    (TypeMismatch, lambda: If(COND, (), graph([], X), graph([], X, Y)), "the branches give 1 and 2 results"),
    (Unsupported, lambda: If(COND, (), graph([], X), graph([], value("z", 3, 1))), r"result 0 is f32\[3\] in one branch"),
    (TypeMismatch, lambda: Loop(X, None, (X,), (), body(GO, STATE)), "the trip count must be one i64"),
    (TypeMismatch, lambda: Loop(None, GO, (X,), (), body(GO)), "body gives 1 results, a condition and 1 states are needed"),
    (TypeMismatch, lambda: Loop(None, GO, (X,), (), body(STATE, STATE)), "the condition that body gives is f32"),
    (TypeMismatch, lambda: Loop(None, GO, (X,), (), body(GO, COUNT)), r"state 0 is f32\[3\], body gives i64\[\]"),
    (Unsupported, lambda: Loop(None, GO, (X,), (), body(GO, value("z", 4))), "a state must keep its shape"),
    (Unsupported, lambda: Loop(None, GO, (X,), (), body(GO, STATE, STATE)), "the number of iterations is not known"),
    (TypeMismatch, lambda: Scan((X,), (), graph([STATE], STATE), 2), "num_scan_inputs is 2 of 1 operands"),
    (TypeMismatch, lambda: Scan((value("a", 2, 3), value("b", 4, 3)), (), graph([X, Y], X), 2), "scan inputs are 2 and 4 long"),
    (TypeMismatch, lambda: Scan((value("a", 2, 3),), (), graph([X], X), 1, (2,)), "scan_input_axes entry 2 is outside"),
    (TypeMismatch, lambda: Scan((value("a", 2, 3),), (), graph([X], X), 1, (), (2,)), "must be 0 or 1"),
    (TypeMismatch, lambda: Scan((value("a", 2, 3),), (), graph([X], X), 1, (0, 0)), "2 axes or directions are given for 1 tensors"),
])
def test_errors(error, make, message):
    with pytest.raises(error, match=message):
        make()


BRANCHES = """choose (bool[1] cond, float[30, 40] x, float[30, 40] y) => (float[30, 40] z, float[30, 40] w) {
    s = Add (x, y)
    z, w = If (cond) <
        then_branch = then () => (float[30, 40] a, float[30, 40] b) { a = Mul (s, x)  b = Identity (y) },
        else_branch = other () => (float[30, 40] c, float[30, 40] d) { t = Neg (s)  c = Add (t, y)  d = Identity (x) }>
}"""
UNTIL = """grow (float[5] x, float limit) => (float[5] y) {
    yes = Constant <value_int = 1> ()
    go = Cast <to = 9> (yes)
    y = Loop (, go, x) <body = step (int64 i, bool c, float[5] s) => (bool keep, float[5] t) {
        t = Add (s, s)
        most = ReduceMax <keepdims = 0> (t)
        keep = Less (most, limit)
    }>
}"""
COUNTED = """power (float[2] x, bool go, int64 m) => (float[2] y) {
    y = Loop (m, go, x) <body = step (int64 i, bool c, float[2] s) => (bool keep, float[2] t) {
        keep = Identity (c)
        f = Cast <to = 1> (i)
        u = Mul (s, x)
        t = Add (u, f)
    }>
}"""
LONG = """halves (float[2] x) => (float[2] y, float[6000, 2] rows) {
    m = Constant <value = int64 {6000}> ()
    y, rows = Loop (m, , x) <body = step (int64 i, bool c, float[2] s) => (bool keep, float[2] t, float[2] row) {
        keep = Identity (c)
        f = Cast <to = 1> (i)
        half = Constant <value = float {0.5}> ()
        u = Mul (s, half)
        t = Add (u, f)
        row = Neg (t)
    }>
}"""
NESTED = """nest (float[4, 4] x, int64 n, float limit) => (float[4, 4] y) {
    y = Loop (n, , x) <body = step (int64 i, bool c, float[4, 4] s) => (bool keep, float[4, 4] t) {
        keep = Identity (c)
        most = ReduceMax <keepdims = 0> (s)
        large = Less (limit, most)
        t = If (large) <
            then_branch = shrink () => (float[4, 4] o) {
                turned = Transpose (s)
                product = MatMul (s, turned)
                little = Constant <value = float {0.1}> ()
                o = Mul (product, little)
            },
            else_branch = grow () => (float[4, 4] o) {
                yes = Constant <value_int = 1> ()
                go = Cast <to = 9> (yes)
                o = Loop (, go, s) <body = inner (int64 j, bool d, float[4, 4] q) => (bool e, float[4, 4] w) {
                    sum = Add (q, x)
                    w = Abs (sum)
                    largest = ReduceMax <keepdims = 0> (w)
                    e = Less (largest, limit)
                }>
            }>
    }>
}"""


def numbers(*shape):
    return np.abs(np.random.default_rng(5).standard_normal(shape)).astype(np.float32)


CASES = {
    "if": (BRANCHES, [{"cond": np.array([c]), "x": numbers(30, 40), "y": -numbers(30, 40)} for c in (True, False)]),
    "a choice": (IF, [{"cond": np.array([c]), "x": numbers(3), "y": -numbers(3)} for c in (True, False)]),
    "until": (UNTIL, [{"x": numbers(5), "limit": np.array(limit, np.float32)} for limit in (0.1, 3, 1000)]),
    "counted": (COUNTED, [{"x": numbers(2), "go": np.array(go), "m": np.array(m)} for go in (True, False) for m in (-3, 0, 1, 2, 7)]),
    "long": (LONG, [{"x": numbers(2)}]),
    "nested": (NESTED, [{"x": numbers(4, 4), "n": np.array(n), "limit": np.array(m, np.float32)} for n, m in ((0, 3), (1, 3), (5, 3), (6, 0.1))]),
}


@pytest.mark.parametrize("name", CASES)
def test_what_only_the_run_decides_is_compiled(name):
    """Machine code, the program in numpy with its arena, the interpreter and onnxruntime, one after the other; and the text reads back."""
    text, samples = CASES[name]
    loaded = load(onnx.parser.parse_model(HEADER + text))
    artifact = compile(loaded, workers=0)
    program = lower(optimise_graph(loaded, artifact.target), artifact.target)
    assert print_program(parse_program(print_program(program), constants(program))) == print_program(program)
    for arrays in samples:
        expected = dict(zip(loaded.output_names, agree(text, **arrays)))
        for found in (artifact.run(arrays), run_program(program, arrays, arena=True)):
            for output, array in expected.items():
                np.testing.assert_allclose(found[output], array, rtol=1e-5, atol=1e-6)


def test_only_the_branch_that_is_taken_is_computed():
    program = lower(optimise_graph(load(onnx.parser.parse_model(HEADER + BRANCHES)), find("cortex-m4")), find("cortex-m4"))
    conditions = {k.repeat[0].condition.name for k in program.steps if k.repeat}
    assert len(conditions) == 2 and all(k.repeat[0].extent == 1 for k in program.steps if k.repeat)


def test_threads_do_not_run_ahead_of_a_condition():
    source = BRANCHES.replace("30, 40", "300, 400")
    artifact = compile(load(onnx.parser.parse_model(HEADER + source)), workers=0)
    for cond in (True, False):
        arrays = {"cond": np.array([cond]), "x": numbers(300, 400), "y": -numbers(300, 400)}
        for name, array in artifact.run(arrays, threads=2).items():
            np.testing.assert_array_equal(array, artifact.run(arrays)[name])


def test_a_loop_runs_on_a_microcontroller():
    if missing_tools(find("cortex-m4")):
        pytest.skip("no emulator for cortex-m4")
    text, samples = CASES["until"]
    artifact = compile(load(onnx.parser.parse_model(HEADER + text)), "cortex-m4", workers=0)
    np.testing.assert_allclose(artifact.run(samples[1])["y"], agree(text, **samples[1])[0], rtol=1e-6)


def test_rows_without_a_known_count_are_as_many_as_came_out():
    model = onnx.parser.parse_model(HEADER + WHILE.replace("rows) {", "rows) { "))
    artifact = compile(load(model), workers=0)
    for x in (1, 7, 100):
        found, wanted = artifact.run({"x": np.array(x)}), interpret(load(model), {"x": np.array(x)})
        assert found["rows"].tolist() == wanted["rows"].tolist() == [x * 2 ** n for n in range(20) if n == 0 or x * 2 ** n < 50]


def test_scan_over_a_batch_as_opset_8_has_it():
    text = """running (float[2, 2] init, float[2, 3, 2] x) => (float[2, 2] last, float[2, 3, 2] sums) {
        last, sums = Scan <num_scan_inputs = 1, directions = [1], body = step (float[2] s, float[2] a) => (float[2] t, float[2] u) {
            t = Add (s, a)
            u = Identity (t)
        }> ("", init, x)
    }"""
    loaded = load(onnx.parser.parse_model(HEADER.replace("18", "8") + text))
    arrays = {"init": numbers(2, 2), "x": numbers(2, 3, 2)}
    expected = arrays["init"][:, None] + arrays["x"][:, ::-1].cumsum(1)
    for found in (interpret(loaded, arrays), compile(loaded, workers=0).run(arrays)):
        np.testing.assert_allclose(found["sums"], expected, rtol=1e-5)
        np.testing.assert_allclose(found["last"], expected[:, -1], rtol=1e-5)
