"""Operators of TFLite one by one: the graph of a model of one operator against TFLite's reference kernels.

Integers must be equal bit for bit with requant="tflite"; without it, and on real numbers, results are near.
"""

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

quick = settings(deadline=None, max_examples=20)
SAME, VALID = 0, 1
ACTIVATIONS = {"none": 0, "relu": 1, "relu_n1_to_1": 2, "relu6": 3}


def weights(seed, *shape):
    return np.random.default_rng(seed).integers(-127, 128, shape).astype(np.int8)


def biases(seed, n):
    return np.random.default_rng(seed).integers(-2000, 2000, n).astype(np.int32)


@st.composite
def convolutions(draw):
    """(height, width, channels in, channels out, kernel, options, per channel, seed) of a convolution that fits."""
    kernel = draw(st.integers(1, 3)), draw(st.integers(1, 3))
    size = draw(st.integers(5, 8)), draw(st.integers(5, 8))
    strided = draw(st.booleans())
    options = {"padding": draw(st.sampled_from((SAME, VALID))), "stride_h": draw(st.integers(1, 2)) if strided else 1,
               "stride_w": draw(st.integers(1, 2)) if strided else 1, "dilation_h_factor": 1 if strided else draw(st.integers(1, 2)),
               "dilation_w_factor": 1 if strided else draw(st.integers(1, 2)),
               "fused_activation_function": draw(st.sampled_from(sorted(ACTIVATIONS.values())))}
    return size, draw(st.integers(1, 4)), draw(st.integers(1, 5)), kernel, options, draw(st.booleans()), draw(st.integers(0, 999))


def result_size(size, kernel, options):
    found = []
    strides, dilations = ([options[f"{side}{axis}{end}"] for axis in "hw"] for side, end in (("stride_", ""), ("dilation_", "_factor")))
    for n, k, s, d in zip(size, kernel, strides, dilations):
        found.append(-(-n // s) if options["padding"] == SAME else (n - (k - 1) * d - 1) // s + 1)
    return tuple(found)


def quantized_convolution(make, case, depthwise):
    build, Made, fixed = make
    size, inner, outer, kernel, options, per_channel, seed = case
    rng = np.random.default_rng(seed)
    outer = inner * min(outer, 2) if depthwise else outer
    shape = (1, *kernel, outer) if depthwise else (outer, *kernel, inner)
    scales = rng.uniform(0.001, 0.02, outer if per_channel else 1).astype(np.float32)
    x, y = (Made("i8", (1, *s, c), scale=rng.uniform(0.01, 0.1), zero=int(rng.integers(-20, 20)))
            for s, c in ((size, inner), (result_size(size, kernel, options), outer)))
    w = fixed(weights(seed, *shape), scale=scales, axis=3 if depthwise else 0)
    b = fixed(biases(seed, outer), scale=scales * np.float32(x.scale), axis=0)
    name = "DepthwiseConv2DOptions" if depthwise else "Conv2DOptions"
    options = options | ({"depth_multiplier": outer // inner} if depthwise else {})
    return build("DEPTHWISE_CONV_2D" if depthwise else "CONV_2D", [x, w, b], [y], (name, options))


@given(case=convolutions(), depthwise=st.booleans())
@quick
def test_convolution_of_int8(case, depthwise, make, agree):
    agree(quantized_convolution(make, case, depthwise), seeds=1)


@given(case=convolutions(), depthwise=st.booleans())
@quick
def test_convolution_without_requant_is_within_a_quantum(case, depthwise, make, agree):
    agree(quantized_convolution(make, case, depthwise), requant="", seeds=1, quanta=1)


@given(case=convolutions(), depthwise=st.booleans())
@quick
def test_convolution_of_f32(case, depthwise, make, agree):
    build, Made, fixed = make
    size, inner, outer, kernel, options, _, seed = case
    outer = inner * min(outer, 2) if depthwise else outer
    shape = (1, *kernel, outer) if depthwise else (outer, *kernel, inner)
    w, b = (fixed(np.random.default_rng(seed).standard_normal(s).astype(np.float32)) for s in (shape, (outer,)))
    x, y = Made("f32", (1, *size, inner)), Made("f32", (1, *result_size(size, kernel, options), outer))
    name = "DepthwiseConv2DOptions" if depthwise else "Conv2DOptions"
    options = options | ({"depth_multiplier": outer // inner} if depthwise else {})
    agree(build("DEPTHWISE_CONV_2D" if depthwise else "CONV_2D", [x, w, b], [y], (name, options)), requant="", seeds=1, tolerance=1e-5)


@given(rows=st.integers(1, 5), inner=st.integers(1, 40), outer=st.integers(1, 9), per_channel=st.booleans(), biased=st.booleans(),
       activation=st.sampled_from(sorted(ACTIVATIONS.values())), seed=st.integers(0, 999))
@quick
def test_fully_connected_of_int8(rows, inner, outer, per_channel, biased, activation, seed, make, agree):
    build, Made, fixed = make
    rng = np.random.default_rng(seed)
    scales = rng.uniform(0.001, 0.02, outer if per_channel else 1).astype(np.float32)
    x = Made("i8", (rows, inner), scale=rng.uniform(0.01, 0.1), zero=int(rng.integers(-20, 20)))
    y = Made("i8", (rows, outer), scale=rng.uniform(0.01, 0.1), zero=int(rng.integers(-20, 20)))
    b = fixed(biases(seed, outer), scale=scales * np.float32(x.scale)) if biased else None
    model = build("FULLY_CONNECTED", [x, fixed(weights(seed, outer, inner), scale=scales), b], [y],
                  ("FullyConnectedOptions", {"fused_activation_function": activation}))
    agree(model, seeds=1)
    agree(model, requant="", seeds=1, quanta=1)


def scaled(make, draw_scale, dtype, *shape):
    _, Made, _ = make
    scale, zero = draw_scale
    return Made(dtype, shape, scale=scale, zero=0 if dtype == "i16" else zero + (128 if dtype == "u8" else 0))


SCALE = st.tuples(st.floats(0.005, 0.2), st.integers(-30, 30))


@pytest.mark.parametrize("name", ["ADD", "SUB", "MUL"])
@pytest.mark.parametrize("dtype", ["i8", "u8", "i16"])
@given(scales=st.tuples(SCALE, SCALE, SCALE), activation=st.sampled_from(sorted(ACTIVATIONS.values())), broadcast=st.booleans())
@quick
def test_elementwise_of_integers(name, dtype, scales, activation, broadcast, make, agree):
    build, _, _ = make
    a, b, y = (scaled(make, s, dtype, *shape) for s, shape in zip(scales, ((2, 5, 7), (1, 7) if broadcast else (2, 5, 7), (2, 5, 7))))
    agree(build(name, [a, b], [y], (f"{name.title()}Options", {"fused_activation_function": activation})), seeds=1)


PAIRS = [(a, b) for a in ("i8", "u8", "i16", "f32") for b in ("i8", "u8", "i16") if {a, b} != {"u8", "i16"}]  # what TFLite converts


@pytest.mark.parametrize("source, dtype", PAIRS)
@given(scales=st.tuples(SCALE, SCALE))
@quick
def test_quantize(source, dtype, scales, make, agree):
    build, Made, _ = make
    x = Made("f32", (3, 50)) if source == "f32" else scaled(make, scales[0], source, 3, 50)
    agree(build("QUANTIZE", [x], [scaled(make, scales[1], dtype, 3, 50)]), seeds=1)


@pytest.mark.parametrize("dtype", ["i8", "u8", "i16"])
@given(scale=SCALE)
@quick
def test_dequantize(dtype, scale, make, agree):
    build, Made, _ = make
    agree(build("DEQUANTIZE", [scaled(make, scale, dtype, 3, 50)], [Made("f32", (3, 50))]), seeds=1)


@given(scale=st.floats(0.003, 2.0), beta=st.sampled_from((1.0, 0.5, 3.0)), length=st.integers(1, 300), seed=st.integers(0, 99))
@quick
def test_softmax_of_int8(scale, beta, length, seed, make, agree):
    build, Made, _ = make
    x, y = Made("i8", (3, length), scale=scale, zero=seed - 50), Made("i8", (3, length), scale=1 / 256, zero=-128)
    agree(build("SOFTMAX", [x], [y], ("SoftmaxOptions", {"beta": beta})), seeds=1)


@given(size=st.integers(3, 9), kernel=st.tuples(st.integers(1, 3), st.integers(1, 3)), stride=st.integers(1, 2),
       padding=st.sampled_from((SAME, VALID)), activation=st.sampled_from(sorted(ACTIVATIONS.values())))
@pytest.mark.parametrize("name", ["AVERAGE_POOL_2D", "MAX_POOL_2D"])
@pytest.mark.parametrize("dtype", ["i8", "u8", "f32"])
@quick
def test_pools(name, dtype, size, kernel, stride, padding, activation, make, agree):
    build, Made, _ = make
    counts = tuple(-(-size // stride) if padding == SAME else (size - k) // stride + 1 for k in kernel)
    given_ = {} if dtype == "f32" else {"scale": 0.05, "zero": 5 if dtype == "i8" else 120}
    options = {"padding": padding, "stride_h": stride, "stride_w": stride, "filter_height": kernel[0], "filter_width": kernel[1],
               "fused_activation_function": activation}
    model = build(name, [Made(dtype, (1, size, size, 3), **given_)], [Made(dtype, (1, *counts, 3), **given_)], ("Pool2DOptions", options))
    agree(model, requant="" if dtype == "f32" else "tflite", seeds=1, tolerance=1e-6)


@pytest.mark.parametrize("name, dtype", [("MEAN", "i8"), ("MEAN", "u8"), ("MEAN", "i16"), ("SUM", "u8")])  # the judge sums i8 to -1
@given(axes=st.sampled_from(((1, 2), (0,), (-1,), (0, 1, 2, 3))), keep=st.booleans(), scales=st.tuples(SCALE, SCALE), same=st.booleans())
@quick
def test_reductions_of_integers(name, dtype, axes, keep, scales, same, make, agree):
    build, _, fixed = make
    shape = (1, 7, 5, 6)
    reduced = {a % 4 for a in axes}
    result = tuple(1 if n in reduced else d for n, d in enumerate(shape) if keep or n not in reduced)
    x, y = scaled(make, scales[0], dtype, *shape), scaled(make, scales[0] if same else scales[1], dtype, *result)
    agree(build(name, [x, fixed(np.array(axes, np.int32))], [y], ("ReducerOptions", {"keep_dims": keep})), seeds=1)


def every_byte(dtype, shape, seed):
    return np.arange(dtype.low, dtype.high + 1).reshape(shape).astype(dtype.numpy)


@pytest.mark.parametrize("name", ["RELU", "RELU6", "RELU_N1_TO_1", "LEAKY_RELU", "HARD_SWISH", "LOGISTIC", "TANH"])
@pytest.mark.parametrize("dtype", ["i8", "u8"])
@given(scales=st.tuples(SCALE, SCALE), alpha=st.floats(0.01, 0.9))
@quick
def test_activations_of_every_byte(name, dtype, scales, alpha, make, agree):
    build, Made, _ = make
    x, y = (scaled(make, s, dtype, 16, 16) for s in scales)
    if name in ("LOGISTIC", "TANH"):  # their results have one scale
        y = Made(dtype, (16, 16), scale=1 / 256 if name == "LOGISTIC" else 1 / 128,
                 zero={"i8": -128, "u8": 0}[dtype] if name == "LOGISTIC" else {"i8": 0, "u8": 128}[dtype])
    options = ("LeakyReluOptions", {"alpha": alpha}) if name == "LEAKY_RELU" else None
    agree(build(name, [x], [y], options), seeds=1, draw=every_byte)


@pytest.mark.parametrize("name", ["MAXIMUM", "MINIMUM"])
def test_extremes_of_bytes(name, make, agree):
    build, Made, _ = make
    a, b, y = (Made("i8", (4, 9), scale=0.1, zero=3) for _ in range(3))
    agree(build(name, [a, b], [y], ("MaximumMinimumOptions", {})))


@pytest.mark.parametrize("dtype", ["i8", "u8"])
@given(scales=st.tuples(SCALE, SCALE, SCALE))
@quick
def test_prelu(dtype, scales, make, agree):
    build, _, _ = make
    x, slope, y = (scaled(make, s, dtype, *shape) for s, shape in zip(scales, ((1, 4, 5, 6), (1, 1, 6), (1, 4, 5, 6))))
    agree(build("PRELU", [x, slope], [y]), seeds=1)


@given(scales=st.tuples(SCALE, SCALE, SCALE), adjoint=st.tuples(st.booleans(), st.booleans()))
@quick
def test_batch_matmul(scales, adjoint, make, agree):
    build, _, _ = make
    shapes = (2, 4, 3) if adjoint[0] else (2, 3, 4), (2, 5, 4) if adjoint[1] else (2, 4, 5), (2, 3, 5)
    a, b, y = (scaled(make, s, "i8", *shape) for s, shape in zip(scales, shapes))
    agree(build("BATCH_MATMUL", [a, b], [y], ("BatchMatMulOptions", {"adj_x": adjoint[0], "adj_y": adjoint[1]})), seeds=1)


@given(size=st.tuples(st.integers(1, 6), st.integers(1, 6)), counts=st.tuples(st.integers(1, 11), st.integers(1, 11)),
       how=st.sampled_from(((False, False), (True, False), (False, True))))
@quick
def test_resize_bilinear(size, counts, how, make, agree):
    build, Made, fixed = make
    x, y = (Made("i8", (1, *s, 3), scale=0.1, zero=5) for s in (size, counts))
    options = {"align_corners": how[0], "half_pixel_centers": how[1]}
    agree(build("RESIZE_BILINEAR", [x, fixed(np.array(counts, np.int32))], [y], ("ResizeBilinearOptions", options)), seeds=1)
