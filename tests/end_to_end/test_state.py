"""State that is kept between calls, in machine code: several steps, two states at once, a microcontroller, and clear words for bad pairs."""

import ctypes

import numpy as np
import onnx.parser
import onnxruntime
import pytest

import edgec
from edgec.array_file import read_arrays
from edgec.backends.emulate import missing_tools
from edgec.backends.interface import BAD_STATE
from edgec.backends.target import find
from edgec.cli import main
from edgec.errors import CompileError
from edgec.interpreter import interpret
from edgec.persistent_state import first_states, stepped, with_state

CELL = """<ir_version: 8, opset_import: ["" : 17]>
cell (float[1,1,5] x, float[1,1,6] h, float[1,1,6] c) => (float[1,1,1,6] y, float[1,1,6] hn, float[1,1,6] cn)
<float[1,24,5] w = {%s}, float[1,24,6] r = {%s}> { y, hn, cn = LSTM <hidden_size: int = 6> (x, w, r, , , h, c) }"""
CACHE = """<ir_version: 10, opset_import: ["" : 24]>
decoder (float[1,1,8] token, int64[1] at, float[1,1,16,8] past) => (float[1,1,1,8] y, float[1,1,16,8] present)
<float[8,8] wq = {%s}, int64[1] one = {1}> {
    q2 = MatMul (token, wq)
    q = Unsqueeze (q2, one)
    row = Unsqueeze (token, one)
    present = TensorScatter <axis: int = 2, mode: string = "circular"> (past, row, at)
    y = Attention (q, present, present)
}"""


def text(shape, seed):
    return ", ".join(f"{v:.3f}" for v in np.random.default_rng(seed).normal(0, 0.5, shape).ravel())


CELL, CACHE = CELL % (text((24, 5), 1), text((24, 6), 2)), CACHE % text((8, 8), 3)


def model(source):
    return onnx.parser.parse_model(source)


def tokens(count):
    generator = np.random.default_rng(9)
    return [{"token": generator.normal(size=(1, 1, 8)).astype(np.float32), "at": np.array([n])} for n in range(count)]


def frames(count):
    return [{"x": x} for x in np.random.default_rng(4).normal(size=(count, 1, 1, 5)).astype(np.float32)]


def assert_steps(graph, artifact, samples, judge):
    for found, wanted in zip(artifact.run_steps(samples), stepped(judge, graph, samples), strict=True):
        assert found.keys() == wanted.keys()
        for name in wanted:
            np.testing.assert_allclose(found[name], wanted[name], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("target", ["native", "cortex-m4", "aarch64", "wasm32"])
def test_a_recurrent_cell_goes_on_where_it_stopped(target):
    if missing := missing_tools(find(target)) if target != "native" else []:
        pytest.skip(f"needs {', '.join(missing)}")
    graph, states = edgec.load(model(CELL)), {"h": "hn", "c": "cn"}
    session = onnxruntime.InferenceSession(model(CELL).SerializeToString())
    artifact = edgec.compile(graph, target, state=states, workers=0)
    assert [p.name for p in artifact.interface.inputs] == ["x"] and [p.name for p in artifact.interface.outputs] == ["y"]
    kept = with_state(graph, states)
    assert_steps(kept, artifact, frames(5), lambda arrays: interpret(kept, arrays))
    assert_steps(kept, artifact, frames(5), lambda arrays: dict(zip(("y", "hn", "cn"), session.run(None, dict(arrays)))))


def test_a_decoder_writes_one_row_of_its_ring_of_rows():
    graph = edgec.load(model(CACHE))
    artifact = edgec.compile(graph, state={"past": "present"}, workers=0)
    kept = with_state(graph, {"past": "present"})
    assert_steps(kept, artifact, [s | {"at": s["at"] % 16} for s in tokens(19)], lambda arrays: interpret(kept, arrays))
    with artifact.load() as loaded:
        for sample in tokens(3):
            before = loaded.state["past"].copy()
            loaded.run(sample)
            changed = np.flatnonzero((loaded.state["past"] != before).any((0, 1, 3)))
            assert changed.tolist() == sample["at"].tolist()


def test_a_step_of_a_cache_takes_no_copy_of_it():
    """The arena of a decoder with 4,000 rows has no room for another cache."""
    source = CACHE.replace("16,8", "4000,8")
    artifact = edgec.compile(model(source), state={"past": "present"}, workers=0)
    assert artifact.interface.state_bytes == 4000 * 8 * 4
    assert artifact.interface.arena_bytes < 4000 * 8 * 4


def test_two_states_do_not_know_of_each_other():
    artifact = edgec.compile(model(CELL), state={"h": "hn", "c": "cn"}, workers=0)
    apart = [artifact.run_steps(frames(6)[start::2]) for start in (0, 1)]
    with artifact.load() as loaded:
        states = [np.zeros_like(loaded._state) for _ in range(2)]
        found = ([], [])
        for n, frame in enumerate(frames(6)):
            loaded._state[:] = states[n % 2]
            found[n % 2].append(loaded.run(frame)["y"])
            states[n % 2] = loaded._state.copy()
    for ours, theirs in zip(found, apart):
        for y, outputs in zip(ours, theirs):
            np.testing.assert_array_equal(y, outputs["y"])


def test_a_missing_or_crooked_state_is_refused():
    with edgec.compile(model(CELL), state={"h": "hn", "c": "cn"}, workers=0).load() as loaded:
        loaded.set_inputs(frames(1)[0])
        for address in (0, loaded._state.ctypes.data + 8):
            loaded.set_state(address)
            assert loaded.call() == BAD_STATE
        loaded.set_state(loaded._state.ctypes.data)
        assert loaded.call() == 0 and ctypes.sizeof(ctypes.c_void_p) == 8


def test_threads_see_one_state():
    source = CACHE.replace("16,8", "600,64").replace("1,8]", "1,64]").replace("[8,8]", "[64,64]")
    source = source.replace(text((8, 8), 3), text((64, 64), 3))
    artifact = edgec.compile(model(source), state={"past": "present"}, workers=0)
    samples = [{"token": np.full((1, 1, 64), n / 8, np.float32), "at": np.array([n])} for n in range(4)]
    for one, two in zip(artifact.run_steps(samples), artifact.run_steps(samples, threads=2)):
        np.testing.assert_array_equal(one["y"], two["y"])
        np.testing.assert_array_equal(one["present"], two["present"])


@pytest.mark.parametrize("pairs, words", [
    ({"h": "nothing"}, "no output 'nothing'"), ({"g": "hn"}, "no input 'g'"), ({"x": "hn"}, "the output f32[1,1,6]"),
    ({"h": "hn", "c": "hn"}, "two inputs are to be kept from output 'hn'")])
def test_pairs_that_cannot_be_kept(pairs, words):
    with pytest.raises(CompileError) as caught:
        edgec.compile(model(CELL), state=pairs)
    assert words in str(caught.value)


def test_an_open_size_cannot_be_kept():
    source = '<ir_version: 8, opset_import: ["" : 17]> g (float[N] x) => (float[N] y) { y = Neg (x) }'
    with pytest.raises(CompileError, match="is open"):
        edgec.compile(model(source), bind={"N": "1..4"}, state={"x": "y"})


def test_commands_take_pairs(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    onnx.save(model(CELL), "cell.onnx")
    np.savez("in.npz", **frames(1)[0])
    states = ["--state", "h=hn", "--state", "c=cn", "--no-cache", "--workers", "0"]
    assert main(["compile", "cell.onnx", *states, "-o", "build"]) == 0
    header = (tmp_path / "build" / "cell.h").read_text()
    assert "#define CELL_STATE_BYTES 128u" in header and "#define CELL_STATE_C_AT 64u" in header and "CELL_IN_H" not in header
    assert main(["verify", "cell.onnx", *states]) == 0
    for extra in ([], ["--interpret"]):
        assert main(["run", "cell.onnx", *states, "--inputs", "in.npz", "--outputs", "out.npz", *extra]) == 0
        graph = edgec.load("cell.onnx")
        wanted = interpret(graph, {**first_states(with_state(graph, {"h": "hn", "c": "cn"})), **frames(1)[0]})
        for name, array in read_arrays(tmp_path / "out.npz").items():
            np.testing.assert_allclose(array, wanted[name], rtol=1e-5, atol=1e-6)
    assert main(["bench", "cell.onnx", *states, "--rounds", "1", "--round-seconds", "0.001"]) == 0
    assert main(["profile", "cell.onnx", *states, "--seconds", "0.01"]) == 0
    capsys.readouterr()
    assert main(["run", "cell.onnx", "--state", "h", "--no-cache"]) == 1
    assert "write IN=OUT" in capsys.readouterr().err
