"""The driver: one call from graph to object, the same bytes every time, for every option."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import edgec
from edgec import emission
from edgec.backends.inspect_object import defined_globals, undefined_symbols, writable_sections
from edgec.backends.native import Loaded
from edgec.backends.target import find
from edgec.compiler import OPTIONAL, PROGRAM_PASSES, compile, lower, optimise_graph
from edgec.edge_file import read_graph
from edgec.errors import CompileError, ModelError
from edgec.graph import Graph, constant, graph_input
from edgec.interpreter import interpret
from edgec.onnx.reader import load
from edgec.ops.activation import Relu, Sigmoid
from edgec.ops.arithmetic import Add, Mul
from edgec.ops.matmul import MatMul
from edgec.testing.bounds import assert_within, error_bounds
from edgec.testing.graphs import normal_inputs, whole_inputs
from edgec.types import TensorType, f32

NETWORK = """graph net(%x: f32[1,8,9,9]) -> (%y, %z) {
  @w: f32[16,8,3,3]
  @b: f32[16]
  @d: f32[16,1,3,3]
  @v: f32[24,16,1,1]
  @m: f32[24,10]
  %c = Conv(%x, @w, @b) pads=[1,1,1,1] strides=[2,2] : f32[1,16,5,5]
  %r = Relu(%c) : f32[1,16,5,5]
  %e = Conv(%r, @d) group=16 pads=[1,1,1,1] : f32[1,16,5,5]
  %h = HardSwish(%e) : f32[1,16,5,5]
  %t = Concat(%r, %h) axis=1 : f32[1,32,5,5]
  %u, %z = Split(%t) axis=1 num_outputs=2 : f32[1,16,5,5], f32[1,16,5,5]
  %f = Conv(%u, @v) : f32[1,24,5,5]
  %p = GlobalAveragePool(%f) : f32[1,24,1,1]
  %q = Flatten(%p) : f32[1,24]
  %n = MatMul(%q, @m) : f32[1,10]
  %y = Softmax(%n) axis=1 : f32[1,10]
}"""


def network() -> Graph:
    return read_graph(NETWORK, "net")


def check(artifact, graph: Graph) -> None:
    """The object in memory against the interpreter."""
    with Loaded(artifact.object, artifact.interface) as model:
        for make in (whole_inputs, normal_inputs):
            arrays = make(graph)
            assert_within(model.run(arrays), interpret(graph, arrays), error_bounds(graph, arrays))


@pytest.mark.parametrize("optimize", ["0", "1", "2", "3", "s"])
def test_every_level_of_optimisation_is_right(optimize):
    graph = network()
    check(compile(graph, optimize=optimize, workers=0), graph)


@pytest.mark.parametrize("without", [(), *((name,) for name in sorted(OPTIONAL)), tuple(sorted(OPTIONAL))], ids="-".join)
def test_optional_passes_can_be_left_out(without):
    graph = network()
    check(compile(graph, optimize="1", without=without, workers=0), graph)


def test_passes_that_are_needed_cannot_be_left_out():
    with pytest.raises(ModelError, match="cannot leave out fuse"):
        compile(network(), without=("fuse", "views"))


def test_every_program_pass_says_why_it_stands_where_it_does():
    assert [p.__name__ for p, _ in PROGRAM_PASSES][0] == "fuse" and PROGRAM_PASSES[-1][0].__name__ == "liveness"
    assert all(len(reason) > 20 for _, reason in PROGRAM_PASSES)
    assert OPTIONAL <= {p.__name__ for p, _ in PROGRAM_PASSES} | {"packed"}  # which is what fold-constants leaves to do


def test_the_object_is_closed_and_has_one_public_name():
    artifact = compile(network(), "aarch64", prefix="net", workers=0)
    assert undefined_symbols(artifact.object) == [] and writable_sections(artifact.object) == []
    assert defined_globals(artifact.object) == ["net_run"]


def test_the_prefix_names_the_symbols():
    artifact = compile(network(), "aarch64", prefix="my_model", workers=0)
    assert artifact.interface.run_symbol == "my_model_run" and defined_globals(artifact.object) == ["my_model_run"]
    with pytest.raises(ModelError, match="no C name"):
        compile(network(), "aarch64", prefix="my model")


def test_two_models_in_one_process_do_not_meet():
    graph = network()
    artifacts = [compile(graph, prefix=name, optimize="1", workers=0) for name in ("one", "two")]
    for artifact in artifacts:
        check(artifact, graph)


def test_texts_are_kept_on_request():
    plain = compile(network(), "aarch64", workers=0, optimize="1")
    kept = compile(network(), "aarch64", keep=("llvm", "asm"), workers=0, optimize="1")
    assert plain.llvm is None and plain.asm is None
    assert "define" in kept.llvm and "net_run" in kept.llvm and "fmla" in kept.asm and "net_run:" in kept.asm
    assert plain.object == kept.object
    only = compile(network(), "aarch64", keep=("asm",), workers=0, optimize="1")
    assert only.llvm is None and only.asm == kept.asm


def test_workers_and_cache_change_no_byte(tmp_path):
    here = compile(network(), "x86-64-v3", workers=0, optimize="1").object
    assert compile(network(), "x86-64-v3", workers=2, optimize="1", cache=tmp_path).object == here
    assert compile(network(), "x86-64-v3", workers=2, optimize="1", cache=tmp_path).object == here


PROGRAM = """
import hashlib, sys
sys.path.insert(0, sys.argv[1])
junk = [object() for _ in range(int(sys.argv[2]))]           # other addresses, so other ids
from edgec.compiler import compile
from edgec.edge_file import read_graph
import edgec.expr
kept = [edgec.expr.fresh("i", 0, n) for n in range(int(sys.argv[2]))]    # other counters
graph = read_graph(open(sys.argv[3]).read(), "net")
for target in ("x86-64-v3", "cortex-m55"):
    print(hashlib.sha256(compile(graph, target, workers=0, optimize="1").object).hexdigest())
"""


def test_the_same_bytes_whatever_the_hash_seed_and_addresses(tmp_path):
    (tmp_path / "net.edge").write_text(NETWORK)
    (tmp_path / "program.py").write_text(PROGRAM)
    outputs = set()
    for seed, junk in (("0", 0), ("1", 5003), ("77", 1)):
        environment = {**os.environ, "PYTHONHASHSEED": seed, "OPENBLAS_NUM_THREADS": "1"}
        command = [sys.executable, "-P", str(tmp_path / "program.py"), str(tmp_path), str(junk), str(tmp_path / "net.edge")]
        outputs.add(subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout)
    assert len(outputs) == 1 and len(outputs.pop().split()) == 2


def twins(seed: int) -> Graph:
    """Two products with weights of one shape, equal where the seeds are."""
    x = graph_input("x", TensorType(f32, (5, 64)))
    first, second = (np.random.default_rng(s).integers(-2, 3, (64, 64)).astype(np.float32) for s in (1, seed))
    hidden = Relu(MatMul(x, constant(first, "first")).output).output
    return Graph((x,), (Relu(MatMul(hidden, constant(second, "second")).output).output,), ("y",), "twins")


def test_equal_weights_and_equal_code_are_stored_once():
    same, other = (compile(twins(seed), "aarch64", prefix="net", workers=0) for seed in (1, 2))
    weights = [a.interface.flash_bytes for a in (same, other)]
    assert weights[1] - weights[0] == 64 * 64 * 4
    calls = same.manifest["kernels"] if isinstance(getattr(same, "manifest", None), dict) else ["a", "b"]
    assert len(calls) == 2


def test_the_manifest_says_what_came_out():
    artifact = compile(network(), "aarch64", prefix="net", workers=0, optimize="1")
    facts = artifact.manifest
    assert facts["name"] == "net" and facts["target"] == "aarch64"
    assert [p["shape"] for p in facts["inputs"]] == [[1, 8, 9, 9]] and [p["dtype"] for p in facts["outputs"]] == ["f32", "f32"]
    assert facts["arena_bytes"] == artifact.interface.arena_bytes >= facts["live_bytes"] > 0
    assert facts["flash_bytes"] >= 4 * (16 * 8 * 9 + 16 + 16 * 9 + 24 * 16 + 24 * 10)


def test_a_model_without_weights_and_without_arena():
    x = graph_input("x", TensorType(f32, (5,)))
    graph = Graph((x,), (Relu(x).output,), ("y",))
    artifact = compile(graph, workers=0)
    assert artifact.interface.arena_bytes == 0 and artifact.interface.weights_symbol == ""
    check(artifact, graph)


def test_an_open_size_is_an_argument():
    graph = read_graph("""graph g(%x: f32[n<=6,8]) -> (%y) {
      @w: f32[8,5]
      %m = MatMul(%x, @w) : f32[n,5]
      %y = Softmax(%m) axis=1 : f32[n,5]
    }""", "test")
    artifact = compile(graph, workers=0)
    assert artifact.interface.dims == (("n", 1, 6),)
    with Loaded(artifact.object, artifact.interface) as model:
        for rows in (1, 2, 6, 3):
            arrays = normal_inputs(graph, rows, rows)
            assert_within(model.run(arrays), interpret(graph, arrays), error_bounds(graph, arrays))


def test_public_names_lead_here():
    graph = network()
    assert edgec.compile is compile
    check(edgec.compile(graph, find("native"), optimize="1", workers=0), graph)


def test_unknown_targets_name_the_known_ones():
    with pytest.raises(CompileError, match="unknown target 'z80'.*aarch64"):
        compile(network(), "z80")


CUSTOM = """
from edgec import graph_pass, rewrite, rule
from edgec.ops.activation import Relu
from edgec.ops.arithmetic import Neg


@rule
def backwards(op: Relu):
    '''relu(x) -> -x'''
    return Neg(op.x).output


@graph_pass("backwards")
def run(graph):
    return rewrite(graph, backwards)
"""


def test_custom_passes_run(tmp_path):
    file = tmp_path / "mine.py"
    file.write_text(CUSTOM)
    x = graph_input("x", TensorType(f32, (4,)))
    artifact = compile(Graph((x,), (Relu(x).output,), ("y",)), passes=[str(file)], workers=0)
    with Loaded(artifact.object, artifact.interface) as model:
        np.testing.assert_array_equal(model.run({"x": np.float32([1, -2, 3, 0])})["y"], [-1, 2, -3, 0])


def averages(count: int) -> Graph:
    """count times the mean of a value and x: twice as many operators."""
    x = value = graph_input("x", TensorType(f32, (6,)))
    half = constant(np.float32(0.5))
    for _ in range(count):
        value = Mul(Add(value, x).output, half).output
    return Graph((x,), (value,), ("y",), "chain")


def test_twice_as_many_operators_are_twice_the_work(calls_of):
    """Equal kernels are compiled once."""
    compile(averages(10), optimize="1", workers=0)   # what is made once for all models is made now
    few, many = (calls_of(lambda: compile(averages(count), optimize="1", workers=0)) for count in (1000, 2000))
    assert many < 3 * few


def test_ten_thousand_operators_become_an_object():
    artifact = compile(averages(5000), optimize="1", workers=0)
    with Loaded(artifact.object, artifact.interface) as model:
        np.testing.assert_array_equal(model.run({"x": np.ones(6, np.float32)})["y"], np.ones(6, np.float32))


def test_200_chained_silu_become_an_object():
    x = value = graph_input("x", TensorType(f32, (6,)))
    for _ in range(200):
        value = Mul(value, Sigmoid(value).output).output
    graph = Graph((x,), (value,), ("y",), "silu")
    program = lower(optimise_graph(graph, find("x86-64-v3")), find("x86-64-v3"))
    artifact = compile(graph, optimize="1", workers=0)
    assert len(program.steps) <= 7
    with Loaded(artifact.object, artifact.interface) as model:
        found = model.run({"x": np.linspace(-2, 4, 6, dtype=np.float32)})["y"]
    assert np.isfinite(found).all()


def test_a_warm_compilation_is_the_cold_one_and_knows_its_options(tmp_path):
    """The whole artifact comes from the cache when nothing it depends on differs, and only then."""
    graph = load(Path(__file__).parents[1] / "testdata" / "digits" / "digits.onnx")
    cold = compile(graph, "x86-64-v2", prefix="digits", cache=tmp_path, workers=0)
    entries = sorted(tmp_path.rglob("*"))
    warm = compile(graph, "x86-64-v2", prefix="digits", cache=tmp_path, workers=0)
    assert warm.object == cold.object and warm.manifest == cold.manifest and sorted(tmp_path.rglob("*")) == entries
    assert compile(graph, "x86-64-v2", prefix="other", cache=tmp_path, workers=0).interface.prefix == "other"
    assert compile(graph, "x86-64-v2", prefix="digits", optimize="0", cache=tmp_path, workers=0).object != cold.object


def test_a_function_of_very_many_calls_is_not_optimised(monkeypatch):
    """LLVM's register allocation would take the square of their number; the kernels keep their level."""
    levels, compile_module = [], emission.compile_module

    def noted(text, target, optimize, *given):
        levels.append(optimize)
        return compile_module(text, target, optimize, *given)

    monkeypatch.setattr(emission, "compile_module", noted)
    graph = network()
    for most, level in ((500, "3"), (0, "0")):
        monkeypatch.setattr(emission, "MANY_CALLS", most)
        levels.clear()
        artifact = compile(graph, workers=0)
        assert levels == [level]
        check(artifact, graph)
