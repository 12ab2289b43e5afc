"""`--ops`: operators written in a Python file, in every command that reads a model; what is wrong with a file is told."""

import json

import numpy as np
import onnx
import pytest
from onnx import helper

import edgec as package
from edgec.custom_operators import known_operators
from edgec.errors import CompileError, ModelError, Unsupported
from edgec.interpreter import interpret
from edgec.ops import OPERATORS

FILE = '''
import numpy as np
from edgec.expr import sum_over, unary
from edgec.graph import Op, Value
from edgec.ops.arithmetic import Mul
from edgec.types import f32


class Snake(Op):
    """x + sin(a x)^2 / a."""

    domain = "com.example"
    x: Value
    a: float = 1.0

    def infer(self):
        self.require(self.x.dtype is f32, "x must be f32")
        return self.x.type

    def reference(self, x):
        return (x + np.sin(np.float64(self.a) * x) ** 2 / self.a).astype(np.float32)

    def lower(self, at, x):
        wave = unary("sin", x(*at) * self.a)
        return x(*at) + wave * wave / self.a


class Square(Op):
    """x * x, of another operator."""

    domain = "org.other"
    x: Value

    def infer(self):
        return self.x.type

    def reference(self, x):
        return x * x

    def decompose(self):
        return Mul(self.x, self.x).output
'''


def expected(x):
    wide = x.astype(np.float64)
    return ((wide + np.sin(1.5 * wide) ** 2 / 1.5) ** 2).astype(np.float32)


def two_domains(nodes, shape=(3, 5)):
    info = [helper.make_tensor_value_info(n, 1, list(shape)) for n in ("x", "y")]
    opsets = [helper.make_opsetid(*pair) for pair in (("", 17), ("com.example", 1), ("org.other", 1))]
    return helper.make_model(helper.make_graph(nodes, "net", info[:1], info[1:]), opset_imports=opsets, ir_version=8)


@pytest.fixture
def custom(tmp_path):
    """(model, file with its operators, file with its input, the input)."""
    nodes = [helper.make_node("Snake", ["x"], ["h"], name="snake", domain="com.example", a=1.5),
             helper.make_node("Square", ["h"], ["y"], name="square", domain="org.other")]
    onnx.save(two_domains(nodes), tmp_path / "m.onnx")
    (tmp_path / "my_ops.py").write_text(FILE)
    x = np.random.default_rng(0).standard_normal((3, 5)).astype(np.float32)
    np.savez(tmp_path / "in.npz", x=x)
    return tmp_path / "m.onnx", tmp_path / "my_ops.py", tmp_path / "in.npz", x


@pytest.mark.parametrize("target", ["native", "aarch64"])
def test_compiled_code_computes_what_the_class_says(edgec, custom, cache, tmp_path, target):
    model, ops, given, x = custom
    result = edgec("run", model, "--ops", ops, "--inputs", given, "--outputs", tmp_path / "out.npz", "--target", target, *cache)
    assert result.status == 0, result.err
    np.testing.assert_allclose(np.load(tmp_path / "out.npz")["y"], expected(x), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("target", ["native", "aarch64"])
def test_it_verifies(edgec, custom, target):
    model, ops, given, _ = custom
    result = edgec("verify", model, "--ops", ops, "--inputs", given, "--target", target)
    assert result.status == 0, result.err + result.out


@pytest.mark.parametrize("command", [["show"], ["check"], ["check", "--target", "cortex-m4"], ["profile", "--seconds", "0.01"],
                                     ["bench", "--against", "none", "--rounds", "1"], ["tune", "--seconds", "0.1"], ["compile"]])
def test_every_command_takes_them(edgec, custom, tmp_path, monkeypatch, command):
    monkeypatch.chdir(tmp_path)
    result = edgec(command[0], custom[0], "--ops", custom[1], *command[1:])
    assert result.status == 0, result.err
    without = edgec(command[0], custom[0], *command[1:])
    assert without.status == 1 and "operator Snake of domain 'com.example' is not known" in without.err and "--ops" in without.err


def test_a_network_with_them_is_quantized(edgec, tmp_path, custom):
    weights = onnx.numpy_helper.from_array(np.random.default_rng(1).standard_normal((5, 4)).astype(np.float32), "w")
    nodes = [helper.make_node("Snake", ["x"], ["h"], domain="com.example", a=1.5), helper.make_node("MatMul", ["h", "w"], ["y"])]
    model = two_domains(nodes)
    model.graph.initializer.append(weights)
    model.graph.output[0].type.tensor_type.shape.dim[1].dim_value = 4
    onnx.save(model, tmp_path / "q.onnx")
    result = edgec("quantize", tmp_path / "q.onnx", "--ops", custom[1], "--calib", custom[2], "-o", tmp_path / "q8.onnx")
    assert result.status == 0, result.err
    assert edgec("check", tmp_path / "q8.onnx", "--ops", custom[1]).status == 0


def test_the_interpreter_uses_the_reference(custom):
    model, ops, _, x = custom
    np.testing.assert_allclose(interpret(package.load(model, ops=[ops]), {"x": x})["y"], expected(x), rtol=1e-6)
    assert ("com.example", "Snake") not in OPERATORS


def test_a_changed_file_is_compiled_anew(custom, tmp_path):
    model, ops, _, x = custom
    first = package.compile(model, ops=[ops], cache=tmp_path / "cache").run({"x": x})["y"]
    ops.write_text(FILE.replace('unary("sin"', 'unary("cos"'))
    second = package.compile(model, ops=[ops], cache=tmp_path / "cache").run({"x": x})["y"]
    assert not np.allclose(first, second)


def failing(path, text):
    path.write_text("from edgec.graph import Op, Value\n" + text)
    with pytest.raises(ModelError) as caught:
        known_operators([path])
    return str(caught.value)


def test_what_is_wrong_with_a_file(tmp_path):
    with pytest.raises(ModelError, match="there is no such file"):
        known_operators([tmp_path / "none.py"])
    assert "cannot load operators" in failing(tmp_path / "data.bin", "")
    assert "SyntaxError" in failing(tmp_path / "a.py", "class (")
    assert "ModuleNotFoundError" in failing(tmp_path / "b.py", "import no_such_module_here")
    assert "defines no operator" in failing(tmp_path / "c.py", "x = 1")


def test_what_is_wrong_with_classes_is_told_at_once(tmp_path):
    told = failing(tmp_path / "d.py", "class Bare(Op):\n    domain = 'd'\n    x: Value\nclass Relu(Op):\n    x: Value\n"
                   "    def infer(self): return self.x.type\n    def reference(self, x): return x\n    def lower(self, at, x): return x(*at)\n")
    assert "4 problems" in told and "operator Relu of" in told and "clashes" in told
    assert all(f"has no {part}" in told for part in ("infer", "reference", "lower or decompose"))
    one = "class A(Op):\n    x: Value\n    def infer(self): return self.x.type\n    def reference(self, x): return x\n    decompose = infer\n"
    assert "has no domain" in failing(tmp_path / "e.py", one)


def test_two_files_with_one_name_clash(tmp_path):
    for name in ("a.py", "b.py"):
        (tmp_path / name).write_text(FILE)
    with pytest.raises(ModelError, match="operator com.example.Snake already"):
        known_operators([tmp_path / "a.py", tmp_path / "b.py"])


@pytest.mark.parametrize("method, line", [("infer", "return self.x.type"), ("lower", 'wave = unary("sin", x(*at) * self.a)')])
def test_a_method_that_fails_is_an_error_at_the_node(edgec, custom, method, line):
    model, ops, _, _ = custom
    ops.write_text(FILE.replace(line, "return undefined_name", 1))
    result = edgec("check", model, "--ops", ops, "--json", "--no-cache")
    problem = json.loads(result.out)["problems"][0]
    assert result.status == 1 and problem["node"] == "snake"
    assert f"{method} of Snake failed at line" in problem["reason"] and "NameError" in problem["reason"]


def test_what_a_class_requires_and_attributes_it_lacks(custom):
    _, ops, _, _ = custom
    wrong = two_domains([helper.make_node("Snake", ["x"], ["y"], name="n", domain="com.example", b=1.0)])
    with pytest.raises(Unsupported, match="Snake with b=1.0"):
        package.load(wrong, ops=[ops])
    wrong = two_domains([helper.make_node("Cast", ["x"], ["h"], to=7), helper.make_node("Snake", ["h"], ["y"], name="n", domain="com.example")])
    with pytest.raises(CompileError, match="node 'n'.*x must be f32"):
        package.load(wrong, ops=[ops])


def test_they_are_not_for_tflite(custom):
    with pytest.raises(ModelError, match="--ops is for ONNX models"):
        package.load("model.tflite", ops=[custom[1]])
