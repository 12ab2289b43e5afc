"""The arrow property: a graph, its program after every pass, its loops and its machine code compute the same, whatever the schedule.

    interpret(Graph) == run_program(Program) == run_tiled(Loops) == native == emulated

Integers and sums of small whole numbers are compared bit for bit, other floats within a proven bound (edgec.testing.bounds).
"""

from dataclasses import replace
from random import Random

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from edgec.backends.emulate import emulate, missing_tools
from edgec.backends.native import Loaded
from edgec.backends.target import find
from edgec.compiler import OPTIONAL, PROGRAM_PASSES, lower, optimise_graph
from edgec.emission import emit
from edgec.graph import Graph, constant, graph_input
from edgec.interpreter import interpret
from edgec.loops import For, statements
from edgec.ops.activation import Relu
from edgec.ops.arithmetic import Add
from edgec.ops.convolution import Conv
from edgec.ops.matmul import MatMul
from edgec.ops.pooling import GlobalAveragePool, MaxPool
from edgec.passes.liveness import liveness
from edgec.passes.tile import tile
from edgec.program_interpreter import run_program
from edgec.testing.arrows import random_schedule, run_machine_code, run_tiled
from edgec.testing.bounds import assert_within, error_bounds
from edgec.testing.graphs import graphs, integer_graphs, normal_inputs, random_graph, random_integer_graph, whole_inputs
from edgec.types import TensorType, f32

NATIVE = find("native")
# What a schedule may meet: machines without vectors and with wide ones, with and without masks and fused multiply-adds.
MACHINES = [replace(NATIVE, vector_bits=bits, registers=registers, masks=masks, fma=fma and NATIVE.fma, scalar_operand=operand)
            for bits, registers, masks, fma, operand in [
                (0, 16, False, True, "register"), (128, 16, False, False, "memory"), (128, 8, True, True, "register"),
                (128, 32, False, True, "lane"), (256, 16, False, True, "memory"), (256, 16, True, True, "lane"),
                (512, 32, True, True, "memory"), (512, 32, False, False, "lane")]]


def seeds(count: int) -> range:
    """Numbers of drawn graphs: a few in a normal run, many in a long one."""
    return range(count if settings.default.derandomize else 40 * count)


def drawn_graph(seed: int, steps: int) -> Graph:
    """A random graph: every fourth of integers, every fourth with an open size."""
    random = Random(seed)
    return random_integer_graph(random, steps) if seed % 4 == 3 else random_graph(random, steps, symbolic=seed % 4 == 2)


def samples(graph: Graph):
    """(inputs, expected outputs, bounds): whole numbers, which make sums exact, and normally distributed ones; open sizes differ."""
    for arrays in (whole_inputs(graph, size=2), normal_inputs(graph, size=3)):
        with np.errstate(all="ignore"):
            yield arrays, interpret(graph, arrays), error_bounds(graph, arrays)


def check_passes(graph: Graph) -> None:
    """The meaning of a graph after its own passes, after fusing and after every pass over programs."""
    for arrays, expected, bounds in samples(graph):
        graph_now = optimise_graph(graph, NATIVE)
        assert_within(interpret(graph_now, arrays), expected, bounds)
        program = graph_now
        for step, _ in PROGRAM_PASSES:
            program = step(program) if step is liveness else step(program, NATIVE)
            assert_within(run_program(program, arrays), expected, bounds)
        assert_within(run_program(program, arrays, arena=True), expected, bounds)


@pytest.mark.parametrize("seed", seeds(24))
def test_passes_keep_the_meaning_of_a_graph(seed):
    check_passes(drawn_graph(seed, 6))


@given(st.one_of(graphs(4), integer_graphs(4), graphs(3, symbolic=True)))
@settings(max_examples=20 if settings.default.derandomize else 500)
def test_passes_keep_the_meaning_of_a_graph_that_shrinks(graph):
    check_passes(graph)


@pytest.mark.parametrize("seed", seeds(30))
def test_objects_compute_what_the_graph_means(seed):
    graph = drawn_graph(100 + seed, 5)
    artifact = emit(lower(optimise_graph(graph, NATIVE), NATIVE), NATIVE, "net", "1", workers=0)
    with Loaded(artifact.object, artifact.interface) as model:
        for arrays, expected, bounds in samples(graph):
            assert_within(model.run(arrays), expected, bounds)


@pytest.mark.parametrize("seed", seeds(24))
def test_loops_compute_what_the_graph_means(seed):
    graph, target = drawn_graph(200 + seed, 4), MACHINES[seed % len(MACHINES)]
    without = [name for name in sorted(OPTIONAL) if Random(f"{seed} {name}").random() < 0.3]
    program = lower(optimise_graph(graph, target), target, without=without)
    tiled = [tile(kernel, target) for kernel in program.steps]
    for arrays, expected, bounds in samples(graph):
        assert_within(run_tiled(program, tiled, arrays), expected, bounds)


def test_a_sum_may_begin_with_a_term_that_its_products_swallow():
    """3 - 3 + 1e-18 is 0 where 1e-18 stands first: the bound knows, is of the size of the products, and stays 0 for whole numbers."""
    x, t = graph_input("x", TensorType(f32, (1, 2))), graph_input("t", TensorType(f32, (1, 16)))
    graph = Graph((x, t), (Add(MatMul(x, constant(np.float32([[1] * 16, [-1] * 16]), "w")).output, t).output,), ("y",), "swallowed")
    program = lower(optimise_graph(graph, NATIVE), NATIVE)
    tiled = [tile(kernel, MACHINES[6]) for kernel in program.steps]
    for term, least, most in ((1e-18, 1e-18, 2e-5), (2.0, 0.0, 0.0)):
        arrays = {"x": np.float32([[3, 3]]), "t": np.full((1, 16), term, np.float32)}
        bounds = error_bounds(graph, arrays)
        assert np.all((least <= bounds["y"]) & (bounds["y"] <= most))
        assert_within(run_tiled(program, tiled, arrays), interpret(graph, arrays), bounds)


@pytest.mark.parametrize("seed", seeds(64))
def test_any_legal_schedule_computes_the_same(seed):
    random, target = Random(seed), MACHINES[seed % len(MACHINES)]
    graph = drawn_graph(300 + seed, 3)
    program = lower(optimise_graph(graph, target), target)
    tiled = [tile(kernel, target, choose=lambda nest, target: random_schedule(random, nest, target)) for kernel in program.steps]
    arrays, expected, bounds = list(samples(graph))[random.randrange(2)]
    assert_within(run_tiled(program, tiled, arrays), expected, bounds)
    assert_within(run_machine_code(program, tiled, target, arrays), expected, bounds)


# ------------------------------------------------------------------------------------- extents around the tiles of a schedule

def convolution(side: int, made: int = 12, channels: int = 3, stride: int = 1) -> Graph:
    x = graph_input("x", TensorType(f32, (1, channels, 5, side)))
    weights = constant(whole((made, channels, 3, 3)), "w")
    y = Relu(Conv(x, weights, constant(whole((made,)), "b"), pads=(1, 1, 1, 1), strides=(stride, stride)).output).output
    return Graph((x,), (y,), ("y",), "conv")


def product(rows: int, columns: int, inner: int = 19) -> Graph:
    x = graph_input("x", TensorType(f32, (rows, inner)))
    product = MatMul(x, constant(whole((inner, columns)), "w")).output
    return Graph((x,), (Add(product, constant(whole((columns,)), "b")).output,), ("y",), "product")


def pooling(side: int) -> Graph:
    x = graph_input("x", TensorType(f32, (1, 17, side, side)))
    return Graph((x,), (MaxPool(x, kernel_shape=(3, 3), strides=(2, 2), pads=(1, 1, 1, 1)).output,), ("y",), "pooling")


def means(channels: int) -> Graph:
    x = graph_input("x", TensorType(f32, (1, channels, 4, 5)))
    return Graph((x,), (GlobalAveragePool(Relu(x).output).output,), ("y",), "means")


def whole(shape) -> np.ndarray:
    return np.random.default_rng(5).integers(-2, 3, shape).astype(np.float32)


def check_every_loop(graph: Graph, target) -> None:
    """Loops and machine code are right, and no loop is there that never runs."""
    program = lower(graph, target)
    tiled = [tile(kernel, target) for kernel in program.steps]
    ran: set[For] = set()
    arrays, expected, bounds = next(samples(graph))
    assert_within(run_tiled(program, tiled, arrays, ran), expected, bounds)
    assert_within(run_machine_code(program, tiled, target, arrays), expected, bounds)
    everything = [s for one in tiled for s in statements(one.loops.body) if isinstance(s, For)]
    assert not [loop.var for loop in everything if loop not in ran]


def around(tile_size: int) -> list[int]:
    """The extents at which tilings go wrong."""
    return sorted({1, 2, tile_size - 1, tile_size, tile_size + 1, 2 * tile_size + 3} - {0})


@pytest.mark.parametrize("target", [MACHINES[n] for n in (0, 2, 3, 6)], ids=lambda t: f"{t.vector_bits}{'m' * t.masks}-{t.scalar_operand}")
@pytest.mark.parametrize("extent", around(14))
def test_rows_around_a_tile(extent, target):
    check_every_loop(convolution(extent), target)
    check_every_loop(product(extent, 20), target)


@pytest.mark.parametrize("target", [MACHINES[3], MACHINES[6]], ids=lambda t: str(t.vector_bits))
@pytest.mark.parametrize("extent", around(16) + around(32))
def test_columns_around_a_vector(extent, target):
    check_every_loop(product(5, extent), target)
    check_every_loop(convolution(7, made=extent), target)
    check_every_loop(means(extent), target)


@pytest.mark.parametrize("inner", around(16))
def test_reductions_around_a_vector(inner):
    """Matrix times vector: the reduction fills the vectors, what remains is added element by element."""
    for target in (MACHINES[1], MACHINES[6]):
        check_every_loop(product(3, 1, inner), target)
        check_every_loop(product(1, 9, inner), target)


@pytest.mark.parametrize("side", around(9))
def test_windows_with_borders(side):
    for target in (MACHINES[0], MACHINES[4]):
        check_every_loop(pooling(side), target)
        check_every_loop(convolution(side, channels=1, stride=2), target)


# ------------------------------------------------------------------------------------------------------ other processors

@pytest.mark.parametrize("name", ["cortex-a72", "cortex-a7", "cortex-m4", "cortex-m55"])
def test_other_processors_compute_the_same(name):
    """A few graphs under emulation, each with several samples in one run of the emulator."""
    target = find(name)
    missing = missing_tools(target)
    if missing:
        pytest.skip(f"{name}: {', '.join(missing)} not installed")

    for seed in seeds(4):
        graph = drawn_graph(400 + seed, 5)
        artifact = emit(lower(optimise_graph(graph, target), target), target, "net", "1", workers=0)
        cases = list(samples(graph))
        outputs = emulate(artifact, [arrays for arrays, _, _ in cases]).outputs
        for found, (_, expected, bounds) in zip(outputs, cases):
            assert_within(found, expected, bounds)
