"""Every rule of simplify on its pattern and beside it; and on random graphs, which must mean the same afterwards."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings

from edgec.graph import Graph, constant, graph_input
from edgec.interpreter import run
from edgec.ops.activation import Relu
from edgec.ops.arithmetic import Add, Div, Mul, Sub
from edgec.ops.comparison import Dropout
from edgec.ops.convolution import Conv, ConvTranspose
from edgec.ops.joining import Concat
from edgec.ops.matmul import Gemm, MatMul
from edgec.ops.normalization import BatchNormalization
from edgec.ops.pooling import AveragePool, MaxPool
from edgec.ops.slicing import Pad
from edgec.passes.simplify import RULES, simplify
from edgec.testing.patterns import assert_close, patterns, random_arrays
from edgec.types import TensorType, f16, f32, f64
from edgec.verifier import verify


def image(*shape, dtype=f64):
    return graph_input("x", TensorType(dtype, shape))


def numbers(*shape, seed=0, dtype=np.float64):
    return constant(np.random.default_rng(seed).uniform(0.5, 1.5, shape).astype(dtype))


def kinds(graph):
    return Counter(type(op).__name__ for op in graph.ops) - Counter({"Input": 1, "Constant": 10 ** 6})


def simplified(output, x):
    """The graph after the pass, checked to mean the same."""
    graph = Graph((x,), (output,), ("y",))
    found = simplify(graph)
    assert verify(found) == []
    arrays = random_arrays(graph)
    relative = {f64: 1e-12, f32: 1e-5, f16: 1e-2}[x.dtype]
    assert_close([a.astype(np.float64) for a in run(found, arrays)], [a.astype(np.float64) for a in run(graph, arrays)], relative)
    return found


@settings(max_examples=150, deadline=None)
@given(patterns() | patterns(symbolic=True))
def test_random_graphs_mean_the_same(graph):
    found = simplify(graph)
    assert verify(found) == []
    assert [v.type for v in found.outputs] == [v.type for v in graph.outputs]
    arrays = random_arrays(graph)
    assert_close(run(found, arrays), run(graph, arrays))
    assert simplify(found).outputs == found.outputs


def test_every_rule_says_what_it_does():
    assert all("->" in r.meaning for r in RULES) and len({r.name for r in RULES}) == len(RULES)


def test_dropout_goes_unless_its_mask_is_read():
    x = image(2, 3)
    y, mask = Dropout(x).results
    assert simplify(Graph((x,), (y,), ("y",))).outputs == (x,)
    assert simplify(Graph((x,), (y, mask), ("y", "m"))).outputs == (y, mask)


def product(kind, x, bias=True):
    """A product with constant weights of channels [.., 6, ..]."""
    c = numbers(6, seed=9) if bias else None
    if kind == "conv":
        return Conv(x, numbers(6, 2, 3, 3), c, group=2).output
    if kind == "transposed":
        return ConvTranspose(x, numbers(4, 3, 2, 2), c, group=2, strides=(2, 2)).output
    if kind == "gemm":
        return Gemm(x, numbers(6, 4), c, transB=1, alpha=0.5, beta=2.0).output
    return Gemm(x, numbers(4, 6), c, alpha=0.5).output if kind == "gemm_straight" else MatMul(x, numbers(4, 6)).output


PRODUCTS = [("conv", (1, 4, 5, 5), (6, 1, 1)), ("transposed", (1, 4, 3, 3), (6, 1, 1)), ("gemm", (3, 4), (6,)),
            ("gemm_straight", (3, 4), (1, 6)), ("matmul", (3, 4), (6,))]


@pytest.mark.parametrize("kind, shape, channel", PRODUCTS)
@pytest.mark.parametrize("bias", [True, False])
def test_batch_normalisation_folds_into_weights(kind, shape, channel, bias):
    x = image(*shape)
    op = BatchNormalization(product(kind, x, bias), *(numbers(6, seed=n) for n in range(4)))
    found = kinds(simplified(op.output, x))
    assert "BatchNormalization" not in found and sum(found.values()) == (2 if kind == "matmul" else 1)


@pytest.mark.parametrize("kind, shape, channel", PRODUCTS)
@pytest.mark.parametrize("make", [lambda y, c: Mul(y, c), lambda y, c: Mul(c, y), lambda y, c: Div(y, c), lambda y, c: Add(y, c),
                                  lambda y, c: Add(c, y), lambda y, c: Sub(y, c), lambda y, c: Sub(c, y)])
@pytest.mark.parametrize("scalar", [False, True])
def test_arithmetic_per_channel_folds_into_weights(kind, shape, channel, make, scalar):
    x = image(*shape)
    op = make(product(kind, x), numbers(*(() if scalar else channel), seed=5))
    found = kinds(simplified(op.output, x))
    shift = isinstance(op, (Add, Sub))
    assert sum(found.values()) == (2 if kind == "matmul" and shift else 1)


def test_a_chain_folds_completely():
    x = image(1, 4, 5, 5)
    normal = BatchNormalization(product("conv", x), *(numbers(6, seed=n) for n in range(4))).output
    y = Add(Mul(normal, numbers(6, 1, 1)).output, numbers(6, 1, 1)).output
    assert kinds(simplified(y, x)) == {"Conv": 1}


def test_what_does_not_fold():
    x = image(1, 4, 5, 5)
    conv = product("conv", x)
    wide = Mul(conv, numbers(1, 6, 3, 3)).output  # not per channel
    column = Mul(conv, numbers(3, seed=3)).output  # along x
    larger = Add(Conv(image(1, 4, 1, 1), numbers(6, 4, 1, 1)).output, numbers(6, 2, 2)).output  # broadcasts the convolution
    for output in (wide, column):
        assert kinds(simplified(output, x)) == {"Conv": 1, "Mul": 1}
    assert kinds(simplified(larger, larger.op.a.op.x)) == {"Conv": 1, "Add": 1}
    twice = Add(Mul(conv, numbers(6, 1, 1)).output, conv).output
    assert kinds(simplified(twice, x)) == {"Conv": 1, "Mul": 1, "Add": 1}
    divided = Div(numbers(6, 1, 1), conv).output
    assert kinds(simplified(divided, x)) == {"Conv": 1, "Div": 1}


def test_weights_are_rounded_once():
    x = image(1, 1, 3, 3, dtype=f32)
    shapes = [(2, 1, 1, 1), 2, 2, 2]
    w, scale, mean, variance = (np.random.default_rng(n).uniform(0.1, 2, s).astype(np.float32) for n, s in enumerate(shapes))
    b = np.zeros(2, np.float32)
    op = BatchNormalization(Conv(x, constant(w)).output, *(constant(a) for a in (scale, b, mean, variance)))
    conv = simplified(op.output, x).outputs[0].op
    factor = scale.astype(np.float64) / np.sqrt(variance.astype(np.float64) + op.epsilon)
    np.testing.assert_array_equal(conv.w.array, (w * factor.reshape(2, 1, 1, 1)).astype(np.float32))
    np.testing.assert_array_equal(conv.b.array, (-mean * factor).astype(np.float32))


def test_weights_that_would_overflow_stay():
    x = image(1, 1, 3, 3, dtype=f16)
    y = Mul(Conv(x, constant(np.full((1, 1, 1, 1), 6e4, np.float16))).output, constant(np.float16(8)))
    assert kinds(simplify(Graph((x,), (y.output,), ("y",)))) == {"Conv": 1, "Mul": 1}


def test_a_lone_normalisation_is_a_multiply_add():
    x = image(1, 6, 3, 3)
    op = BatchNormalization(x, *(numbers(6, seed=n) for n in range(4)))
    assert kinds(simplified(op.output, x)) == {"Mul": 1, "Add": 1}


def padded(x, border=(1, 0, 2, 1), fill=None):
    y0, x0, y1, x1 = border
    value = None if fill is None else constant(np.array(fill, x.dtype.numpy))
    return Pad(x, constant(np.array([0, 0, y0, x0, 0, 0, y1, x1])), value).output


def test_padding_joins_the_window():
    x = image(1, 2, 5, 5)
    conv = simplified(Conv(padded(x), numbers(2, 2, 3, 3), pads=(1, 1, 0, 0)).output, x).outputs[0].op
    assert conv.x is x and conv.pads == (2, 1, 2, 1)
    average = simplified(AveragePool(padded(x), kernel_shape=(3, 3)).output, x).outputs[0].op
    assert average.x is x and average.pads == (1, 0, 2, 1) and average.count_include_pad == 1
    counted = simplified(AveragePool(padded(x), kernel_shape=(4, 4), pads=(1, 1, 1, 1), count_include_pad=1).output, x).outputs[0].op
    assert counted.pads == (2, 1, 3, 2)
    biggest = simplified(MaxPool(padded(x, fill=-np.inf), kernel_shape=(3, 3)).output, x).outputs[0].op
    assert biggest.x is x and biggest.pads == (1, 0, 2, 1)
    positive = simplified(MaxPool(padded(Relu(x).output), kernel_shape=(3, 3)).output, x).outputs[0].op
    assert isinstance(positive.x.op, Relu) and positive.pads == (1, 0, 2, 1)


@pytest.mark.parametrize("make", [
    lambda x: Conv(padded(x, fill=1.0), numbers(2, 2, 3, 3)),
    lambda x: Conv(padded(x, border=(-1, 0, 0, 0)), numbers(2, 2, 3, 3)),
    lambda x: Conv(padded(x), numbers(2, 2, 3, 3), auto_pad="SAME_UPPER"),
    lambda x: Conv(Pad(x, constant(np.array([0, 1, 0, 0, 0, 1, 0, 0]))).output, numbers(2, 4, 3, 3)),
    lambda x: Conv(Pad(x, constant(np.array([0, 0, 1, 1, 0, 0, 1, 1])), mode="edge").output, numbers(2, 2, 3, 3)),
    lambda x: AveragePool(padded(x), kernel_shape=(3, 3), pads=(1, 1, 1, 1)),
    lambda x: AveragePool(padded(x), kernel_shape=(3, 3), strides=(2, 2), ceil_mode=1),
    lambda x: MaxPool(padded(x), kernel_shape=(3, 3)),
    lambda x: MaxPool(padded(Relu(x).output, border=(3, 0, 0, 0)), kernel_shape=(3, 3)),
])
def test_padding_that_stays(make):
    x = image(1, 2, 5, 5)
    assert kinds(simplified(make(x).output, x))["Pad"] == 1


def test_a_flat_concatenation_and_a_shared_prefix():
    x = image(2, 3)
    a, b, c = (Mul(x, constant(np.float64(n))).output for n in (2, 3, 4))
    inner = Concat((a, b), axis=1).output
    assert kinds(simplified(Concat((inner, c), axis=-1).output, x)) == {"Mul": 3, "Concat": 1}
    both = Graph((x,), (Relu(inner).output, Concat((a, b, c), axis=1).output), ("p", "q"))
    found = simplify(both)
    assert found.outputs[1] is Concat((inner, c), axis=1).output and simplify(found).outputs == found.outputs
