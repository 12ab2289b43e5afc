"""Bands: what joins, what stays apart, and the same results as kernel after kernel, borders and strides included."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from edgec.backends.target import find
from edgec.graph import Graph, constant, graph_input
from edgec.interpreter import interpret
from edgec.ops.activation import Relu
from edgec.ops.arithmetic import Add
from edgec.ops.convolution import Conv
from edgec.passes.bands import bands
from edgec.passes.fuse import fuse
from edgec.passes.layout import layout
from edgec.passes.tile import tile
from edgec.program_interpreter import run_program
from edgec.testing.arrows import run_machine_code
from edgec.types import TensorType, f32

V3 = find("x86-64-v3")


def small(channels: int, size: int):
    """A target whose second-level cache holds a share of an expanded tensor only."""
    return replace(V3, l2_bytes=channels * size * size * 4 * 2 // 5)


def weights(seed: int, *shape: int) -> np.ndarray:
    return (np.random.default_rng(seed).standard_normal(shape) / np.sqrt(np.prod(shape[1:]))).astype(np.float32)


def block(channels: int, size: int, kernel: int = 3, stride: int = 1, pad: int = 1, project: bool = True, shortcut: bool = False) -> Graph:
    """Expand, depthwise, project, as mobile networks do."""
    x = graph_input("x", TensorType(f32, (1, 4, size, size)))
    wide = Relu(Conv(x, constant(weights(0, channels, 4, 1, 1)), constant(weights(1, channels))).output).output
    deep = Conv(wide, constant(weights(2, channels, 1, kernel, kernel)), group=channels, strides=(stride, stride), pads=(pad,) * 4).output
    y = Relu(deep).output
    y = Conv(y, constant(weights(3, 4, channels, 1, 1))).output if project else y
    y = Add(y, x).output if shortcut else y
    return Graph((x,), (y,), ("y",), "net")


def banded(graph: Graph, target):
    program = layout(fuse(graph), target)
    return program, bands(program, target)


def check(graph: Graph, target) -> int:
    """Compare, and give the number of kernels that were joined."""
    before, after = banded(graph, target)
    arrays = {"x": weights(9, 1, 4, *graph.inputs[0].type.shape[2:])}
    expected = interpret(graph, arrays)["y"]
    np.testing.assert_allclose(run_program(before, arrays)["y"], expected, rtol=0, atol=1e-5)
    np.testing.assert_array_equal(run_program(after, arrays)["y"], run_program(before, arrays)["y"])
    found = run_machine_code(after, [tile(kernel, target) for kernel in after.steps], target, arrays)["y"]
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5)
    return len(before.steps) - len(after.steps)


def test_expand_depthwise_project_is_one_kernel_of_three_stages():
    before, after = banded(block(8, 64, stride=2), small(8, 64))
    assert len(before.steps) == 3
    kernel, = after.steps
    assert [s.target.kind for s in kernel.stages] == ["scratch", "scratch", "output"] and len(kernel.axes) == 1
    rows = kernel.stages[2].axes[0].extent
    assert kernel.axes[0].extent * rows == 32
    assert kernel.stages[0].target.shape[2] == 2 * rows + 1 and kernel.stages[1].target.shape[2] == rows  # a halo, and none


def test_a_tensor_that_fits_the_cache_is_left_alone():
    before, after = banded(block(8, 64, stride=2), replace(V3, l2_bytes=1 << 20))
    assert after.steps == before.steps


def test_no_second_level_cache_no_bands():
    program = layout(fuse(block(8, 64)))
    assert bands(program, find("cortex-m4")) is program


def test_a_tensor_with_two_readers_stays():
    x = graph_input("x", TensorType(f32, (1, 4, 64, 64)))
    wide = Conv(x, constant(weights(0, 8, 4, 1, 1))).output
    deep = Conv(wide, constant(weights(1, 8, 1, 3, 3)), group=8, strides=(2, 2), pads=(1, 1, 1, 1)).output
    outputs = (Conv(deep, constant(weights(2, 4, 8, 1, 1))).output, Conv(wide, constant(weights(3, 4, 8, 1, 1))).output)
    graph = Graph((x,), outputs, ("y", "z"), "net")
    _, after = banded(graph, small(8, 64))
    assert not any(s.target.name.startswith(wide.name) and s.target.kind == "scratch" for k in after.steps for s in k.stages)


@pytest.mark.parametrize("size", [31, 61])
def test_no_divisor_no_bands(size):
    before, after = banded(block(8, size), small(8, size))
    assert len(after.steps) == len(before.steps)


@settings(max_examples=12, deadline=None)
@given(channels=st.sampled_from([4, 8, 13]), size=st.sampled_from([64, 65, 80]), kernel=st.sampled_from([1, 3, 5]),
       stride=st.integers(1, 2), pad=st.integers(0, 2), project=st.booleans())
def test_results_do_not_change(channels, size, kernel, stride, pad, project):
    check(block(channels, size, kernel, stride, min(pad, kernel - 1), project), small(channels, size))


def test_a_shortcut_in_the_last_stage():
    assert check(block(8, 112, shortcut=True), replace(V3, l2_bytes=8 * 112 * 72 * 4)) == 2


@pytest.mark.parametrize("threads", [True, False])
def test_two_threads_share_bands_evenly_where_that_costs_next_to_nothing(threads):
    """Seven bands of sixteen rows read 12.5 % of the rows twice, eight of fourteen 14.3 %."""
    target = replace(small(8, 112), hand_over=6000 if threads else 0)
    _, after = banded(block(8, 112, project=False), target)
    bands_of = [k.axes[0].extent for k in after.steps if len(k.stages) > 1]
    assert bands_of == ([8] if threads else [7])


def test_bands_are_lower_where_the_result_of_one_stays_for_the_kernel_that_joins():
    """Bands of 14 rows hold 16 of one tensor and 14 of the next, more than the cache has room for; of 8 rows they hold 10 and 8."""
    _, after = banded(block(8, 112), small(8, 112))
    kernel, = after.steps
    assert len(kernel.stages) == 3 and kernel.axes[0].extent == 14


def test_a_band_that_computes_more_twice_than_it_saves_is_left():
    """The same tensors, the first a sum of 4 or of 400 products an element."""
    def joined(inputs: int) -> int:
        x = graph_input("x", TensorType(f32, (1, inputs, 48, 48)))
        wide = Relu(Conv(x, constant(weights(0, 8, inputs, 1, 1))).output).output
        deep = Conv(wide, constant(weights(2, 8, 1, 5, 5)), group=8, strides=(2, 2), pads=(2, 2, 2, 2)).output
        before, after = banded(Graph((x,), (deep,), ("y",), "net"), replace(V3, l2_bytes=8 * 48 * 20 * 4))
        return len(before.steps) - len(after.steps)
    assert (joined(4), joined(400)) == (1, 0)


def chain_of_two(size: int) -> Graph:
    """A narrow convolution before a block: both the narrow tensor and the wide one are larger than the cache."""
    x = graph_input("x", TensorType(f32, (1, 4, size, size)))
    narrow = Relu(Conv(x, constant(weights(0, 6, 4, 1, 1))).output).output
    wide = Relu(Conv(narrow, constant(weights(1, 16, 6, 1, 1))).output).output
    deep = Relu(Conv(wide, constant(weights(2, 16, 1, 3, 3)), group=16, pads=(1, 1, 1, 1)).output).output
    return Graph((x,), (Conv(deep, constant(weights(3, 4, 16, 1, 1))).output,), ("y",), "net")


def test_a_kernel_joins_the_larger_of_its_neighbours():
    graph, target = chain_of_two(64), replace(V3, l2_bytes=90 << 10)
    assert check(graph, target) == 2
    _, after = banded(graph, target)
    assert [len(k.stages) for k in after.steps] == [1, 3]
