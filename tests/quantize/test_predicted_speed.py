"""Layers that integers would make slower on a target: predicted by the compiler's estimate, and left in f32 when that is asked for."""

from dataclasses import replace

import numpy as np
import pytest

from edgec.backends.target import find
from edgec.errors import Unsupported
from edgec.graph import Graph, constant, graph_input
from edgec.interpreter import interpret
from edgec.ops.activation import Relu
from edgec.ops.convolution import Conv
from edgec.ops.matmul import Gemm
from edgec.ops.quantization import DequantizeLinear
from edgec.ops.reshape import Flatten
from edgec.quantize import quantize
from edgec.quantize.predicted_speed import between_bytes, cycles, predictions
from edgec.quantize.prepare import prepared
from edgec.quantize.recipe import recipe_of
from edgec.types import TensorType, f32

# Convolutions of few channels, which Winograd makes quick in f32, and whose bytes AVX2 widens for two vectors of results only.
SLOWER_ON_V3 = {"a", "b", "c"}


def drawn(seed: int, *shape: int):
    taps = float(np.prod(shape[1:]))
    return constant((np.random.default_rng(seed).standard_normal(shape) / np.sqrt(taps)).astype(np.float32), f"w{seed}")


@pytest.fixture(scope="module")
def network() -> Graph:
    """Four convolutions, two of them alike, and a matrix product."""
    x = y = graph_input("x", TensorType(f32, (1, 3, 32, 32)))
    for seed, (name, channels, count) in enumerate((("a", 3, 16), ("b", 16, 16), ("c", 16, 16), ("d", 16, 32))):
        stride = 2 if name == "d" else 1
        y = Relu(Conv(y, drawn(seed, count, channels, 3, 3), pads=(1, 1, 1, 1), strides=(stride,) * 2, _name=name).output).output
    end = Gemm(Flatten(y).output, drawn(9, 32 * 256, 10), _name="e").output
    return Graph((x,), (end,), ("y",), "net")


@pytest.fixture(scope="module")
def samples(network) -> dict[str, np.ndarray]:
    return {"x": np.random.default_rng(5).standard_normal((4, 1, 3, 32, 32)).astype(np.float32)}


def by_name(network: Graph, target: str) -> dict[str, bool]:
    return {p.name: p.is_slower for p in predictions(recipe_of(prepared(network)), find(target))}


def test_dot_products_of_bytes_win(network):
    """Four products in an instruction and a quarter of the bytes: nothing is slower."""
    for target in ("alderlake", "cortex-m4"):
        assert by_name(network, target) == dict.fromkeys("abcde", False)


def test_layers_that_lose_are_told(network):
    found = by_name(network, "x86-64-v3")
    assert {name for name, slower in found.items() if slower} == SLOWER_ON_V3


def test_estimates_are_those_of_the_kernels(network):
    """Twice the work takes about twice the cycles, and equal layers have equal predictions."""
    a, b, c, *_ = predictions(recipe_of(prepared(network)), find("x86-64-v3"))
    assert (b.integer_cycles, b.float_cycles) == (c.integer_cycles, c.float_cycles) and a.integer_cycles < b.integer_cycles
    one, two = (Graph((x := graph_input("x", TensorType(f32, (rows, 64))),), (Gemm(x, drawn(1, 64, 32)).output,), ("y",), "g")
                for rows in (60, 120))
    assert 1.8 < cycles(two, find("x86-64-v3")) / cycles(one, find("x86-64-v3")) < 2.2


def test_slower_layers_stay_float(network, samples):
    """They read no integers of weights any more, all others do; and the network computes the same within its rounding."""
    everything, chosen = quantize(network, samples, calibrator="minmax"), quantize(network, samples, calibrator="minmax", faster_on="x86-64-v3")
    assert len(everything.recipe.layers) == 5 and not everything.predicted
    left = {op.loc.node if op.loc and op.loc.node else op.output.name for op in chosen.recipe.layers}
    assert len(chosen.recipe.layers) == 2 and not left & SLOWER_ON_V3 and len(chosen.predicted) == 5
    whole = [isinstance(op.w.op, DequantizeLinear) for op in chosen.graph.ops if isinstance(op, Conv)]
    assert sorted(whole) == [False, False, False, True]
    given = {"x": samples["x"][0]}
    exact, found = (interpret(graph, given)["y"] for graph in (network, chosen.graph))
    assert np.abs(exact - found).max() < 0.05 * np.abs(exact).max()


def test_a_target_object_serves_too(network, samples):
    by_text, by_object = (quantize(network, samples, calibrator="minmax", faster_on=target) for target in ("x86-64-v3", find("x86-64-v3")))
    assert [p.is_slower for p in by_text.predicted] == [p.is_slower for p in by_object.predicted]


def test_an_unknown_target_is_told(network, samples):
    with pytest.raises(Unsupported, match="unknown target 'z80'"):
        quantize(network, samples, faster_on="z80")


def test_a_multiply_add_counts_twice_where_there_is_none(network):
    """Otherwise f32 would look as quick on SSE as the integers whose products and sums pair up in one instruction."""
    x = graph_input("x", TensorType(f32, (60, 64)))
    graph, target = Graph((x,), (Gemm(x, drawn(1, 64, 32)).output,), ("y",), "g"), find("x86-64-v2")
    assert not target.fma and 1.5 < cycles(graph, target) / cycles(graph, replace(target, fma=True)) <= 2


def test_both_forms_of_a_layer_between_bytes_compute_the_same(network):
    conv = next(op for op in network.ops if isinstance(op, Conv) and op.w.shape[1] == 16)
    whole, real = (between_bytes(conv, integers) for integers in (True, False))
    x = np.random.default_rng(3).integers(0, 256, whole.inputs[0].type.max_shape).astype(np.uint8)
    a, b = (interpret(each, {"x": x})["y"].astype(int) for each in (whole, real))
    assert whole.inputs[0].type == real.inputs[0].type and a.shape == b.shape and np.abs(a - b).max() <= 6 and np.ptp(b) > 50
