"""Joined taps: the same sums of bytes from a copy with a border, fewer words, and only where that pays."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from edgec.backends.target import available, find
from edgec.backends.targets.x86_64 import INSTRUCTIONS, V4
from edgec.compiler import lower
from edgec.graph import Graph, constant, graph_input
from edgec.interpreter import interpret
from edgec.loops import For, expressions, statements
from edgec.ops.quantized import QLinearConv
from edgec.ops.reshape import Transpose
from edgec.passes import joined_taps as module
from edgec.passes.tile import tile
from edgec.sweeps import walk
from edgec.testing.arrows import run_tiled
from edgec.types import DTYPES, TensorType

MACHINE = replace(find("x86-64-v4"), instructions=available(INSTRUCTIONS, (*V4, "avx512vnni")))


def convolution(channels: int, filters: int, kernel: tuple[int, int], size: tuple[int, int], pads: tuple[int, int, int, int],
                strides: tuple[int, int] = (1, 1), dtype: str = "u8", zero: int = 0, images: int = 1) -> Graph:
    """A convolution of bytes whose channels lie innermost."""
    random, numbers = np.random.default_rng(0), DTYPES[dtype].numpy
    scale = lambda value: constant(np.full((), value, np.float32))
    x = graph_input("x", TensorType(DTYPES[dtype], (images, *size, channels)))
    w = random.integers(-127, 128, (filters, channels, *kernel)).astype(np.int8)
    y = QLinearConv(Transpose(x, (0, 3, 1, 2)).output, scale(1.0), constant(np.array(zero, numbers)), constant(w), scale(1.0),
                    constant(np.zeros((), np.int8)), scale(70 * w[0].size ** 0.5), constant(np.array(3, numbers)),
                    constant(random.integers(-999, 999, filters).astype(np.int32)), pads=pads, strides=strides)
    return Graph((x,), (Transpose(y.output, (0, 2, 3, 1)).output,), ("y",), "conv")


def words(program) -> int:
    """Steps of the dot products that one tile adds up, all loops counted."""
    found = 0
    for kernel in program.steps:
        body = tile(kernel, MACHINE).loops.body
        inner = [s for s in statements(body) if isinstance(s, For) and any(n.op == "dot" for t in s.body for e in expressions(t) for n in walk(e))]
        for s in inner[:1]:
            dots = [t for t in s.body if any(n.op == "dot" for e in expressions(t) for n in walk(e))]
            found = len(dots) // len({t.register for t in dots}) * (s.stop.data - s.start.data)
    return found


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_joined_taps_compute_the_same_bytes(data):
    draw = lambda low, high: data.draw(st.integers(low, high))
    kernel, dtype = (draw(1, 4), draw(2, 7)), data.draw(st.sampled_from(["u8", "i8"]))
    size, pads = (draw(4, 9), draw(7, 20)), (draw(0, 3), draw(0, 3), draw(0, 3), draw(0, 3))
    graph = convolution(draw(1, 6), draw(2, 20), kernel, size, pads, (draw(1, 2), draw(1, 3)), dtype, draw(0, 99), draw(1, 2))
    shape, random = tuple(graph.inputs[0].type.shape), np.random.default_rng(1)
    arrays = {"x": random.integers(*((0, 256) if dtype == "u8" else (-128, 128)), shape).astype(DTYPES[dtype].numpy)}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "WORTH", 0.0)
        program = lower(graph, MACHINE, without=("winograd",))
    found = run_tiled(program, [tile(k, MACHINE) for k in program.steps], arrays)["y"]
    np.testing.assert_array_equal(found, interpret(graph, arrays)["y"])


def test_seven_taps_of_three_channels_are_six_words():
    graph = convolution(3, 64, (7, 7), (56, 56), (3, 3, 3, 3), (2, 2))
    joined, apart = lower(graph, MACHINE), lower(graph, MACHINE, without=("joined_taps",))
    assert [k.name for k in joined.steps] == ["y.border", "y"] and [k.name for k in apart.steps] == ["y"]
    assert words(joined) == 7 * 6
    assert not any(n.op == "inside" for n in walk(joined.steps[1].stages[0].value))


@pytest.mark.parametrize("channels, filters, kernel", [(4, 64, 7), (3, 64, 3), (3, 1, 7), (16, 64, 7)])
def test_nothing_is_copied_where_no_word_is_saved_or_too_few_sums_profit(channels, filters, kernel):
    graph = convolution(channels, filters, (kernel, kernel), (32, 32), (kernel // 2,) * 4)
    assert not any(k.name.endswith(".border") for k in lower(graph, MACHINE, without=("winograd",)).steps)


def test_machines_without_dot_products_of_bytes_copy_nothing():
    graph = convolution(3, 64, (7, 7), (56, 56), (3, 3, 3, 3), (2, 2))
    assert [k.name for k in lower(graph, find("x86-64-v3")).steps] == ["y"]
