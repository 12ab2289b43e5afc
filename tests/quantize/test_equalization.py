"""Equalization: the network computes the same, and integers fit it better; where they would not, nothing is touched."""

from __future__ import annotations

import numpy as np
import onnx
import pytest

from edgec.errors import ModelError
from edgec.graph import Graph, constant, graph_input
from edgec.interpreter import run
from edgec.ops.activation import Relu
from edgec.ops.arithmetic import Add
from edgec.ops.convolution import Conv
from edgec.ops.matmul import Gemm, MatMul
from edgec.ops.normalization import LayerNormalization
from edgec.ops.transcendental import Tanh
from edgec.quantize import quantize
from edgec.quantize.equalizable import places
from edgec.quantize.equalization import Rounded, equalized
from edgec.quantize.prepare import prepared
from edgec.quantize.weight_only import weight_only
from edgec.types import TensorType, f32, u8

RNG = np.random.default_rng(11)
SPREAD = np.exp2(np.linspace(-4, 4, 16)).astype(np.float32)


def values(*shape):
    return constant((RNG.standard_normal(shape) / np.sqrt(max(1, np.prod(shape[1:])))).astype(np.float32))


def convolutions() -> Graph:
    """Channels whose ranges differ by 256, as trained depthwise networks have them, and undone by what reads them."""
    x = graph_input("x", TensorType(f32, (1, 3, 8, 8)))
    first = constant(values(16, 3, 3, 3).array * SPREAD[:, None, None, None])
    y = Relu(Conv(x, first, constant(values(16).array * SPREAD), pads=(1, 1, 1, 1)).output).output
    y = Relu(Conv(y, values(16, 1, 3, 3), values(16), group=16, pads=(1, 1, 1, 1)).output).output
    y = Conv(y, constant(values(8, 16, 1, 1).array / SPREAD[:, None, None]), values(8)).output
    return Graph((x,), (Tanh(y).output,), ("y",), "net")


def transformer() -> Graph:
    """Two products behind a normalisation with outliers in two channels."""
    x = graph_input("x", TensorType(f32, (1, 6, 16)))
    outliers = np.where(np.arange(16) % 8 == 3, 60.0, 1.0).astype(np.float32)
    n = LayerNormalization(x, constant(outliers), values(16)).output
    a = Add(MatMul(n, values(16, 16)).output, values(16)).output
    b = Add(MatMul(n, values(16, 16)).output, values(16)).output
    return prepared(Graph((x,), (Tanh(Add(a, b).output).output,), ("y",), "net"))


def samples(graph, count=24):
    rng = np.random.default_rng(5)
    return [{"x": rng.standard_normal(graph.inputs[0].shape).astype(np.float32)} for _ in range(count)]


def lost(made, graph):
    return sum(float(np.sum((run(made, s)[0] - run(graph, s)[0]) ** 2)) for s in samples(graph))


@pytest.mark.parametrize("network, method", [(convolutions, "cross-layer"), (convolutions, "smooth"), (convolutions, "both"),
                                             (transformer, "smooth")])
def test_the_network_computes_the_same(network, method):
    graph = network()
    made = equalized(graph, samples(graph), Rounded(8, u8), method)
    assert made is not graph and any(a.array.tobytes() != b.array.tobytes() for a, b in zip(_constants(made), _constants(graph)))
    for sample in samples(graph, 3):
        exact = run(graph, sample)[0]
        np.testing.assert_allclose(run(made, sample)[0], exact, rtol=1e-5, atol=1e-6 * float(np.abs(exact).max()) + 1e-6)


def _constants(graph):
    return [op.operands[1] for op in graph.ops if isinstance(op, (Conv, Gemm, MatMul, LayerNormalization))]


@pytest.mark.parametrize("network, method, options", [
    (convolutions, "cross-layer", {"granularity": "tensor"}), (convolutions, "both", {}), (transformer, "smooth", {}), (transformer, "both", {})])
def test_integers_are_nearer(network, method, options):
    graph = network()
    plain, better = (quantize(graph, samples(graph), equalize=m, bias_correction=False, **options) for m in ("none", method))
    onnx.checker.check_model(better.model, full_check=True)
    assert lost(better.graph, graph) < 0.7 * lost(plain.graph, graph)


def test_weights_of_few_bits_are_nearer():
    graph = convolutions()
    plain, better = (weight_only(graph, {"x": np.stack([s["x"] for s in samples(graph)])}, weights="int4", equalize=m)
                     for m in ("none", "cross-layer"))
    assert lost(better.graph, graph) < lost(plain.graph, graph)


def test_what_would_not_help_is_left_alone():
    """Weights that are on their grids already, behind channels of very different size."""
    x = graph_input("x", TensorType(f32, (1, 3, 8, 8)))
    first = constant((np.full((4, 3, 1, 1), 0.25) * np.array([1, 2, 64, 128])[:, None, None, None]).astype(np.float32))
    second = constant(np.where(RNG.random((5, 4, 1, 1)) < 0.5, -0.5, 0.5).astype(np.float32))
    graph = Graph((x,), (Conv(Relu(Conv(x, first, values(4)).output).output, second, values(5)).output,), ("y",), "net")
    made = equalized(graph, samples(graph), Rounded(8, None), "both")
    assert all(np.array_equal(a.array, b.array) for a, b in zip(_constants(made), _constants(graph)))
    assert not np.array_equal(_constants(equalized(graph, samples(graph), Rounded(8, u8), "both"))[0].array, first.array)


def test_places_end_where_scales_cannot_move():
    x = graph_input("x", TensorType(f32, (1, 4, 6, 6)))
    a = Conv(x, values(4, 4, 1, 1), values(4)).output
    kept = Graph((x,), (Conv(Relu(a).output, values(4, 4, 1, 1)).output,), ("y",))
    assert [(len(p.between), len(p.consumers)) for p in places(kept)] == [(1, 1)]
    for graph in (Graph((x,), (Conv(Tanh(a).output, values(4, 4, 1, 1)).output,), ("y",)),  # not homogeneous
                  Graph((x,), (Conv(a, values(4, 4, 1, 1)).output, a), ("y", "a")),  # seen outside
                  Graph((x,), (Add(Conv(a, values(4, 4, 1, 1)).output, a).output,), ("y",))):  # read by a sum
        assert not places(graph)


def test_other_methods_are_told():
    graph = convolutions()
    with pytest.raises(ModelError, match="there is no equalization 'magic'"):
        quantize(graph, samples(graph), equalize="magic")
