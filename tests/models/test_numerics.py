"""Compiled f32 models against the interpreter: no output is further off than 1e-4 of its largest value (docs/numerics.md)."""

import numpy as np
import pytest

import edgec
from edgec.drawn_inputs import drawn_inputs
from edgec.graph import Graph, constant, graph_input
from edgec.interpreter import interpret
from edgec.onnx.reader import load
from edgec.ops.activation import Relu
from edgec.ops.arithmetic import Add
from edgec.ops.convolution import Conv
from edgec.ops.pooling import GlobalAveragePool
from edgec.types import TensorType, f32

BOUND = 1e-4
SHARED = ["mlperf_kws_dscnn", "mlperf_vww_mbv1_025", "mlperf_ic_resnet8", "mlperf_ad_autoencoder", "tinymaix_mbnet128_025",
          "tinymaix_mnist_valid", "hand_keypoint", "ultraface_slim320", "mobilenetv2_100_224_ptqw8", "fsdd_gru2", "fsdd_tcn", "fsdd_transformer"]


def worst(graph: Graph, seed: int, **options) -> float:
    """The largest difference of any output, relative to the largest value of that output."""
    inputs = drawn_inputs(graph, seed)
    found, expected = edgec.compile(graph, **options).run(inputs), interpret(graph, inputs)
    return max(float(np.abs(found[k] - expected[k]).max() / np.abs(expected[k]).max()) for k in expected)


@pytest.mark.parametrize("name", SHARED)
def test_a_shared_model(name, model_file):
    assert worst(load(model_file(name)), 5, optimize="1") <= BOUND


def residual_network(seed: int) -> Graph:
    """Four 3x3 convolutions of drawn widths with residuals, as Winograd takes them, weights of unit gain."""
    random = np.random.default_rng(seed)
    channels, size = int(random.choice([24, 32])), int(random.choice([12, 18]))

    def weights(out: int, into: int, taps: int):
        return constant((random.standard_normal((out, into, taps, taps)) * np.sqrt(2 / (into * taps * taps))).astype(np.float32))

    x = graph_input("x", TensorType(f32, (1, 3, size, size)))
    value = Relu(Conv(x, weights(channels, 3, 1)).output).output
    for _ in range(2):
        inner = Relu(Conv(value, weights(channels, channels, 3), pads=(1, 1, 1, 1)).output).output
        value = Relu(Add(value, Conv(inner, weights(channels, channels, 3), pads=(1, 1, 1, 1)).output).output).output
    return Graph((x,), (GlobalAveragePool(value).output, value), ("pooled", "map"), "net")


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("options", [{}, {"winograd": False}, {"max_flash_growth": 8.0}], ids=["plain", "direct", "growing"])
def test_small_networks(seed, options):
    assert worst(residual_network(seed), seed, optimize="1", workers=0, **options) <= BOUND
