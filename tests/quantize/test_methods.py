"""The parts one by one: grids, observers, calibrators, bias correction, and what becomes of each kind of operator."""

import numpy as np
import pytest
from hypothesis import given, strategies as st

from edgec.graph import Graph, constant, graph_input
from edgec.interpreter import run
from edgec.ops.activation import Relu, Sigmoid
from edgec.ops.arithmetic import Add, Mul
from edgec.ops.convolution import Conv
from edgec.ops.joining import Concat
from edgec.ops.matmul import MatMul
from edgec.ops.normalization import LayerNormalization
from edgec.ops.quantization import DequantizeLinear, QuantizeLinear
from edgec.quantize import CALIBRATORS, quantize
from edgec.quantize.calibrators import LEVELS, squared_error
from edgec.quantize.grid import activation_grid, weight_grid
from edgec.quantize.observer import Observer
from edgec.quantize.prepare import prepared
from edgec.quantize.recipe import is_move, recipe_of
from edgec.types import TensorType, f32, i8, i16, u8

RANDOM = np.random.default_rng(5)


def image(channels=4, size=6):
    return graph_input("x", TensorType(f32, (1, channels, size, size)))


def convolution(x, out=4, k=3):
    w, b = RANDOM.normal(0, 0.3, (out, x.shape[1], k, k)), RANDOM.normal(0, 0.2, out)
    return Conv(x, constant(w.astype(np.float32)), constant(b.astype(np.float32)), pads=(k // 2,) * 4).output


def samples(graph, count=16):
    return [{v.name: RANDOM.normal(0, 1, v.shape).astype(np.float32) for v in graph.inputs} for _ in range(count)]


@given(st.floats(-1e6, 1e6, width=32), st.floats(-1e6, 1e6, width=32), st.sampled_from([u8, i8, i16]), st.booleans())
def test_grids_have_zero_and_reach_their_bounds(a, b, dtype, power_of_two):
    grid = activation_grid(min(a, b), max(a, b), dtype, power_of_two)
    assert grid.rounded(np.zeros(1, np.float32)) == 0
    ends = np.array([min(a, b, 0), max(a, b, 0)], np.float32)
    assert np.abs(grid.rounded(ends) - ends).max() <= 0.75 * grid.scale
    if power_of_two:
        assert np.log2(grid.scale) % 1 == 0


@pytest.mark.parametrize("grid", [activation_grid(-1.3, 2.2, u8), activation_grid(-1.3, 2.2, i8), activation_grid(-1, 2, i16),
                                  weight_grid(RANDOM.normal(0, 1, (5, 7)), 0), weight_grid(RANDOM.normal(1, 1, (7, 5)), 1, 8, False)])
def test_grids_round_as_onnx_does(grid):
    x = RANDOM.normal(0, 2, (5, 5)).astype(np.float32)
    value = graph_input("x", TensorType(f32, (5, 5)))
    scale, zero = constant(grid.scale), constant(grid.zero_point)
    q = QuantizeLinear(value, scale, zero, axis=grid.axis).output
    integers, real = run(Graph((value,), (q, DequantizeLinear(q, scale, zero, axis=grid.axis).output), ("q", "r")), [x])
    assert np.array_equal(integers, grid.quantized(x)) and np.array_equal(real, grid.rounded(x))


@given(st.lists(st.floats(-1e3, 1e3, width=32), min_size=1, max_size=40), st.integers(1, 5))
def test_histograms_count_everything_once(values, pieces):
    observer, array = Observer(), np.array(values, np.float32)
    for part in np.array_split(array, pieces):
        observer.see(part)
    assert observer.counts.sum() + observer.zeros == array.size and observer.zeros == (array == 0).sum()
    assert observer.counts[observer.centers < 0].sum() == (array < 0).sum()
    assert (observer.low, observer.high) == (array.min(), array.max())
    if observer.limit:
        places = np.repeat(observer.centers, observer.counts)
        wanted = np.sort(array[array != 0]).astype(np.float64)
        assert np.abs(places - wanted).max(initial=0) <= observer.limit / len(observer.counts) * 1.001


@pytest.mark.parametrize("name", CALIBRATORS)
@pytest.mark.parametrize("array", [np.zeros(8), np.ones(5), -np.ones(3), np.r_[0, 0, 7.0], RANDOM.normal(0, 1, 5000), RANDOM.uniform(3, 4, 9),
                                   np.maximum(RANDOM.normal(0, 1, 5000), 0)], ids=range(7))
def test_calibrators_stay_within_what_was_seen(name, array):
    observer = Observer()
    observer.see(array.astype(np.float32))
    low, high = CALIBRATORS[name](observer)
    assert min(observer.low, 0) - 1e-6 <= low <= high <= max(observer.high, 0) + 1e-6
    assert max(high, 0) - min(low, 0) > 0.3 * (max(array.max(), 0) - min(array.min(), 0)) or not array.any() or name == "minmax"


def test_an_outlier_is_clipped_where_that_pays():
    observer = Observer()
    observer.see(np.r_[RANDOM.normal(0, 1, 200_000), 60.0].astype(np.float32))
    cost = {n: squared_error(observer.centers, observer.counts, *f(observer)) for n, f in CALIBRATORS.items()}
    assert cost["mse"] < 0.9 * cost["minmax"] and cost["mse"] == min(cost.values())
    assert CALIBRATORS["minmax"](observer)[1] == 60 and CALIBRATORS["percentile"](observer)[1] < 10 and LEVELS == 256


def test_sums_and_tables_are_integers_between_convolutions_only():
    x = image()
    a = convolution(x)
    total = Relu(Add(convolution(a), a).output).output
    gated = Mul(total, Sigmoid(total).output).output
    graph = Graph((x,), (convolution(gated),), ("y",))
    recipe = recipe_of(graph)
    assert sorted(type(op).__name__ for op in recipe.quantized) == ["Add", "Conv", "Conv", "Conv", "Mul", "Sigmoid"]
    assert graph.outputs[0] not in recipe.values and total in recipe.values and total.op.x not in recipe.values
    ends = recipe_of(Graph((x,), (Sigmoid(Add(convolution(a), a).output).output,), ("y",)))
    assert {type(op).__name__ for op in ends.quantized} == {"Conv"}


def test_residuals_of_a_transformer_stay_float():
    x = graph_input("x", TensorType(f32, (1, 5, 8)))
    one = constant(np.ones(8, np.float32))

    def block(v):
        w, b = (constant(RANDOM.normal(0, 0.3, s).astype(np.float32)) for s in ((8, 8), (8,)))
        return Add(v, Add(MatMul(LayerNormalization(v, one, one).output, w).output, b).output).output
    graph = prepared(Graph((x,), (LayerNormalization(block(block(x)), one, one).output,), ("y",)))
    recipe = recipe_of(graph)
    assert [type(op).__name__ for op in recipe.quantized] == ["Gemm", "Gemm"]  # the bias is in the product
    made = quantize(graph, samples(graph))
    for sample in samples(graph, 3):
        exact, ours = run(graph, sample)[0], run(made.graph, sample)[0]
        assert np.abs(exact - ours).max() < 0.1


def test_what_is_concatenated_shares_a_grid():
    x = image()
    a, b = Relu(convolution(x)).output, Relu(convolution(convolution(x))).output
    both = Concat((a, b), axis=1).output
    recipe = recipe_of(Graph((x,), (convolution(both),), ("y",)))
    assert recipe.values[a] is both and recipe.values[b] is both and recipe.values[both] is both
    again = recipe_of(Graph((x,), (convolution(both), convolution(a)), ("y", "z")))
    assert again.values[a] is a and again.values[b] is both  # somebody else reads a as well
    assert not is_move(both.op)


def test_bias_correction_takes_the_mean_error_and_leaves_noise_alone():
    x = image()
    graph = Graph((x,), (convolution(x, 8),), ("y",))
    data = samples(graph, 24)
    errors = {}
    for on in (False, True):
        made = quantize(graph, data, bias_correction=on, weight_bits=4)
        errors[on] = np.mean([run(made.graph, s)[0] - run(graph, s)[0] for s in data], axis=(0, 1, 3, 4))
    assert np.abs(errors[True]).max() <= np.abs(errors[False]).max()
    few = quantize(graph, data[:4], weight_bits=4)
    plain = quantize(graph, data[:4], weight_bits=4, bias_correction=False)
    assert few.model == plain.model


def test_a_tiny_scale_leaves_room_for_the_bias():
    x = image(1, 2)
    w, b = constant(np.full((2, 1, 1, 1), 1e-12, np.float32)), constant(np.array([5.0, -3.0], np.float32))
    graph = Graph((x,), (Conv(x, w, b).output,), ("y",))
    made = quantize(graph, samples(graph), bias_correction=False)
    assert np.allclose(run(made.graph, samples(graph, 1)[0])[0][0, :, 0, 0], [5, -3], rtol=1e-4)


def test_the_quantized_graph_means_the_same_when_it_is_compiled():
    from edgec.compiler import compile
    x = image()
    a = Relu(convolution(x)).output
    graph = Graph((x,), (Add(convolution(Add(convolution(a), a).output), a).output,), ("y",))
    made = quantize(graph, samples(graph))
    artifact = compile(made.graph, optimize="0", workers=0)
    for sample in samples(graph, 3):
        assert np.abs(artifact.run(sample)["y"] - run(made.graph, sample)[0]).max() < 2e-5
