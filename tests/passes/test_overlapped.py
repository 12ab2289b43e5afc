"""Overlapped tiles: the same bits as one tile after the other, whole and cut into parts, and stores stand among the sums."""

import itertools
from dataclasses import replace
from random import Random

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from edgec.backends.target import available, find
from edgec.backends.targets.x86_64 import INSTRUCTIONS, V4
from edgec.compiler import lower
from edgec.graph import Graph, constant, graph_input
from edgec.interpreter import interpret
from edgec.loops import For, If, Let, Prefetch, Store, statements
from edgec.loops_interpreter import run_loops
from edgec.loops_verifier import verify_loops
from edgec.ops.quantized import QLinearConv
from edgec.ops.quantized_arithmetic import QLinearAdd
from edgec.ops.reshape import Transpose
from edgec.passes.cut import cuttable, ranged
from edgec.passes.overlapped import overlapped
from edgec.passes.tile import tile
from edgec.testing.arrows import run_tiled
from edgec.types import TensorType, u8

V4_TARGET = find("x86-64-v4")
MACHINE = replace(V4_TARGET, instructions=available(INSTRUCTIONS, (*V4, "avx512vnni")))


def layer(channels: int, filters: int, pixels: int, adds: bool, seed: int = 0) -> Graph:
    """A 1x1 convolution of bytes with bias and requantisation, and the sum with a shortcut."""
    random, zero = np.random.default_rng(seed), constant(np.zeros((), np.uint8))
    scale = lambda value, *shape: constant(np.full(shape, value, np.float32))
    w = constant(random.integers(-127, 128, (filters, channels, 1, 1)).astype(np.int8))
    inputs = [graph_input("x", TensorType(u8, (1, 1, pixels, channels)))]
    bias = constant(random.integers(-999, 999, filters).astype(np.int32))
    y = QLinearConv(Transpose(inputs[0], (0, 3, 1, 2)).output, scale(1.0), zero, w, scale(1.0, filters), constant(np.zeros((), np.int8)),
                    scale(90 * channels ** 0.5), zero, bias).output
    if adds:
        inputs.append(graph_input("z", TensorType(u8, (1, 1, pixels, filters))))
        y = QLinearAdd(y, scale(1.0), zero, Transpose(inputs[1], (0, 3, 1, 2)).output, scale(0.7), zero, scale(1.3), zero).output
    return Graph(tuple(inputs), (Transpose(y, (0, 2, 3, 1)).output,), ("y",), "layer")


def pieces(graph: Graph, target=MACHINE):
    program = lower(graph, target)
    return program, [tile(kernel, target) for kernel in program.steps]


def bytes_of(graph: Graph) -> dict[str, np.ndarray]:
    random = np.random.default_rng(3)
    return {v.name: random.integers(0, 256, tuple(v.type.shape)).astype(np.uint8) for v in graph.inputs}


def mixed(body) -> bool:
    """Whether some loop has a sum behind a store."""
    return any(isinstance(a, Store) and isinstance(b, Let) and b.value.op == "dot"
               for s in statements(body) if isinstance(s, (For, If)) for a, b in itertools.pairwise(s.body))


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 90), st.integers(2, 100), st.integers(1, 40), st.booleans(), st.randoms(use_true_random=False))
def test_overlapped_tiles_compute_the_same_bits(channels, filters, pixels, adds, random):
    graph = layer(channels, filters, pixels, adds)
    arrays = bytes_of(graph)
    program, tiled = pieces(graph)
    again = [replace(one, loops=overlapped(one.loops, MACHINE)) for one in tiled]
    expected = interpret(graph, arrays)["y"]
    np.testing.assert_array_equal(run_tiled(program, again, arrays)["y"], expected)


@pytest.mark.parametrize("channels, filters, pixels, adds", [(64, 64, 37, True), (12, 48, 64, False), (100, 32, 50, True)])
@pytest.mark.parametrize("seed", range(3))
def test_parts_of_an_overlapped_loop_compute_the_same_bits(channels, filters, pixels, adds, seed, monkeypatch):
    graph, random = layer(channels, filters, pixels, adds), Random(seed)
    arrays = bytes_of(graph)
    program, tiled = pieces(graph)

    def in_parts(loops, flat, bindings, ran):
        cut = cuttable(next(one for one in tiled if one.loops is loops), MACHINE)
        whole = overlapped(ranged(cut).loops, MACHINE)
        verify_loops(whole)
        assert mixed(whole.body)
        first, last = (s.data for s in whole.symbols[-2:])
        bounds = [0, *sorted(random.randrange(cut.positions + 1) for _ in range(5)), cut.positions]  # some parts are empty
        for start, stop in itertools.pairwise(bounds):
            run_loops(whole, flat, {**bindings, first: start, last: stop})

    monkeypatch.setattr("edgec.testing.arrows.run_loops", in_parts)
    np.testing.assert_array_equal(run_tiled(program, tiled, arrays)["y"], interpret(graph, arrays)["y"])


def test_stores_stand_among_the_sums_of_short_ones_alone():
    """64 and 16 channels in a loop and written out; 512 hide what follows, and 256 where that is little; two tiles must fit the registers."""
    for channels, found in ((64, True), (16, True), (512, False)):
        (one,) = pieces(layer(channels, 64, 64, True))[1]
        assert mixed(overlapped(one.loops, MACHINE).body) == found
        assert not mixed(one.loops.body)
    for adds in (True, False):
        (one,) = pieces(layer(256, 64, 64, adds))[1]
        assert mixed(overlapped(one.loops, MACHINE).body) == adds
    for other in (replace(MACHINE, registers=16), replace(MACHINE, compact=True), replace(MACHINE, in_order=True),
                  replace(MACHINE, scalar_operand="lane")):
        (one,) = pieces(layer(64, 64, 64, True), other)[1]
        assert overlapped(one.loops, other) is one.loops


def test_tiles_that_ask_for_memory_ahead_overlap():
    (one,) = pieces(layer(64, 256, 3136, True))[1]
    assert any(isinstance(s, Prefetch) for s in statements(one.loops.body))
    body = overlapped(one.loops, MACHINE).body
    assert mixed(body) and any(isinstance(s, Prefetch) for s in statements(body))


def test_two_tiles_fit_the_registers():
    (one,) = pieces(layer(64, 64, 64, True))[1]
    loop = next(s for s in statements(one.loops.body) if isinstance(s, For) and any(isinstance(inner, Store) for inner in s.body))
    assert 2 * sum(isinstance(s, Let) for s in loop.body) <= MACHINE.registers
