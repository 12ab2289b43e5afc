"""WebAssembly: whole models in an engine, the object as linkers see it, and what is said when a tool is missing."""
import subprocess

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from edgec.backends import wasm_module
from edgec.backends.emulate import emulate, missing_tools
from edgec.backends.inspect_object import defined_globals, section_sizes, undefined_symbols, writable_sections
from edgec.backends.target import find
from edgec.backends.wasm_module import WasmProgram, find_linker, link
from edgec.backends.wasm_object import join_bitcode, read_symbols, segment_names
from edgec.compiler import compile
from edgec.errors import Internal, Unsupported
from edgec.graph_text import parse_graph
from edgec.interpreter import interpret
from edgec.onnx.reader import load
from edgec.testing.graphs import integer_graphs, normal_inputs, random_graph, whole_inputs
from edgec.types import f32

TARGET = find("wasm32")
MODEL = "testdata/digits/digits.onnx"


@pytest.fixture(autouse=True)
def tools():
    missing = missing_tools(TARGET)
    if missing:
        pytest.skip(f"{', '.join(missing)} not installed")


def test_the_object_holds_its_weights_and_needs_no_other(digits):
    assert defined_globals(digits.object) == ["digits_run"] and undefined_symbols(digits.object) == []
    assert writable_sections(digits.object) == [] and segment_names(digits.object) == [".rodata.digits_weights"]
    sizes = section_sizes(digits.object)
    assert sum(sizes.values()) == digits.interface.flash_bytes < len(digits.object)
    assert sizes[".rodata"] >= digits.manifest["constant_bytes"]
    assert any(each.local for each in read_symbols(digits.object))


def test_same_model_same_bytes(digits):
    assert compile(MODEL, "wasm32").object == digits.object


def test_a_module_stands_alone(digits, tmp_path):
    path, = digits.write(tmp_path, {"wasm"})
    module = path.read_bytes()
    assert path.name == "digits.wasm" and module[:4] == b"\0asm" and b"digits_run" in module
    with pytest.raises(Unsupported, match="is no WebAssembly"):
        compile(MODEL, "aarch64").wasm_module()


def test_two_models_link_together(digits, tmp_path):
    (tmp_path / "a.o").write_bytes(digits.object)
    (tmp_path / "b.o").write_bytes(compile(MODEL, "wasm32", prefix="other").object)
    command = [find_linker(), "a.o", "b.o", "-o", "both.wasm", "--no-entry", "--export=digits_run", "--export=other_run"]
    subprocess.run(command, cwd=tmp_path, check=True)
    assert (tmp_path / "both.wasm").stat().st_size > 2 * digits.manifest["constant_bytes"]


def test_an_archive_links(digits, tmp_path):
    (tmp_path / "libdigits.a").write_bytes(digits.archive())
    command = [find_linker(), "libdigits.a", "-o", "digits.wasm", "--no-entry", "--export=digits_run"]
    subprocess.run(command, cwd=tmp_path, check=True)


def test_every_call_counts_the_same_instructions(digits):
    inputs = normal_inputs(load(MODEL))
    with WasmProgram(digits.object, digits.interface, [inputs]) as program:
        counts = {program.count_instructions([inputs]) for _ in range(3)}
    assert len(counts) == 1 and 50_000 < counts.pop() < 5_000_000


@settings(max_examples=12, deadline=None)
@given(st.randoms(use_true_random=False), st.booleans())
def test_random_graphs_compute_what_they_mean(random, symbolic):
    graph = random_graph(random, max_steps=5, dtype=f32, symbolic=symbolic)
    samples = [normal_inputs(graph, seed, size) for seed, size in ((0, 3), (1, 1 if symbolic else 3))]
    found = emulate(compile(graph, TARGET, optimize="1", workers=0), samples).outputs
    for sample, outputs in zip(samples, found):
        for name, expected in interpret(graph, sample).items():
            scale = np.abs(expected).max(initial=1.0)
            np.testing.assert_allclose(outputs[name], expected, rtol=0, atol=1e-4 * scale, err_msg=name)


@settings(max_examples=12, deadline=None)
@given(integer_graphs())
def test_integers_are_exact(graph):
    inputs = whole_inputs(graph)
    outputs, = emulate(compile(graph, TARGET, optimize="1", workers=0), [inputs]).outputs
    for name, expected in interpret(graph, inputs).items():
        np.testing.assert_array_equal(outputs[name], expected, err_msg=name)


def test_memory_grows_for_what_does_not_fit():
    graph = parse_graph("graph g(%x: f32[1024,1024]) -> (%y) {\n  %y = Relu(%x) : f32[1024,1024]\n}\n")
    x = np.random.default_rng(0).standard_normal((1024, 1024), np.float32)
    outputs, = emulate(compile(graph, TARGET, workers=0), [{"x": x}]).outputs
    np.testing.assert_array_equal(outputs["y"], np.maximum(x, 0))


def test_missing_tools_are_named(digits, monkeypatch):
    monkeypatch.setattr(wasm_module.shutil, "which", lambda name: None)
    assert missing_tools(TARGET) == ["wasm-ld"]
    with pytest.raises(Unsupported, match="needs the linker wasm-ld") as error:
        link(digits.object, digits.interface)
    assert "apt-get install lld" in str(error.value)


def test_what_does_not_link_says_what_the_linker_said(digits):
    with pytest.raises(Internal, match="linking the WebAssembly module failed"):
        link(b"\0asm\1\0\0\0", digits.interface)


def test_parts_that_do_not_fit_are_refused():
    with pytest.raises(Internal, match="LLVM cannot join"):
        join_bitcode([b"no bitcode"], [], {"f"}, TARGET)


@pytest.fixture(scope="module")
def digits():
    return compile(MODEL, "wasm32")
