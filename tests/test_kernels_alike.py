"""Kernels that are alike are tiled once, and their loops are those that each would get alone."""

from pathlib import Path

import numpy as np
import pytest

from edgec.backends.target import find
from edgec.compiler import lower, optimise_graph
from edgec.graph import Graph, constant, graph_input
from edgec.kernels_alike import Tiling
from edgec.loops_text import print_loops
from edgec.model_file import load
from edgec.ops.activation import Relu
from edgec.ops.convolution import Conv
from edgec.passes.tile import tile
from edgec.repeats import alone
from edgec.schedules import Schedules
from edgec.types import TensorType, f32

ROOT = Path(__file__).resolve().parents[1]
MODELS = [path for path in sorted((ROOT.parent / "shared" / "models").glob("*.onnx")) + [ROOT / "testdata" / "digits" / "digits.onnx"]
          if path.stem in ("digits", "mlperf_ic_resnet8", "fsdd_gru2", "fsdd_transformer", "mobilenetv2_100_224_ptqw8")]
TARGETS = [find("x86-64-v4"), find("cortex-a72"), find("cortex-m4")]


def layers(count: int) -> Graph:
    """Equal convolutions with weights of their own."""
    x = y = graph_input("x", TensorType(f32, (1, 8, 6, 6)))
    for n in range(count):
        weights = np.random.default_rng(n).standard_normal((8, 8, 3, 3)).astype(np.float32)
        y = Relu(Conv(y, constant(weights, f"w{n}"), pads=(1, 1, 1, 1)).output).output
    return Graph((x,), (y,), ("y",), "layers")


def check(graph: Graph, target) -> int:
    """Every kernel's loops and constants are those it gets alone; how many kernels were tiled."""
    program, tiling = lower(optimise_graph(graph, target), target), Tiling(target, Schedules())
    for kernel, inside in zip(program.steps, alone(program.steps)):
        found, expected = tiling.tile(kernel, inside), tile(kernel, target, inside=inside)
        assert print_loops(found.loops) == print_loops(expected.loops)
        assert len(found.buffers) == len(expected.buffers)
        for a, b in zip(found.buffers, expected.buffers):
            assert a is b if a.kind != "constant" or b.data is None else np.array_equal(a.data, b.data) and a.name == b.name
    return sum(map(len, tiling._known.values()))


@pytest.mark.parametrize("target", TARGETS, ids=lambda t: t.name)
def test_equal_layers_are_tiled_once(target):
    few, many = check(layers(4), target), check(layers(9), target)
    assert few == many


@pytest.mark.parametrize("model", MODELS, ids=lambda path: path.stem)
def test_models_get_the_loops_of_kernels_tiled_alone(model):
    check(load(model), TARGETS[0])
