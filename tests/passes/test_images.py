"""Loops over images: which kernels share one, what shrinks, and the same results as kernel after kernel."""

from dataclasses import replace
from random import Random

import numpy as np
import pytest

from edgec.accesses import kernel_buffers
from edgec.backends.target import find
from edgec.compiler import lower, optimise_graph
from edgec.edge_file import read_graph
from edgec.emission import emit
from edgec.graph import Graph, constant, graph_input
from edgec.ops.activation import Relu
from edgec.ops.convolution import Conv
from edgec.ops.selection import TopK
from edgec.passes import images as pass_of_images
from edgec.passes.fuse import fuse
from edgec.passes.images import images
from edgec.program_interpreter import run_program
from edgec.testing.graphs import normal_inputs, random_graph, random_integer_graph
from edgec.types import TensorType, f32

V3 = find("x86-64-v3")
NATIVE = find("native")


def weights(seed: int, *shape: int) -> np.ndarray:
    return (np.random.default_rng(seed).standard_normal(shape) / np.sqrt(np.prod(shape[1:]))).astype(np.float32)


def block(images: int, channels: int, size: int) -> Graph:
    """Expand, depthwise, project."""
    x = graph_input("x", TensorType(f32, (images, 8, size, size)))
    wide = Relu(Conv(x, constant(weights(0, channels, 8, 1, 1))).output).output
    deep = Relu(Conv(wide, constant(weights(2, channels, 1, 3, 3)), group=channels, pads=(1,) * 4).output).output
    return Graph((x,), (Conv(deep, constant(weights(3, 8, channels, 1, 1))).output,), ("y",), "net")


@pytest.fixture
def everything(monkeypatch):
    """Every loop over images that may be is worth it."""
    monkeypatch.setattr(pass_of_images, "CALL", 0.0)
    monkeypatch.setattr(pass_of_images, "RESIDENT", 0.0)
    monkeypatch.setattr(pass_of_images, "WEIGHTS_PER_CYCLE", float("inf"))


def test_intermediates_larger_than_the_cache_are_made_image_by_image():
    graph = block(6, 96, 28)
    target = replace(V3, l2_bytes=1 << 20)
    program, before = lower(graph, target), lower(graph, target, without=("images",))
    loops = {k.repeat for k in program.steps}
    assert len(loops) == 1 and [a.extent for a in loops.pop()] == [6]
    assert program.arena_bytes * 5 < before.arena_bytes
    assert not any(k.repeat for k in before.steps)


def test_a_batch_that_fits_the_cache_stays_together():
    assert not any(k.repeat for k in lower(block(6, 96, 28), replace(V3, l2_bytes=1 << 25)).steps)
    assert not any(k.repeat for k in lower(block(1, 96, 28), replace(V3, l2_bytes=1 << 16)).steps)


def test_layers_whose_weights_outweigh_their_results_stay_together():
    text = "graph g(%x: f32[64,512]) -> (%y) {\n @u: f32[512,2048]\n @w: f32[2048,512]\n" \
           " %h = MatMul(%x, @u) : f32[64,2048]\n %a = Relu(%h) : f32[64,2048]\n %y = MatMul(%a, @w) : f32[64,512]\n}"
    assert not any(k.repeat for k in lower(read_graph(text, "test"), replace(V3, l2_bytes=1 << 16)).steps)


def test_without_a_second_level_cache_nothing_changes():
    program = lower(block(6, 96, 28), find("cortex-m4"))
    assert images(program, find("cortex-m4")) is program


def test_an_image_that_needs_another_breaks_the_loop(everything):
    text = "graph g(%x: f32[6,40]) -> (%z) {\n %a = Exp(%x) : f32[6,40]\n %b = Softmax(%a) axis=0 : f32[6,40]\n" \
           " %z = Softmax(%b) axis=1 : f32[6,40]\n}"
    program = lower(read_graph(text, "test"), V3)
    arrays = {"x": weights(1, 6, 40)}
    np.testing.assert_array_equal(run_program(program, arrays)["z"],
                                  run_program(lower(read_graph(text, "test"), V3, without=("images",)), arrays)["z"])


@pytest.mark.parametrize("seed", range(80))
def test_results_do_not_change(seed, everything):
    draw = Random(1200 + seed)
    graph = random_integer_graph(draw, 5) if seed % 4 == 3 else random_graph(draw, 6, symbolic=seed % 3 == 2)
    graph = optimise_graph(graph, V3)
    with_loops, without = (lower(graph, V3, without=("winograd", *names)) for names in ((), ("images",)))
    arrays = normal_inputs(graph, seed=seed, size=3)
    expected = run_program(without, arrays)
    for name, array in run_program(with_loops, arrays).items():
        np.testing.assert_array_equal(array, expected[name], err_msg=name)


def test_the_random_graphs_have_loops(everything):
    programs = [lower(optimise_graph(random_graph(Random(1200 + seed), 6), V3), V3) for seed in range(80)]
    assert sum(any(k.repeat for k in p.steps) for p in programs) >= 8


@pytest.mark.parametrize("threads", [1, 2])
def test_machine_code_of_a_loop_over_images(threads):
    graph = block(4, 64, 28)
    target = replace(NATIVE, l2_bytes=1 << 16, hand_over=min(NATIVE.hand_over, 1))
    program = lower(graph, target)
    assert any(k.repeat for k in program.steps)
    arrays = {"x": weights(5, 4, 8, 28, 28)}
    expected = run_program(program, arrays)["y"]
    found = emit(program, target, "net", workers=0).run(arrays, threads=threads)["y"]
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5)


def test_a_program_of_many_runs_is_walked_once_for_where_its_tensors_live(monkeypatch):
    value = x = graph_input("x", TensorType(f32, (4, 8, 8)))
    for _ in range(9):
        value = TopK(value, constant(np.array([8]))).decompose()[0]
    program, seen = fuse(Graph((x,), (value,), ("y",))), []
    monkeypatch.setattr(pass_of_images, "kernel_buffers", lambda kernel: seen.append(kernel) or kernel_buffers(kernel))
    found = [pass_of_images._batched(kernel, program) for kernel in program.steps]
    assert len(pass_of_images._runs(found)) > 1
    images(program, V3)
    assert len(seen) == len(program.steps)
