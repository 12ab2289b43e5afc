"""Threads share the kernels of models that compute sizes, those of computed sizes included."""
import numpy as np
import onnx.parser
import pytest

import edgec
from edgec.interpreter import interpret
from edgec.onnx.reader import load

MODEL = """<ir_version: 9, opset_import: ["": 18]> g (float[512,256] x, bool[512] c, float[256,256] w) => (float[n,256] y, float[512,256] z) {
  z = MatMul(x, w)  rows = Compress<axis=0>(z, c)  m = MatMul(rows, w)  y = Tanh(m) }"""


@pytest.mark.parametrize("count", [0, 1, 300, 512])
def test_two_threads(count):
    graph = load(onnx.parser.parse_model(MODEL))
    artifact = edgec.compile(graph, workers=0)
    assert artifact.interface.sizes == (("rows_count", 0, 512),)
    generator = np.random.default_rng(count)
    x, w = (generator.standard_normal(shape).astype(np.float32) / 16 for shape in ((512, 256), (256, 256)))
    arrays = {"x": x, "c": np.arange(512) < count, "w": w}
    wanted, one, two = interpret(graph, arrays), artifact.run(arrays), artifact.run(arrays, threads=2)
    for name in wanted:
        assert two[name].shape == wanted[name].shape
        np.testing.assert_allclose(two[name], wanted[name], atol=1e-4)
        np.testing.assert_array_equal(one[name], two[name])


def test_kernels_are_lent():
    artifact = edgec.compile(load(onnx.parser.parse_model(MODEL)), workers=0, keep=("llvm",))
    assert "call void %parallel_for" in artifact.llvm and "_team" not in artifact.llvm
