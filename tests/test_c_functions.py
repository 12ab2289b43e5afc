"""Operators that are C functions: what is called with what, in which order, and what is refused."""

import numpy as np
import pytest

from edgec import interpret
from edgec.backends.external import link
from edgec.backends.inspect_object import undefined_symbols
from edgec.c_functions import CFunction, segments
from edgec.compiler import compile
from edgec.custom_operators import known_operators
from edgec.errors import CompileError
from edgec.expr import var
from edgec.graph import Graph, Value, constant, graph_input
from edgec.ops.activation import Relu
from edgec.ops.arithmetic import Add, Mul
from edgec.ops.matmul import MatMul
from edgec.ops.reshape import Transpose
from edgec.types import TensorType, f32, i64

SOURCE = """
#include <stdint.h>
void test_mix(const float *x, const int64_t *y, float *result, int32_t rows, int32_t columns, int32_t factor) {
    for (int32_t i = 0; i < rows; i++)
        for (int32_t j = 0; j < columns; j++)
            result[j * rows + i] = factor * x[i * columns + j] + (float)y[j];
}
void test_twice(const float *x, const float *again, float *result) { *result = *x + *again + 1; }
"""


class Mix(CFunction):
    domain = "test"
    symbol = "test_mix"
    x: Value
    y: Value
    factor: int = 2

    def infer(self):
        return TensorType(f32, self.x.shape[::-1])

    def numbers(self):
        return [*self.x.shape, self.factor]

    def reference(self, x, y):
        return (self.factor * x + y.astype(np.float32)).T.copy()


class Twice(CFunction):
    domain = "test"
    symbol = "test_twice"
    x: Value
    y: Value

    def infer(self):
        return self.x.type

    def reference(self, x, y):
        return x + y + np.float32(1)


@pytest.fixture(scope="module", autouse=True)
def linked(tmp_path_factory):
    file = tmp_path_factory.mktemp("c") / "functions.c"
    file.write_text(SOURCE)
    link([file])


def given(name, shape, dtype=f32):
    return graph_input(name, TensorType(dtype, shape))


def check(graph, target="native"):
    generator = np.random.default_rng(0)
    arrays = {v.name: generator.integers(-8, 8, v.shape).astype(v.dtype.numpy) for v in graph.inputs}
    artifact = compile(graph, optimize="1", workers=0)
    found, expected = artifact.run(arrays), interpret(graph, arrays)
    for name in expected:
        np.testing.assert_array_equal(found[name], expected[name], name)
    return artifact


def test_calls_among_other_operators():
    x, y = given("x", (4, 8)), given("y", (8,), i64)
    weights = constant(np.random.default_rng(1).integers(-3, 3, (8, 8)).astype(np.float32))
    h = Relu(MatMul(x, weights).output).output
    first = Mix(h, y).output                                       # of what a kernel has made
    second = Mix(first, constant(np.arange(4)), factor=-3).output  # of a call and a constant
    third = Mix(x, y).output                                       # of inputs alone
    z = Add(Mul(second, h).output, Transpose(third).output).output
    artifact = check(Graph((x, y), (z, first, MatMul(z, weights).output), ("z", "first", "product")))
    assert undefined_symbols(artifact.object) == ["test_mix"]
    assert "void test_mix(const float *, const int64_t *, float *, int32_t, int32_t, int32_t);" in artifact.header


def test_calls_at_the_ends_and_of_one_element():
    x, y = given("x", (3, 2)), given("y", (2,), i64)
    check(Graph((x, y), (Mix(x, y).output,), ("z",)))
    one = given("one", ())
    check(Graph((one,), (Twice(one, one).output, one), ("z", "same")))
    inner = Twice(Relu(one).output, constant(np.float32(4))).output
    check(Graph((one,), (Twice(inner, inner).output, inner, Relu(inner).output), ("a", "b", "c")))


@pytest.mark.parametrize("target", ["cortex-m4", "aarch64", "riscv64", "x86-64-v2"])
def test_other_targets_leave_the_symbol_undefined(target):
    x, y = given("x", (4, 8)), given("y", (8,), i64)
    assert undefined_symbols(compile(Graph((x, y), (Mix(x, y).output,), ("z",)), target, workers=0).object) == ["test_mix"]


def test_parts_run_in_order():
    x, y = given("x", (4, 4)), given("y", (4,), i64)
    graph = Graph((x, y), (Mix(Relu(Mix(Relu(x).output, y).output).output, y).output,), ("z",))
    assert [part.call.symbol if part.call else len(part.graph.ops) for part in segments(graph)] == [2, "test_mix", 2, "test_mix"]


def refused(graph, message):
    with pytest.raises(CompileError, match=message):
        compile(graph, workers=0).run({v.name: np.zeros(v.type.max_shape, v.dtype.numpy) for v in graph.inputs})


def test_what_is_refused(tmp_path):
    x, y = given("x", (4, 4)), given("y", (4,), i64)

    class Other(Mix):
        symbol = "nobody_has_it"

    class Spelt(Mix):
        symbol = "no name"

    class Clash(Twice):
        symbol = "test_mix"
    refused(Graph((x, y), (Other(x, y).output,), ("z",)), "nobody_has_it is not linked in")
    refused(Graph((x, y), (Spelt(x, y).output,), ("z",)), "no C name")
    refused(Graph((x, y), (Mix(x, y).output, Clash(x, x).output), ("z", "w")), "two signatures")
    refused(Graph((x, y), (Mix(x, y, factor=1 << 40).output,), ("z",)), "must be an int32_t")
    wide = graph_input("x", TensorType(f32, (var("n", 1, 4), 4)))
    refused(Graph((wide, y), (Mix(wide, y).output,), ("z",)), "needs fixed sizes")
    for name, text, message in (("gone.so", None, "no such file"), ("bad.c", "int x = ;", "cannot be compiled"), ("bad.so", "?", "no shared")):
        if text is not None:
            (tmp_path / name).write_text(text)
        with pytest.raises(CompileError, match=message):
            link([tmp_path / name])
    (tmp_path / "ops.py").write_text("from edgec.c_functions import CFunction\nfrom edgec.graph import Value\n\n\nclass A(CFunction):\n"
                                     "    domain = 'a'\n    x: Value\n\n    def infer(self):\n        return self.x.type\n\n"
                                     "    def reference(self, x):\n        return x\n")
    with pytest.raises(CompileError, match="operator A of .* has no symbol"):
        known_operators([tmp_path / "ops.py"])
