"""Kernels of one point taken apart: which are, and that nothing changes but what threads can share."""

from dataclasses import replace

import numpy as np
import pytest

from edgec.backends.target import find
from edgec.compiler import lower
from edgec.edge_file import read_graph
from edgec.emission import emit
from edgec.passes.parallel import parallel
from edgec.passes.tile import tile
from edgec.passes.walks import walks
from edgec.program_interpreter import run_program

V4 = find("x86-64-v4")
NATIVE = find("native")


def convolution(channels: int = 64, size: int = 16, relu: bool = True):
    """A 3x3 convolution small enough for one block of Winograd tiles."""
    last = "%b = Relu(%a) : " if relu else "%b = Neg(%a) : "
    shape = f"f32[1,{channels},{size},{size}]"
    return read_graph(f"graph g(%x: {shape}) -> (%y) {{\n @u: f32[{channels},{channels},1,1]\n @w: f32[{channels},{channels},3,3]\n"
                      f" @v: f32[8,{channels},1,1]\n %p = Conv(%x, @u) : {shape}\n %a = Conv(%p, @w) pads=[1,1,1,1] : {shape}\n"
                      f" {last}{shape}\n %y = Conv(%b, @v) : f32[1,8,{size},{size}]\n}}", "test")


@pytest.mark.parametrize("size", [12, 13, 16])
def test_a_convolution_of_one_block_is_three_kernels_or_more(size):
    graph = convolution(size=size)
    with_walks, without = lower(graph, V4), lower(graph, V4, without=("walks",))
    assert len(with_walks.steps) >= len(without.steps) + 2
    arrays = {"x": np.random.default_rng(1).standard_normal((1, 64, size, size)).astype(np.float32)}
    np.testing.assert_array_equal(run_program(with_walks, arrays)["y"], run_program(without, arrays)["y"])
    regions = [parallel(p.steps, [tile(k, V4) for k in p.steps], replace(V4, hand_over=600)) for p in (with_walks, without)]
    assert len(regions[0]) > len(regions[1])


def test_machine_code_computes_the_same_bits_with_threads():
    graph = convolution(64, 12)
    target = replace(NATIVE, hand_over=min(NATIVE.hand_over, 600))
    whole, apart = (emit(lower(graph, target, without=names), target, "net", workers=0) for names in (("walks",), ()))
    arrays = {"x": np.random.default_rng(2).standard_normal((1, 64, 12, 12)).astype(np.float32)}
    expected = whole.run(arrays)["y"].tobytes()
    assert apart.run(arrays)["y"].tobytes() == expected
    assert apart.run(arrays, threads=3)["y"].tobytes() == expected


def test_small_kernels_and_machines_without_threads_stay_as_they_are():
    softmax = read_graph("graph g(%x: f32[1,1000]) -> (%y) {\n %y = Softmax(%x) axis=1 : f32[1,1000]\n}", "test")
    for graph, target in ((softmax, V4), (convolution(), find("cortex-m7"))):
        program = lower(graph, target, without=("walks",))
        assert walks(program, target).steps == program.steps
