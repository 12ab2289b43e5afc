"""What is kept between calls and grows with each: a decoder's caches, in place, up to the bound of their length."""
import numpy as np
import onnx.parser
import pytest

import edgec
from edgec.backends.emulate import emulate, missing_tools
from edgec.backends.target import find
from edgec.cli import main
from edgec.compiler import compile, lower, optimise_graph
from edgec.errors import CompileError, TypeMismatch
from edgec.interpreter import interpret
from edgec.onnx.reader import load
from edgec.persistent_state import stepped, with_state
from edgec.program_interpreter import run_program
from edgec.program_parser import parse_program
from edgec.program_text import constants, print_program

HEADER = '<ir_version: 9, opset_import: ["": 18]> '
ATTENTION = """g (float[1,2,S,4] q, float[1,2,S,4] k, float[1,2,S,4] v, float[1,2,P,4] pk, float[1,2,P,4] pv)
    => (float[1,2,S,4] y, float[1,2,T,4] nk, float[1,2,T,4] nv) {
  nk = Concat<axis=2>(pk, k)  nv = Concat<axis=2>(pv, v)
  t = Transpose<perm=[0,1,3,2]>(nk)  s = MatMul(q, t)  p = Softmax<axis=-1>(s)  y = MatMul(p, nv) }"""
BACKWARDS = """g (float[1,3] x, float[P,3] past) => (float[P,3] y, float[T,3] next) {
  one = Constant<value: tensor=int64[1]{-1}>()  end = Constant<value: tensor=int64[1]{-100}>()  a = Constant<value: tensor=int64[1]{0}>()
  back = Slice(past, one, end, a, one)  next = Concat<axis=0>(x, back)  y = Exp(past) }"""
ROWS = """g (float[1,3] x, float[P,3] past) => (float[3] y, float[T,3] next) {
  next = Concat<axis=0>(past, x)  zero = Constant<value: tensor=int64[1]{0}>()  sum = ReduceSum<keepdims=0>(past, zero)  y = Add(sum, sum) }"""
STATES = {"ATTENTION": {"pk": "nk", "pv": "nv"}, "BACKWARDS": {"past": "next"}, "ROWS": {"past": "next"}}


def graph_of(name, bind):
    return with_state(load(onnx.parser.parse_model(HEADER + globals()[name]), bind=bind), STATES[name])


def drawn(graph, steps, sizes=(1,)):
    generator, kept = np.random.default_rng(0), dict(graph.states)
    def shape(value, size):
        return [d if isinstance(d, int) else size for d in value.shape]
    return [{v.name: generator.standard_normal(shape(v, sizes[min(n, len(sizes) - 1)])).astype(np.float32)
             for v in graph.inputs if v.name not in kept} for n in range(steps)]


def agree(found, wanted):
    assert len(found) == len(wanted)
    for a, b in zip(found, wanted):
        assert a.keys() == b.keys()
        for name in b:
            assert a[name].shape == b[name].shape, (name, a[name].shape, b[name].shape)
            np.testing.assert_allclose(a[name], b[name], rtol=1e-5, atol=1e-6)


CASES = {"a token at a time": ("ATTENTION", {"P": "0..7", "S": 1}, (1,), 8), "a prompt, then tokens": ("ATTENTION", {"P": "0..9", "S": "1..4"}, (4, 1), 7),
         "rows": ("ROWS", {"P": "0..5"}, (1,), 6), "turned around": ("BACKWARDS", {"P": "0..5"}, (1,), 6)}


@pytest.mark.parametrize("case", CASES)
def test_steps(case):
    name, bind, sizes, count = CASES[case]
    graph = graph_of(name, bind)
    samples = drawn(graph, count, sizes)
    wanted = stepped(lambda inputs: interpret(graph, inputs), graph, samples)
    artifact = compile(graph, workers=0)
    agree(artifact.run_steps(samples), wanted)
    agree(artifact.run_steps(samples), wanted)  # each time from the first state on
    target = find("x86-64-v3")
    program = lower(optimise_graph(graph, target), target)
    text = print_program(program)
    again = parse_program(text, constants(program))
    assert print_program(again) == text
    agree(stepped(lambda inputs: run_program(again, inputs, arena=True), graph, samples), wanted)


@pytest.mark.parametrize("machine", ["aarch64", "cortex-m4", "wasm32"])
def test_elsewhere(machine):
    target = find(machine)
    if missing := missing_tools(target):
        pytest.skip(f"{target.name}: {', '.join(missing)} not installed")
    graph = graph_of("ATTENTION", {"P": "0..9", "S": "1..4"})
    samples = drawn(graph, 5, (4, 1))
    agree(emulate(compile(graph, target, workers=0), samples).outputs, stepped(lambda inputs: interpret(graph, inputs), graph, samples))


def test_only_new_rows_are_stored():
    target = find("x86-64-v3")
    program = lower(optimise_graph(graph_of("ATTENTION", {"P": "0..63", "S": 1}), target), target)
    stores = [k for k in program.steps if k.targets[0].root.name == "pk.room"]
    assert [axis.extent for axis in stores[0].axes] == [2, 1, 4] and len(stores) == 1


def test_a_full_cache_is_refused():
    graph = graph_of("ROWS", {"P": "0..2"})
    artifact = compile(graph, workers=0)
    samples = drawn(graph, 4)
    with artifact.load() as model:
        for sample in samples[:3]:
            model.run(sample)
        assert model.state["past"].shape == (3, 3)
        with pytest.raises(TypeMismatch, match="dimension P is 3, expected 0 to 2"):
            model.run(samples[3])
        model.reset()
        assert model.state["past"].shape == (0, 3)


def test_a_given_state_takes_the_place_of_what_is_kept():
    graph = graph_of("ROWS", {"P": "0..4"})
    artifact, past, x = compile(graph, workers=0), np.ones((3, 3), np.float32), np.float32([[1, 2, 3]])
    agree([artifact.run({"x": x, "past": past})], [interpret(graph, {"x": x, "past": past})])
    with pytest.raises(TypeMismatch, match="expected 0 to 4"):
        artifact.run({"x": x, "past": np.ones((5, 3), np.float32)})


def test_the_interface_says_how_much_is_filled():
    interface = compile(graph_of("ATTENTION", {"P": "0..7", "S": 1}), workers=0).interface
    assert interface.dims == (("P", 0, 7),)
    assert [(k.port.shape, k.before, k.after) for k in interface.states][0] == ((1, 2, 8, 4), (1, 2, "P", 4), (1, 2, "(P + 1)", 4))


def test_two_dimensions_cannot_grow():
    model = onnx.parser.parse_model(HEADER + "g (float[P,Q] past, float[1,Q] x) => (float[T,Q] next) { next = Concat<axis=0>(past, x) }")
    with pytest.raises(CompileError, match=r"the size of past: f32\[P,Q\] is open") as error:
        with_state(load(model, bind={"P": "0..4", "Q": "1..4"}), {"past": "next"})
    assert "one dimension may grow, up to the bound it is given; give the others a number: --bind Q=NUMBER" in str(error.value)
    assert with_state(load(model, bind={"P": "0..4", "Q": 4}), {"past": "next"}).states == (("past", "next"),)


def test_a_dimension_that_stays_is_bound_to_a_number():
    model = onnx.parser.parse_model(HEADER + "g (float[P,2] past) => (float[R,2] next) { next = Neg(past) }")
    with pytest.raises(CompileError, match="is open, its output") as error:
        with_state(load(model, bind={"P": "1..4"}), {"past": "next"})
    assert "bind it to a number: --bind P=NUMBER" in str(error.value)


def test_from_the_command_line(tmp_path, capsys):
    onnx.save(onnx.parser.parse_model(HEADER + ROWS), tmp_path / "rows.onnx")
    assert main(["compile", str(tmp_path / "rows.onnx"), "--state", "past=next", "--bind", "P=0..5", "-o", str(tmp_path)]) == 0
    header = (tmp_path / "rows.h").read_text()
    assert "int32_t P;" in header and "ROWS_STATE_PAST_SIZE 18" in header
    assert edgec.compile(tmp_path / "rows.onnx", bind={"P": "0..5"}, state={"past": "next"}).interface.state_bytes == 128
