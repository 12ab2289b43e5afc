"""Sorting by merging runs: every part against its formula, whole orders against numpy's, on processors of all kinds."""

from random import Random

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

import edgec
from edgec.backends.emulate import emulate, missing_tools
from edgec.backends.target import find
from edgec.compiler import lower, optimise_graph
from edgec.errors import TypeMismatch
from edgec.evaluate import evaluate_op
from edgec.graph import Graph, constant, graph_input, run_reference
from edgec.interpreter import interpret
from edgec.ops.reshape import Transpose
from edgec.ops.selection import Rank, TopK, Unique, places_in_order, sorted_order
from edgec.ops.sorting import RUN, MergedRuns, RunPlaces, RunRank, Searched, SortKey, largest, merged_places, merging_pays
from edgec.ops.uniqueness import Begins, Spans, different_numbers
from edgec.program_interpreter import run_program
from edgec.types import DTYPES, TensorType, dtype_of, f32, i32, i64

NATIVE = find("native")
SIZES = sorted({n for power in (RUN, 2 * RUN, 4 * RUN, 8 * RUN) for n in (power - 1, power, power + 1)} | {1, 2, 3, 5, 200, 300})
TYPES = ("f32", "f64", "f16", "bf16", "i8", "u8", "i16", "u16", "i32", "u32", "i64", "u64", "bool")


def numbers(random, dtype, *shape):
    """Few different ones and the ends of the type's range; among floats NaN, infinities and both zeros."""
    if dtype.name == "bool":
        return random.integers(0, 2, shape).astype(bool)
    if dtype.is_integer:
        return random.choice(np.array([dtype.low, dtype.low + 1, dtype.high, 0, 1, 2, 3], dtype.numpy), shape)
    some = random.choice(np.array([np.nan, np.inf, -np.inf, 0.0, -0.0, 1.0, 1.5, -1.0, -2.0]), shape)
    return np.where(random.random(shape) < 0.5, some, random.normal(size=shape)).astype(dtype.numpy)


def compiled(outputs, arrays, run=None):
    """What compiled code (or `run(graph, arrays)`) makes of inputs that the values are computed from, after the interpreter did the same."""
    names = tuple(f"y{n}" for n in range(len(outputs)))
    graph = Graph(tuple(v for v, _ in arrays), outputs, names, "sorting")
    given_ = {v.name: a for v, a in arrays}
    meant = interpret(graph, given_)
    found = run(graph, given_) if run else edgec.compile(graph, optimize="0", workers=0).run(given_)
    for name in names:
        np.testing.assert_array_equal(found[name], meant[name])
    return [meant[name] for name in names]


def as_program(graph, arrays):
    """Without machine code."""
    return run_program(lower(optimise_graph(graph, NATIVE), NATIVE), arrays)


def given_as(name, array):
    return graph_input(name, TensorType(dtype_of(array.dtype), array.shape))


# ------------------------------------------------------------------------------------------------------------------ the parts

def formula_is_reference(op, *arrays):
    """The same from the index formula as from numpy, over all of the results."""
    expected = run_reference(op, list(arrays))
    for number, wanted in enumerate(expected):
        found = evaluate_op(op, list(arrays), [number])[0]
        assert wanted.dtype == op.results[number].dtype.numpy
        np.testing.assert_array_equal(found, wanted)
    return expected[0]


@pytest.mark.parametrize("descending", [0, 1])
@pytest.mark.parametrize("name", TYPES)
def test_keys_stand_for_elements(name, descending):
    """Keys are in the order of the elements, equal where these are, and the greatest for what is no number."""
    x = numbers(np.random.default_rng(1), DTYPES[name], 40)
    keys = formula_is_reference(SortKey(given_as("x", x), descending=descending), x)
    order = np.argsort(keys, kind="stable")
    np.testing.assert_array_equal(order, sorted_order(x, 0, bool(descending)))
    wide = x.astype(object)
    same = np.array([[a == b or (a != a and b != b) for a in wide] for b in wide])
    np.testing.assert_array_equal(keys[:, None] == keys, same)


def test_keys_of_texts_are_none():
    with pytest.raises(TypeMismatch, match="needs numbers"):
        SortKey(graph_input("x", TensorType(DTYPES["string"], (3,))))


@given(st.integers(0, 2**32 - 1), st.sampled_from(SIZES), st.sampled_from([1, 2, RUN - 1, RUN, RUN + 1, 2 * RUN, 500]), st.booleans())
@settings(max_examples=25 if settings.default.derandomize else 400)
def test_parts_follow_their_formulas(seed, size, most, wide):
    """RunRank, RunPlaces and MergedRuns, at each level what the one before gives; in the end numpy's stable order."""
    random, most = np.random.default_rng(seed), min(most, size)
    keys = random.integers(-3, 4, (2, size)).astype(np.int64 if wide else np.int32)
    keys[random.random(keys.shape) < 0.1] = np.iinfo(keys.dtype).max
    x = given_as("keys", keys)
    rank = RunRank(x)
    ranks = formula_is_reference(rank, keys)
    op = RunPlaces(rank.output, most=most)
    places = formula_is_reference(op, ranks)
    width = RUN
    while width < size:
        op = MergedRuns(op.output, x, width=width, most=most)
        last = places
        places = run_reference(op, [last, keys])[0]
        valid = [max(0, min(places.shape[-1], size - n * 2 * width)) for n in range(places.shape[-2])]
        for n, count in enumerate(valid):  # behind the end stands what is never looked at
            np.testing.assert_array_equal(evaluate_op(op, [last, keys], [0])[0][:, n, :count], places[:, n, :count])
        width *= 2
    np.testing.assert_array_equal(places.reshape(2, -1)[:, :most], np.argsort(keys, axis=1, kind="stable")[:, :most])


@given(st.integers(0, 2**32 - 1), st.integers(1, 40))
@settings(max_examples=20 if settings.default.derandomize else 400)
def test_what_is_made_of_a_sorted_vector(seed, size):
    """Searched, Begins and Spans."""
    random = np.random.default_rng(seed)
    keys = np.sort(random.integers(-5, 6, size)).astype(np.int32)
    wanted, number = random.integers(-7, 8, (3, 4)).astype(np.int32), np.array([random.integers(0, size + 1)])
    formula_is_reference(Searched(given_as("k", keys), given_as("n", number), given_as("x", wanted)), keys, number, wanted)
    begins = formula_is_reference(Begins(given_as("k", keys)), keys)
    places = np.zeros(size, np.int64)
    places[:begins.sum()] = np.flatnonzero(begins)
    spans = formula_is_reference(Spans(given_as("b", places), given_as("n", number)), places, np.array([begins.sum()]))
    np.testing.assert_array_equal(spans[:begins.sum()], np.unique(keys, return_counts=True)[1])


def test_bisection_stops_where_nothing_holds():
    from edgec.expr import const
    from edgec.types import index
    assert [largest(const(2, index), 5, lambda n: n <= end).data for end in (0, 2, 3, 6, 7)] == [2, 2, 3, 6, 7]


def test_parts_say_what_they_need():
    x = graph_input("x", TensorType(i64, (2, 70)))
    ranks = RunRank(x).output
    places = RunPlaces(ranks, most=70).output
    with pytest.raises(TypeMismatch, match="needs keys along a fixed axis"):
        RunRank(graph_input("f", TensorType(f32, (4,))))
    with pytest.raises(TypeMismatch, match="are no ranks of runs"):
        RunPlaces(x, most=3)
    with pytest.raises(TypeMismatch, match="needs places"):
        MergedRuns(places, x, width=2 * RUN, most=70)
    with pytest.raises(TypeMismatch, match="needs a vector to search"):
        Searched(x, graph_input("n", TensorType(i64, ())), x)
    with pytest.raises(TypeMismatch, match="needs one number in i64"):
        Searched(graph_input("v", TensorType(i64, (3,))), graph_input("n", TensorType(i32, ())), x)
    with pytest.raises(TypeMismatch, match="needs a vector, the operand"):
        Begins(x)
    with pytest.raises(TypeMismatch, match="needs a vector and a number"):
        Spans(x, graph_input("n", TensorType(i64, (1,))))


# ------------------------------------------------------------------------------------------------------------------- whole orders

@given(st.integers(0, 2**32 - 1))
@settings(max_examples=30 if settings.default.derandomize else 500)
def test_orders_of_any_size_axis_and_type(seed):
    """Both ways: sizes around powers of two, any axis, ties, the least and the greatest, any number of them."""
    draw = Random(seed)
    size, axis = draw.choice(SIZES), draw.randrange(3)
    shape = [draw.randint(1, 3) for _ in range(3)]
    shape[axis] = size
    x = numbers(np.random.default_rng(seed), DTYPES[draw.choice(TYPES)], *shape)
    count, descending, merge = draw.choice((1, size, draw.randint(1, size), min(size, RUN))), draw.random() < 0.5, draw.random() < 0.75
    value = given_as("x", x)
    found, = compiled((places_in_order(value, axis, count, descending, merge),), [(value, x)], None if seed % 5 == 0 else as_program)
    np.testing.assert_array_equal(found, sorted_order(x, axis, descending).take(range(count), axis))


@pytest.mark.parametrize("ordered", [0, 1])
@pytest.mark.parametrize("largest", [0, 1])
def test_top_k_of_many(onnxruntime_results, largest, ordered):
    """Sorted or not, the results are the same, and onnxruntime's."""
    x = np.random.default_rng(2).integers(0, 300, (3, 1000)).astype(np.float32)
    value = given_as("x", x)
    assert merging_pays(1000, 20)
    results = TopK(value, constant(np.array([20])), axis=1, largest=largest, sorted=ordered).results
    assert "MergedRuns" in kinds(results)
    found = compiled(results, [(value, x)])
    expected = onnxruntime_results("TopK", [x, np.array([20])], {"axis": 1, "largest": largest, "sorted": 1}, 2)
    for ours, theirs in zip(found, expected):
        np.testing.assert_array_equal(ours, theirs)


def kinds(results):
    """Names of the operators that a graph of these results becomes."""
    graph = Graph(tuple({v for r in results for v in r.op.operands if not v.is_constant}), results, tuple(f"y{n}" for n in range(len(results))))
    return {type(op).__name__ for op in optimise_graph(graph, NATIVE).ops}


@pytest.mark.parametrize("sort", [0, 1])
@pytest.mark.parametrize("dtype", [np.float32, np.int64, np.int8])
def test_unique_of_many(onnxruntime_results, sort, dtype):
    x = np.random.default_rng(3).integers(-100, 100, 1300).astype(dtype)
    value = graph_input("x", dtype_known(x), known=x)
    results = Unique(value, sorted=sort).results
    assert {"MergedRuns", "Begins"} <= kinds(results)
    expected = onnxruntime_results("Unique", [x], {"sorted": sort}, 4)
    for ours, theirs in zip(compiled(results, [(value, x)]), expected):
        np.testing.assert_array_equal(ours, theirs)


def dtype_known(x):
    return TensorType(dtype_of(x.dtype), x.shape)


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=10 if settings.default.derandomize else 200)
def test_different_numbers_of_any_size(seed):
    random = np.random.default_rng(seed)
    x = numbers(random, f32, int(random.choice(SIZES)))
    value = given_as("x", x)
    firsts, inverse, counts, mask = compiled(different_numbers(value, in_order=seed % 2), [(value, x)], as_program)
    expected = Unique(graph_input("known", dtype_known(x), known=x), sorted=seed % 2).reference(x)
    number = mask.sum()
    np.testing.assert_array_equal(firsts[:number], expected[1])
    np.testing.assert_array_equal(inverse, expected[2])
    np.testing.assert_array_equal(counts[:number], expected[3])


@pytest.mark.parametrize("size", [20, 2000])
def test_nan_is_one_value_behind_all_others(size):
    x = np.arange(size, dtype=np.float32) % 7
    x[[3, 9, size - 1]] = np.nan
    value = graph_input("x", dtype_known(x), known=x)
    y, _, _, counts = compiled(Unique(value).results, [(value, x)])
    assert y[:-1].tolist() == [0, 1, 2, 3, 4, 5, 6] and np.isnan(y[-1]) and counts[-1] == 3


def test_small_axes_are_counted():
    """Few elements need fewer kernels that way; where only the first few count, merging begins to pay sooner."""
    assert not any(merging_pays(n, n) for n in (1, 50, 100, 250)) and all(merging_pays(n, n) for n in (1000, 5000, 10**6))
    assert merging_pays(300, 3) and not merging_pays(300, 300) and not merging_pays(graph_input("x", TensorType(f32, (1,))).shape, 1)


def test_work_grows_little_faster_than_the_axis():
    """Comparisons of a whole sort: n log2(n)^2 / 2 at most, where counting takes n^2; of the first ten, a multiple of n."""
    from edgec.ops.sorting import _steps
    for n in (1000, 10**4, 10**5, 10**6):
        assert _steps(n, n) < n * np.log2(n) * (np.log2(n) + 3) / 2 and _steps(n, 10) < 3 * n


@pytest.mark.parametrize("target", ["aarch64", "cortex-a7", "cortex-m0plus", "cortex-m4", "cortex-m55", "riscv64", "wasm32"])
def test_other_processors_sort_alike(target):
    """With floats and 64-bit numbers, whatever the processor has instructions for; nothing is called."""
    missing = missing_tools(find(target))
    if missing:
        pytest.skip(f"{target}: {', '.join(missing)} not installed")
    random = np.random.default_rng(4)
    arrays = [numbers(random, DTYPES[name], 2, 150) for name in ("f32", "i64")]
    x, y = (given_as(f"x{n}", a) for n, a in enumerate(arrays))
    outputs = (places_in_order(x, 1, 150, True, True), merged_places(SortKey(Transpose(y, perm=(1, 0)).output).output, 2),
               *different_numbers(constant(arrays[0][0]), 1)[:1])

    def run(graph, given_):
        return emulate(edgec.compile(graph, target, optimize="1", workers=0), [given_]).outputs[0]
    found = compiled(outputs, [(x, arrays[0]), (y, arrays[1])], run)
    np.testing.assert_array_equal(found[0], sorted_order(arrays[0], 1, True))


def test_ranks_are_those_of_numpy():
    x = np.random.default_rng(5).integers(0, 4, (3, 20)).astype(np.int32)
    op = Rank(given_as("x", x), axis=1)
    np.testing.assert_array_equal(formula_is_reference(op, x), np.argsort(np.argsort(x, axis=1, kind="stable"), axis=1))
