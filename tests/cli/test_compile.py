"""`edgec compile`: what is written, in which kinds, and that failures leave nothing behind."""

import json

import numpy as np
import pytest

from edgec.edge_file import drawn_constant
from edgec.graph_text import load_graph
from edgec.interpreter import interpret
from edgec.loops_parser import parse_loops
from edgec.loops_text import print_loops
from edgec.program_interpreter import run_program
from edgec.program_parser import parse_program

PASSES = '''
import edgec
from edgec.ops.activation import Relu, Sigmoid

@edgec.rule
def sigmoid_for_relu(op: Relu):
    """relu(x)  ->  sigmoid(x)"""
    return Sigmoid(op.x).output

@edgec.graph_pass("soften")
def soften(graph):
    """Relu becomes Sigmoid."""
    return edgec.rewrite(graph, sigmoid_for_relu)
'''


def files(folder):
    return sorted(p.name for p in folder.iterdir())


def test_object_header_and_facts(edgec, cache, digits, tmp_path):
    result = edgec("compile", digits, "-o", tmp_path / "build", *cache)
    assert result.status == 0 and result.err == ""
    assert files(tmp_path / "build") == ["digits.h", "digits.json", "digits.o"]
    assert (tmp_path / "build" / "digits.o").read_bytes()[:4] == b"\x7fELF"
    assert "digits_run" in (tmp_path / "build" / "digits.h").read_text()
    assert json.loads((tmp_path / "build" / "digits.json").read_text())["inputs"][0]["name"] == "image"
    lines = result.out.splitlines()
    assert len(lines) == 4 and lines[0].startswith(str(tmp_path / "build")) and lines[-1].startswith("digits_run: ")


def test_an_executor_beside_the_object(edgec, cache, digits, tmp_path):
    assert edgec("compile", digits, "-o", tmp_path / "build", "--emit", "obj,header,executor", *cache).status == 0
    assert files(tmp_path / "build") == ["digits.h", "digits.o", "edgec_pthreads.c", "edgec_pthreads.h"]


def test_prefix_target_and_size(edgec, digits, tmp_path):
    result = edgec("compile", digits, "-o", tmp_path, "--prefix", "mine", "--target", "cortex-m4", "-Os")
    assert result.status == 0
    assert files(tmp_path) == ["mine.h", "mine.json", "mine.o"]
    assert json.loads((tmp_path / "mine.json").read_text())["target"] == "cortex-m4"


def test_every_kind_of_output(edgec, cache, digits, tmp_path, samples):
    kinds = "obj,header,json,asm,llvm,archive,so,graph,kernels,loops"
    result = edgec("compile", digits, "-o", tmp_path / "all", "--emit", kinds, *cache)
    assert result.status == 0
    folder, arrays = tmp_path / "all", {"image": samples[1]}
    suffixes = ["a", "graph.edge", "graph.npz", "h", "json", "kernels.edge", "kernels.npz", "ll", "loops.edge", "o", "s", "so"]
    assert files(folder) == [f"digits.{s}" for s in suffixes]
    assert "define" in (folder / "digits.ll").read_text() and "digits_run" in (folder / "digits.s").read_text()
    assert (folder / "digits.a").read_bytes()[:8] == b"!<arch>\n" and (folder / "digits.so").read_bytes()[:4] == b"\x7fELF"
    graph = load_graph(folder / "digits.graph.edge")
    program = parse_program((folder / "digits.kernels.edge").read_text(), dict(np.load(folder / "digits.kernels.npz")))
    expected = interpret(graph, arrays)["probabilities"]
    np.testing.assert_allclose(run_program(program, arrays)["probabilities"], expected, rtol=1e-5, atol=1e-6)
    texts = (folder / "digits.loops.edge").read_text().split("\n\n")
    assert len(texts) == len(program.steps)
    for text in texts:
        assert print_loops(parse_loops(text)).strip() == text.strip()


def test_symbolic_batch(edgec, cache, digits_dyn, tmp_path):
    result = edgec("compile", digits_dyn, "--bind", "N=1..4", "-o", tmp_path, *cache)
    assert result.status == 0 and "N" in (tmp_path / "digits_dyn.h").read_text()


def test_passes_from_a_file(edgec, cache, digits, tmp_path):
    (tmp_path / "mine.py").write_text(PASSES)
    result = edgec("compile", digits, "-o", tmp_path / "out", "--emit", "graph,obj", "--passes", tmp_path / "mine.py", *cache)
    assert result.status == 0
    text = (tmp_path / "out" / "digits.graph.edge").read_text()
    assert "sigmoid" in text.lower() and "relu(" not in text.lower()


@pytest.mark.parametrize("arguments, message", [
    (["--emit", "obj,exe"], "cannot emit exe\n  hint: the kinds are obj, header"),
    (["--emit", ","], "cannot emit nothing"),
    (["--prefix", "1 2"], "the prefix '1 2' is no C name\n  hint: use --prefix "),
    (["--passes", "no.py"], "cannot load passes from 'no.py'"),
    (["--emit", "so", "--target", "cortex-m4"], "cortex-m4 has no shared libraries"),
])
def test_what_cannot_be_is_told(edgec, cache, digits, tmp_path, arguments, message):
    result = edgec("compile", digits, "-o", tmp_path / "out", *cache, *arguments)
    assert result.status == 1 and result.err.startswith("error: ") and message in result.err
    assert not (tmp_path / "out").exists()


def test_nothing_is_left_where_writing_fails(edgec, cache, digits, tmp_path):
    (tmp_path / "out" / "digits.o").mkdir(parents=True)
    result = edgec("compile", digits, "-o", tmp_path / "out", *cache)
    assert result.status == 1 and result.err.count("\n") == 1 and "cannot write" in result.err
    assert files(tmp_path / "out") == ["digits.o"]
    (tmp_path / "file").write_text("")
    result = edgec("compile", digits, "-o", tmp_path / "file" / "out", *cache)
    assert result.status == 1 and result.err.count("\n") == 1 and "cannot write" in result.err


def test_drawn_constants_serve_graph_texts_without_data(edgec, digits, tmp_path):
    result = edgec("show", digits, "--text", "graph")
    (tmp_path / "g.edge").write_text(result.out)
    from edgec.graph_parser import parse_graph
    graph = parse_graph(result.out, drawn_constant)
    assert [v.name for v in graph.inputs] == ["image"] and graph.output_names == ("probabilities",)


def test_growth_of_weights_is_an_option(edgec, digits, cache, tmp_path):
    for arguments in (["--max-flash-growth", "1"], ["--no-winograd"], ["--max-flash-growth", "8.5", "-Os"]):
        done = edgec("compile", digits, *cache, *arguments, "-o", tmp_path)
        assert done.status == 0
    refused = edgec("compile", digits, *cache, "--max-flash-growth", "0.5", "-o", tmp_path)
    assert refused.status == 1 and "weights cannot grow to 0.5 times their size" in refused.err and "give 1" in refused.err
    assert edgec("verify", digits, *cache, "--max-flash-growth", "2").status == 0
    assert edgec("check", digits, "--no-winograd").status == 0
