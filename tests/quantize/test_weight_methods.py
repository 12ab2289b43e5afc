"""Methods that round weights: each is at least as near as rounding to nearest, and what it writes runs in onnxruntime and edgec alike."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime
import pytest
from hypothesis import given, settings, strategies as st

import edgec
from edgec.compiler import compile
from edgec.errors import ModelError
from edgec.graph import Graph, constant, graph_input, map_graph
from edgec.ops.activation import Relu
from edgec.ops.convolution import Conv, ConvTranspose
from edgec.ops.gather import Gather
from edgec.ops.matmul import Gemm, MatMul
from edgec.ops.recurrent import GRU, LSTM
from edgec.ops.reshape import Flatten
from edgec.quantize import quantize
from edgec.quantize.adaround import adaround
from edgec.quantize.codebook import codebook, kmeans
from edgec.quantize.gptq import gptq
from edgec.quantize.quality import least_sqnr
from edgec.quantize.reconstruction import Codebook, Reconstruction, descended, second_moment
from edgec.quantize.rounding import rounding_method
from edgec.quantize.streams import Streams
from edgec.quantize.weight_levels import uniform_levels
from edgec.quantize.weight_only import weight_only
from edgec.quantize.wide_rows import WideRows, noise_alone
from edgec.types import DTYPES, TensorType, f32

METHODS = {"gptq": gptq, "adaround": adaround}


def problem(seed: int, rows: int, inputs: int, outputs: int) -> Reconstruction:
    """Weights, and inputs that depend on each other as those of networks do."""
    rng = np.random.default_rng(seed)
    mixed = rng.standard_normal((rows, inputs)) @ rng.standard_normal((inputs, inputs)) + rng.standard_normal(inputs)
    return Reconstruction(rng.standard_normal((inputs, outputs)), second_moment(mixed))


@pytest.mark.parametrize("method", list(METHODS))
@settings(max_examples=8, deadline=None)
@given(st.integers(0, 1000), st.integers(1, 60), st.integers(1, 24), st.integers(1, 5), st.sampled_from([2, 3, 4, 8]))
def test_no_method_is_worse_than_nearest(method, seed, rows, inputs, outputs, bits):
    given_problem = problem(seed, rows, inputs, outputs)
    levels = uniform_levels(given_problem.weights, bits)
    codes = METHODS[method](given_problem, levels)
    assert codes.min() >= levels.low and codes.max() <= levels.high
    nearest = given_problem.error(levels.real(levels.codes(given_problem.weights)))
    assert given_problem.error(levels.real(codes)) <= nearest * (1 + 1e-12)


@pytest.mark.parametrize("method", list(METHODS))
def test_where_inputs_depend_on_each_other_much_is_won(method):
    given_problem = problem(3, 200, 32, 16)
    levels = uniform_levels(given_problem.weights, 4)
    nearest = given_problem.error(levels.real(levels.codes(given_problem.weights)))
    assert given_problem.error(levels.real(METHODS[method](given_problem, levels))) < 0.6 * nearest


def test_adaround_takes_one_of_two_neighbours():
    given_problem = problem(4, 100, 16, 8)
    levels = uniform_levels(given_problem.weights, 4)
    place = np.clip(given_problem.weights / levels.scale, levels.low, levels.high)
    assert np.all(np.abs(adaround(given_problem, levels) - place) < 1 + 1e-9)


def test_gptq_rounds_to_a_codebook_as_well():
    given_problem = problem(5, 100, 24, 8)
    book = codebook(given_problem.weights, 8)
    nearest = given_problem.error(book.real(book.codes(given_problem.weights)))
    assert given_problem.error(book.real(gptq(given_problem, book))) < nearest


def test_descent_never_climbs():
    given_problem = problem(6, 40, 12, 4)
    levels = uniform_levels(given_problem.weights, 3)
    codes = np.random.default_rng(0).integers(-4, 4, given_problem.weights.shape)
    damped = Reconstruction(given_problem.weights, given_problem.damped)
    found = descended(given_problem, levels, codes)
    assert damped.error(levels.real(found)) <= damped.error(levels.real(codes))


@given(st.integers(0, 1000), st.integers(2, 16))
@settings(max_examples=20, deadline=None)
def test_kmeans(seed, count):
    x = np.random.default_rng(seed).standard_normal(200)
    values = kmeans(x, np.ones(200), count)
    assert 1 <= len(values) <= count and np.all(np.diff(values) > 0)
    book = Codebook(values, np.ones((1, 1)))
    codes = book.codes(x[:, None])[:, 0]
    assert np.array_equal(codes, np.abs(x[:, None] - values).argmin(1))
    for code in range(len(values)):  # each value is the mean of what it stands for
        assert not np.any(codes == code) or np.isclose(values[code], x[codes == code].mean(), atol=1e-2)


def test_a_few_values_are_kept_exactly():
    w = np.random.default_rng(0).choice([-1.0, -0.25, 0.5, 1.0], (20, 6))
    w[0] = 1.0
    book = codebook(w, 4)
    np.testing.assert_allclose(book.real(book.codes(w)), w, atol=1e-12)


def test_fewer_levels_use_more_of_the_range():
    """A shrunk scale clips the tails, and is nearer than the full one."""
    w = np.random.default_rng(0).standard_normal((400, 5))
    levels = uniform_levels(w, 3)
    full = np.abs(w).max(0) / 3.5
    assert np.all(levels.scale[0] < full)
    assert np.sum((levels.real(levels.codes(w)) - w) ** 2) < np.sum((np.clip(np.rint(w / full), -4, 3) * full - w) ** 2)


# -------------------------------------------------------------------------------------------------------------- whole networks

RNG = np.random.default_rng(7)


def values(*shape):
    return constant((RNG.standard_normal(shape) / np.sqrt(max(1, np.prod(shape[1:])))).astype(np.float32))


def network() -> Graph:
    """Convolutions of all kinds, then products with and without bias."""
    x = graph_input("x", TensorType(f32, (1, 8, 10, 10)))
    y = Relu(Conv(x, values(16, 8, 3, 3), values(16), pads=(1, 1, 1, 1)).output).output
    y = Relu(Conv(y, values(16, 1, 5, 5), group=16, pads=(2, 2, 2, 2)).output).output
    y = Relu(Conv(y, values(24, 16, 1, 1), values(24)).output).output
    y = Relu(Conv(y, values(32, 12, 3, 3), group=2, strides=(2, 2)).output).output
    y = ConvTranspose(y, values(32, 4, 2, 2), strides=(2, 2)).output
    y = Gemm(Flatten(y).output, values(32, 256), values(32), transB=1).output
    y = MatMul(Relu(y).output, values(32, 20)).output
    return Graph((x,), (y,), ("y",), "net")


def samples(count=12):
    return {"x": np.random.default_rng(1).standard_normal((count, 8, 10, 10)).astype(np.float32)}


def outputs(made, arrays):
    """Of onnxruntime and of compiled code; optimised, onnxruntime would round the activations of such products to 8 bits."""
    model = made.model
    onnx.checker.check_model(model, full_check=True)
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(model.SerializeToString(), options)
    return session.run(None, arrays)[0], compile(edgec.load(model), workers=0).run(arrays)["y"]


KINDS = [{"weights": "int8"}, {"weights": "int4"}, {"weights": "int3", "block": 8}, {"weights": "int2"}, {"weights": "codebook:16"},
         {"weights": "codebook:5"}, {"weights": "int4", "power_of_two": True}, {"weights": "int4", "block": 16}]


@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_onnxruntime_and_edgec_agree(kind):
    made = weight_only(network(), samples(), rounding="gptq", **kind)
    arrays = {"x": samples(1)["x"][0:1]}
    theirs, ours = outputs(made, arrays)
    np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-4 * float(np.abs(theirs).max()))
    assert len(made.layers) == 7 and all(layer.bits <= 8 for layer in made.layers)
    if kind.get("power_of_two"):
        scales = [t for t in made.model.graph.initializer if t.name.endswith("scale")]
        assert scales and all(np.all(np.frexp(onnx.numpy_helper.to_array(t))[0] == 0.5) for t in scales)


def distance(made, graph):
    arrays = samples(20)["x"]
    run = lambda g: np.concatenate([edgec.interpret(g, {"x": x[None]})["y"] for x in arrays])
    return float(np.sum((run(made.graph) - run(graph)) ** 2))


@pytest.mark.parametrize("method", ["gptq", "adaround"])
def test_networks_are_nearer_than_with_nearest(method):
    graph = network()
    assert distance(weight_only(graph, samples(40), weights="int4", rounding=method), graph) < \
        distance(weight_only(graph, weights="int4"), graph)


def test_layers_mend_what_those_before_them_broke():
    x = graph_input("x", TensorType(f32, (1, 24)))
    y = x
    for _ in range(6):
        y = Relu(Gemm(y, values(24, 24), values(24)).output).output
    graph = Graph((x,), (MatMul(y, values(24, 4)).output,), ("y",), "net")
    data = np.random.default_rng(2).standard_normal((64, 1, 24)).astype(np.float32)
    streams = Streams(graph, [{"x": x} for x in data])
    near, alone = weight_only(graph, {"x": data}, weights="int3", rounding="gptq"), {}
    for op in graph.ops:  # the same method, every layer by itself
        if isinstance(op, Gemm):
            rows = np.concatenate([arrays[0] for arrays, _ in streams.operands(op)]).astype(np.float64)
            alone[op] = Reconstruction(op.operands[1].array.astype(np.float64), second_moment(rows, centred=True))
        streams.advance(op)
    made = map_graph(graph, lambda op, operands: None if op not in alone else _rounded_alone(op, operands, alone[op]))
    run = lambda g: np.concatenate([edgec.interpret(g, {"x": x})["y"] for x in data])
    assert np.sum((run(near.graph) - run(graph)) ** 2) < 0.8 * np.sum((run(made) - run(graph)) ** 2)


def _rounded_alone(op, operands, given_problem):
    levels = uniform_levels(given_problem.weights, 3, np.diag(given_problem.moment))
    real = levels.real(gptq(given_problem, levels))
    return op.with_operands([operands[0], constant(real.astype(np.float32)), *operands[2:]]).results


def bits_of(made):
    return [layer.bits for layer in made.layers]


def test_the_smallest_layers_have_8_bits_where_rounding_looks_at_data():
    """Of 14,736 weights: 384 and 400 in the convolutions of 1x1 and by channel, 512 in the transposed one."""
    assert bits_of(weight_only(network(), samples(), weights="int4", rounding="gptq")) == [4, 4, 8, 4, 4, 4, 4]
    assert bits_of(weight_only(network(), samples(), weights="int4", rounding="gptq", eight=0.1)) == [4, 8, 8, 4, 8, 4, 4]
    assert bits_of(weight_only(network(), samples(), weights="int4", rounding="gptq", eight=0.0)) == [4] * 7
    assert bits_of(weight_only(network(), samples(), weights="codebook:16", rounding="gptq")) == [4, 4, 8, 4, 4, 4, 4]
    assert set(bits_of(weight_only(network(), weights="int4"))) == {4}
    assert set(bits_of(weight_only(network(), samples(), weights="int8", rounding="gptq"))) == {8}


def test_a_budget_gives_more_layers_8_bits_until_it_holds():
    graph = network()
    plain = weight_only(graph, samples(40), weights="int3", rounding="gptq", min_sqnr=1.0)
    assert bits_of(plain) == [3, 3, 8, 3, 3, 3, 3] and plain.sqnr >= 1.0
    better = weight_only(graph, samples(40), weights="int3", rounding="gptq", min_sqnr=plain.sqnr + 4)
    assert better.sqnr >= plain.sqnr + 4 and len(bits_of(better)) == 7
    assert 3 <= min(bits_of(better)) < 8 and any(3 < bits < 8 for bits in bits_of(better))
    held = samples(40)["x"][2::3]  # measured before these rounded, too
    exact, ours = ([[edgec.interpret(g, {"x": x[None]})["y"]] for x in held] for g in (graph, better.graph))
    assert least_sqnr(exact, ours) > better.sqnr
    assert set(bits_of(weight_only(graph, samples(40), weights="int3", rounding="gptq", min_sqnr=300.0))) == {8}


def test_more_bits_are_nearer():
    graph = network()
    found = [distance(weight_only(graph, weights=kind), graph) for kind in ("int2", "int3", "int4", "int8")]
    assert found == sorted(found, reverse=True)


def test_blocks_lie_along_the_channels_of_convolutions():
    x = graph_input("x", TensorType(f32, (1, 32, 9, 9)))
    graph = Graph((x,), (Conv(x, values(8, 32, 3, 3), values(8), pads=(1, 1, 1, 1)).output,), ("y",), "net")
    arrays = {"x": np.random.default_rng(1).standard_normal((6, 32, 9, 9)).astype(np.float32)}
    plain, blocked = (weight_only(graph, arrays, weights="int4", rounding="gptq", block=size) for size in (0, 8))
    assert blocked.layers[0].signal_to_noise > plain.layers[0].signal_to_noise + 1
    scale = next(t for t in blocked.model.graph.initializer if t.name.endswith("scale"))
    assert list(scale.dims) == [8, 4, 3, 3]
    theirs, ours = outputs(blocked, {"x": arrays["x"][:1]})
    np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-4 * float(np.abs(theirs).max()))


@pytest.mark.parametrize("method", ["nearest", "gptq", "adaround"])
@pytest.mark.parametrize("cell, gates, block", [(LSTM, 4, 0), (GRU, 3, 0), (LSTM, 4, 4)])
def test_recurrent_cells_are_products_of_inputs_and_states(cell, gates, block, method):
    x = graph_input("x", TensorType(f32, (12, 1, 10)))
    y = cell(x, values(2, gates * 8, 10), values(2, gates * 8, 8), values(2, gates * 16), hidden_size=8, direction="bidirectional").results[0]
    graph = Graph((x,), (y,), ("y",), "net")
    rng = np.random.default_rng(1)
    arrays = {"x": (rng.standard_normal((20, 12, 1, 10)) @ rng.standard_normal((10, 10)) / 3).astype(np.float32)}
    made = weight_only(graph, arrays, weights="int4", rounding=method, block=block)
    theirs, ours = outputs(made, {"x": arrays["x"][0]})
    np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-5)
    run = lambda g: np.concatenate([edgec.interpret(g, {"x": x})["y"] for x in arrays["x"]])
    mine, plain = (float(np.sum((run(m.graph) - run(graph)) ** 2)) for m in (made, weight_only(graph, weights="int4")))
    assert mine < (1.2 if method == "nearest" else 0.9) * plain  # scales of inputs and states apart, not always better than one


def test_recurrent_weights_and_tables_of_rows():
    i = graph_input("i", TensorType(DTYPES["i64"], (6, 1)))
    rows = Gather(values(50, 24), i).output
    y = GRU(rows, values(1, 60, 24), values(1, 60, 20), values(1, 120), hidden_size=20).results[0]
    graph = Graph((i,), (y,), ("y",), "net")
    made = weight_only(graph, weights="int4")
    arrays = {"i": np.arange(6)[:, None]}
    theirs, ours = outputs(made, arrays)
    np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-5)
    assert len(made.layers) == 3


@pytest.mark.parametrize("method", ["gptq", "adaround"])
def test_integer_networks_take_the_same_methods(method):
    graph = network()
    near, far = (quantize(graph, samples(24), weight_bits=4, rounding=rounding_method(name)) for name in (method, "nearest"))
    assert distance(near, graph) < distance(far, graph)


@pytest.mark.parametrize("options, message", [
    ({"weights": "int5"}, "weights cannot become 'int5'"), ({"weights": "codebook:x"}, "weights cannot become 'codebook:x'"),
    ({"rounding": "magic"}, "there is no rounding method 'magic'"), ({"rounding": "adaround"}, "adaround rounding needs samples"),
    ({"weights": "codebook:8", "block": 8}, "a codebook has no blocks"), ({"block": 1}, "a block of 1 inputs is none"),
    ({"min_sqnr": 30.0}, "a budget chooses between fewer bits and 8"), ({"eight": 2.0}, "a share of 2 of the weights"),
    ({"weights": "codebook:8", "rounding": "adaround"}, "adaround rounds up or down"), ({"keep_float": ("no",)}, "there is no node 'no'"),
])
def test_bad_options_are_told(options, message):
    with pytest.raises(ModelError, match=message):
        weight_only(network(), **options)


def test_names_of_integer_rounding():
    with pytest.raises(ModelError, match="there is no rounding method 'up'"):
        rounding_method("up")


def test_data_that_is_not_finite_is_told():
    bad = {"x": np.full((2, 8, 10, 10), 3e38, np.float32)}
    with pytest.raises(ModelError, match="not finite"):
        weight_only(network(), bad, rounding="gptq")


# ------------------------------------------------------------------------------------------------------------- outputs in 8 bits

def test_descent_in_blocks_is_descent_row_by_row():
    """More rows than a block, levels in blocks of inputs: the same as one row after the other with the whole slope at hand."""
    given_problem = problem(8, 300, 75, 6)
    levels = uniform_levels(given_problem.weights, 3, None, 25)
    codes = levels.codes(given_problem.weights)
    found, h = codes.copy(), given_problem.damped
    for _ in range(20):
        for k in range(75):
            e = levels.real(found) - given_problem.weights
            wanted = given_problem.weights[k] + e[k] - (h[k] @ e) / h[k, k]
            found[k] = levels.codes(wanted[None], slice(k, k + 1))[0]
    assert np.array_equal(descended(given_problem, levels, codes), found)


def test_gptq_spreads_errors_as_the_inverse_of_the_moment_says():
    """The paper's own form: what rounding a row breaks goes to the rows behind it by the Cholesky factor of the inverse."""
    given_problem = problem(9, 300, 70, 5)
    levels = uniform_levels(given_problem.weights, 4)
    order = np.argsort(-np.diag(given_problem.moment), kind="stable")
    upper = np.linalg.cholesky(np.linalg.inv(given_problem.damped[np.ix_(order, order)])).T
    left, codes = given_problem.weights[order].copy(), np.zeros((70, 5), np.int64)
    for k in range(70):
        codes[k] = levels.codes(left[k:k + 1])[0]
        left[k + 1:] -= np.outer(upper[k, k + 1:], (left[k] - levels.real(codes[k:k + 1])[0]) / upper[k, k])
    found = gptq(given_problem, levels, polish=False)
    wanted = given_problem.best(levels, levels.codes(given_problem.weights), codes[np.argsort(order)])
    assert np.array_equal(found, wanted)


def uneven() -> Graph:
    """Products and a convolution by channel in which a few outputs have much larger weights than the others."""
    loud = lambda *shape: constant(values(*shape).array * np.where(np.arange(shape[0]) % 5 == 2, 6, 1).reshape(-1, *[1] * (len(shape) - 1))
                                   .astype(np.float32))
    x = graph_input("x", TensorType(f32, (1, 8, 10, 10)))
    y = Relu(Conv(x, loud(20, 8, 3, 3), values(20), pads=(1, 1, 1, 1)).output).output
    y = Relu(Conv(y, loud(20, 1, 5, 5), group=20, pads=(2, 2, 2, 2)).output).output
    y = Gemm(Flatten(Conv(y, loud(10, 20, 1, 1), values(10), strides=(4, 4)).output).output, loud(32, 90), values(32), transB=1).output
    return Graph((x,), (MatMul(Relu(y).output, values(32, 20)).output,), ("y",), "net")


def test_outputs_of_8_and_of_4_bits_stand_side_by_side():
    """In one layer, in their order, and as few as it takes: onnxruntime and compiled code agree."""
    graph = uneven()
    plain, made, more = (weight_only(graph, samples(40), weights="int4", rounding="gptq", eight=0.0, min_sqnr=least)
                         for least in (1.0, 22.0, 32.0))
    assert plain.sqnr < 22 <= made.sqnr and made.sqnr < 32 <= more.sqnr
    assert any(4 < layer.bits < 8 for layer in made.layers)
    count, bits = (lambda each: sum(layer.weights * layer.bits for layer in each.layers)), bits_of(plain)
    assert set(bits) == {4} and count(plain) < count(made) < count(more)
    theirs, ours = outputs(made, {"x": samples(1)["x"][0:1]})
    np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-4 * float(np.abs(theirs).max()))


def test_rows_with_most_noise_for_their_weights_come_first():
    """Layer a brings 6 and b 1; a's rows have 10 weights, b's 1: first a's first row (0.4 a weight), then b's (0.25), then a's others."""
    a, b = (Gemm(graph_input("x", TensorType(f32, (1, 8))), values(8, 4)) for _ in range(2))
    errors = {a: np.array([[4.0, 1.5, 0.5]]) / 6, b: np.full((2, 2), 0.25)}
    rows = WideRows({a: 6.0, b: 1.0}, errors, {a: 10, b: 1})
    assert {op: r.tolist() for op, r in rows.chosen(14 / 34).items()} == {a: [[True, False, False]], b: [[True, True], [True, True]]}
    assert rows.share_for(0.5) == pytest.approx(10 / 34) and rows.share_for(2.1 / 7) == pytest.approx(14 / 34) and rows.share_for(1.0) == 0
    assert all(r.all() for r in rows.chosen(1.0).values()) and not any(r.any() for r in rows.chosen(0.0).values())


def test_noise_alone_is_that_of_the_network_with_one_operand_changed():
    graph = network()
    convs = [op for op in graph.ops if isinstance(op, (Conv, Gemm))][:5]
    other = {op: {1: (op.operands[1].array * np.float32(1.01))} for op in convs}
    given_samples = [{"x": x[None]} for x in samples(3)["x"]]
    found = noise_alone(graph, other, given_samples)
    run = lambda g: np.concatenate([edgec.interpret(g, s)["y"] for s in given_samples]).astype(np.float64)
    for op in convs:
        changed = map_graph(graph, lambda each, operands: None if each is not op else
                            each.with_operands([operands[0], constant(other[op][1]), *operands[2:]]).results)
        assert found[op] == pytest.approx(np.sum((run(changed) - run(graph)) ** 2) / np.sum(run(graph) ** 2), rel=1e-3)
