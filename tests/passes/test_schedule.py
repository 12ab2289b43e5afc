"""Schedules: every point is walked once, tiles fit the registers, vectors run along neighbours; for every target."""

from dataclasses import replace

import numpy as np
import pytest

from edgec.backends.inspect_object import section_sizes
from edgec.backends.native import Loaded
from edgec.backends.target import all_targets, find
from edgec.compiler import compile, lower, machine_for
from edgec.edge_file import read_graph
from edgec.interpreter import interpret
from edgec.passes.schedule import SMALL_TILE, schedule
from edgec.passes.segments import Piece
from edgec.passes.tile import tile

KERNELS = {
    "convolution": """graph g(%x: f32[1,16,12,13]) -> (%y) {
      @w: f32[37,16,3,3]
      %a = Neg(%x) : f32[1,16,12,13]
      %c = Conv(%a, @w) pads=[1,1,1,1] : f32[1,37,12,13]
      %y = MaxPool(%c) kernel_shape=[2,2] strides=[2,2] : f32[1,37,6,6]
    }""",
    "depthwise": """graph g(%x: f32[1,16,12,13]) -> (%y) {
      @w: f32[32,16,1,1]
      @d: f32[32,1,3,3]
      %a = Conv(%x, @w) : f32[1,32,12,13]
      %c = Conv(%a, @d) group=32 pads=[1,1,1,1] : f32[1,32,12,13]
      %y = GlobalAveragePool(%c) : f32[1,32,1,1]
    }""",
    "first layer": """graph g(%x: f32[1,3,23,23]) -> (%y) {
      @w: f32[16,3,3,3]
      @v: f32[8,16,1,1]
      %a = Conv(%x, @w) pads=[1,1,1,1] strides=[2,2] : f32[1,16,12,12]
      %y = Conv(%a, @v) : f32[1,8,12,12]
    }""",
    "product": """graph g(%x: f32[29,64]) -> (%y) {
      @w: f32[64,50]
      %y = MatMul(%x, @w) : f32[29,50]
    }""",
    "vector": """graph g(%x: f32[1,64]) -> (%y) {
      @w: f32[64,50]
      %y = MatMul(%x, @w) : f32[1,50]
    }""",
    "transposed": """graph g(%x: f32[1,64]) -> (%y) {
      @w: f32[50,64]
      %y = Gemm(%x, @w) transB=1 : f32[1,50]
    }""",
    "softmax": """graph g(%x: f32[5,33]) -> (%y) {
      %y = Softmax(%x) axis=1 : f32[5,33]
    }""",
    "elementwise": """graph g(%x: f32[2,7,5,3], %b: f32[7,1,1]) -> (%y) {
      %a = Add(%x, %b) : f32[2,7,5,3]
      %y = Relu(%a) : f32[2,7,5,3]
    }""",
    "open": """graph g(%x: f32[n<=9,20]) -> (%y) {
      @w: f32[20,18]
      %y = MatMul(%x, @w) : f32[n,18]
    }""",
}


def plans(text: str, target):
    """(nest, schedule) of every stage of every kernel."""
    found = []

    def note(nest, target):
        found.append((nest, schedule(nest, target)))
        return found[-1][1]

    for kernel in lower(read_graph(text, "test"), target).steps:
        tile(kernel, target, choose=note)
    return found


@pytest.mark.parametrize("target", all_targets(), ids=lambda t: t.name)
@pytest.mark.parametrize("name", KERNELS)
def test_schedules_fit_the_target(name, target):
    for nest, plan in plans(KERNELS[name], target):
        walked = [*plan.outer, *plan.middle, *(a for a in (plan.vector, plan.row) if a)]
        assert sorted(map(id, walked)) == sorted(map(id, nest.axes))  # every axis once
        assert plan.rows <= (plan.row.max_extent if plan.row else 1)
        vectors = max((len(s.piece.lanes) for s in plan.segments), default=1)
        if nest.domains:
            assert plan.rows * vectors + vectors + 1 <= target.registers
            assert plan.rows * vectors * plan.partials <= target.registers
        assert plan.reduce_vector is None or plan.vector is None
        covered = 0
        for segment in plan.segments:
            assert segment.start == covered and segment.count >= 1
            covered += segment.count * segment.piece.width
            assert all(lanes & (lanes - 1) == 0 and lanes <= target.lanes(32) for lanes in segment.piece.lanes)
            assert segment.piece.active == segment.piece.lanes[-1] or target.masks
        assert covered == (plan.vector.extent if plan.vector else 0)


@pytest.mark.parametrize("name, rows, vectors", [("x86-64-v3", 6, 2), ("x86-64-v4", 14, 2), ("aarch64", 6, 4), ("x86-64-v2", 6, 2)])
def test_a_large_convolution_fills_the_registers(name, rows, vectors):
    """The tiles of hand-written kernels: 6 x 16 on AVX2, 14 x 32 on AVX-512, about 24 accumulators of four on NEON."""
    text = """graph g(%x: f32[1,64,56,56]) -> (%y) {
      @w: f32[64,64,1,1]
      %a = Neg(%x) : f32[1,64,56,56]
      %c = Conv(%a, @w) : f32[1,64,56,56]
      %y = MaxPool(%c) kernel_shape=[2,2] strides=[2,2] : f32[1,64,28,28]
    }"""
    _, plan = plans(text, find(name))[1]
    assert plan.vector.extent == 64
    accumulators = plan.rows * len(plan.segments[0].piece.lanes)
    assert accumulators >= 0.8 * rows * vectors


def test_neighbours_in_memory_fill_vectors():
    for text, extent in ((KERNELS["elementwise"], 15), (KERNELS["product"], 50)):
        (nest, plan), = plans(text, find("x86-64-v3"))
        assert plan.vector.extent == extent


def test_a_single_row_is_summed_in_vectors():
    """y = sum_k x[k] w[k]: no other axis is left."""
    (nest, plan), = plans("""graph g(%x: f32[1,64], %w: f32[64,1]) -> (%y) {
      %y = MatMul(%x, %w) : f32[1,1]
    }""", find("x86-64-v3"))
    assert plan.vector is None and plan.reduce_vector is not None and plan.partials > 1


def test_constants_are_packed_rather_than_gathered():
    (nest, plan), = plans(KERNELS["transposed"], find("x86-64-v3"))
    assert plan.vector.extent == 50 and plan.reduce_vector is None


@pytest.mark.parametrize("extent, lanes, masks, pieces, active", [
    (50, 8, False, [(8, 8, 8, 8), (8, 8, 2)], 2), (16, 8, False, [(8, 8)], 8), (13, 8, False, [(8, 4, 1)], 1), (13, 8, True, [(8, 8)], 5),
    (7, 16, True, [(16,)], 7), (8, 16, True, [(8,)], 8), (33, 16, True, [(16, 16, 1)], 1), (3, 1, False, [(1,)], 1),
])
def test_ragged_extents_end_in_smaller_vectors_or_a_mask(extent, lanes, masks, pieces, active):
    """A power of two needs no mask."""
    target = replace(find("x86-64-v4"), vector_bits=32 * lanes if lanes > 1 else 0, masks=masks)
    (_, plan), = plans(f"graph g(%x: f32[{extent}]) -> (%y) {{\n  %y = Relu(%x) : f32[{extent}]\n}}", target)
    assert [s.piece.lanes for s in plan.segments] == pieces and plan.segments[-1].piece.active == active


def test_the_width_of_a_piece_counts_real_lanes():
    assert Piece((8, 8), 8).width == 16 and Piece((16, 16), 5).width == 21


def test_few_accumulators_are_split_into_partial_sums():
    """One row of one vector cannot hide the latency of a multiply-add by itself."""
    target = find("x86-64-v3")
    (_, plan), = plans("""graph g(%x: f32[1,256]) -> (%y) {
      @w: f32[256,8]
      %y = MatMul(%x, @w) : f32[1,8]
    }""", target)
    assert plan.partials > 1 and plan.rows == 1
    (_, full), = plans(KERNELS["product"], target)
    assert full.partials == 1


def test_large_operands_are_walked_in_blocks():
    """A panel of weights is used for as many rows as keep in the second-level cache, then the next panel is."""
    (nest, plan), = plans("""graph g(%x: f32[4096,512]) -> (%y) {
      @w: f32[512,64]
      %y = MatMul(%x, @w) : f32[4096,64]
    }""", find("x86-64-v3"))
    assert plan.row.extent == 4096


def test_equal_nests_have_equal_schedules():
    first, second = (plans(KERNELS["convolution"], find("aarch64")) for _ in range(2))
    for (_, a), (_, b) in zip(first, second):
        assert (a.segments, a.rows, a.block, a.partials, a.unroll) == (b.segments, b.rows, b.block, b.partials, b.unroll)
        assert [x.extent for x in (*a.outer, *a.middle)] == [x.extent for x in (*b.outer, *b.middle)]


def product(m: int, k: int, n: int, target):
    text = f"graph g(%x: f32[{m},{k}]) -> (%y) {{\n  @w: f32[{k},{n}]\n  %y = MatMul(%x, @w) : f32[{m},{n}]\n}}"
    (_, plan), = plans(text, target)
    return plan


def test_rows_that_share_a_cache_set_are_few():
    """Rows 4 KB apart meet in one set of eight lines: a tile that walks along them leaves room for its other operand."""
    target = replace(find("x86-64-v4"), l1_bytes=32 << 10, l2_bytes=1 << 20)
    assert product(2048, 2048, 2048, target).rows <= 6
    assert product(90, 2048, 32, target).rows <= 6
    assert product(90, 2000, 32, target).rows > 6


@pytest.mark.parametrize("m, k, n", [(512, 4608, 512), (64, 2048, 512), (1000, 2304, 2000)])
def test_deep_products_keep_a_tile_of_many_multiply_adds_a_load(m, k, n):
    """Panels beyond L2 stream in fast enough for tiles of five rows and more; narrow ones would only load more."""
    plan = product(m, k, n, replace(find("x86-64-v4"), l1_bytes=32 << 10, l2_bytes=1 << 20))
    rows, vectors = plan.rows, len(plan.segments[0].piece.lanes)
    assert rows >= 5 and vectors >= 3 and rows * vectors >= 20


@pytest.mark.parametrize("name", KERNELS)
@pytest.mark.parametrize("machine", ["x86-64-v4", "aarch64", "cortex-m4"])
def test_small_code_has_no_ragged_rows(name, machine):
    target = machine_for(machine, "s")
    assert target.compact and target.max_flash_growth == 1.0 and not find(machine).compact
    for nest, plan in plans(KERNELS[name], target):
        extent = plan.row.extent if plan.row else 1
        even = not isinstance(extent, int) or extent % plan.rows == 0 or all(extent % rows for rows in range(4, 30))
        assert even or not nest.domains
        assert not nest.domains or plan.rows * max((len(s.piece.lanes) for s in plan.segments), default=1) <= SMALL_TILE


@pytest.mark.parametrize("target", ["x86-64-v3", "x86-64-v4", "aarch64", "cortex-m4"])
def test_optimising_for_size_gives_less_code(target):
    graph = read_graph("""graph g(%x: f32[1,24,28,28]) -> (%y) {
      @w: f32[96,24,1,1]
      @d: f32[96,1,3,3]
      @p: f32[40,96,1,1]
      %a = Conv(%x, @w) : f32[1,96,28,28]
      %b = Conv(%a, @d) group=96 pads=[1,1,1,1] : f32[1,96,28,28]
      %y = Conv(%b, @p) : f32[1,40,28,28]
    }""", "test")
    fast, small = (compile(graph, target, prefix="g", optimize=o).object for o in ("3", "s"))
    assert _code(small) < 0.8 * _code(fast)


def _code(data: bytes) -> int:
    return sum(size for name, size in section_sizes(data).items() if ".text" in name)


@pytest.mark.parametrize("name", ["convolution", "depthwise", "first layer", "product"])
def test_small_code_computes_the_same(name):
    graph = read_graph(KERNELS[name], "test")
    artifact = compile(graph, "native", prefix="g", optimize="s")
    random = np.random.default_rng(3)
    inputs = {v.name: random.standard_normal(v.type.shape).astype(np.float32) for v in graph.inputs}
    with Loaded(artifact.object, artifact.interface) as model:
        found = model.run(inputs)["y"]
    assert np.allclose(found, interpret(graph, inputs)["y"], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("channels, rows", [(40, 7), (24, 12), (48, 9)])
def test_a_tile_with_half_a_vector_leaves_registers_over(channels, rows):
    """Three vectors of which one is half take the registers of scalars: eight rows of 16+16+8 spill, nine of three whole ones do not."""
    target = find("x86-64-v4")
    kernel = lower(read_graph(f"""graph g(%x: f32[504,64]) -> (%y) {{
      @w: f32[64,{channels}]
      %y = MatMul(%x, @w) : f32[504,{channels}]
    }}""", "test"), target).steps[0]
    found = []
    tile(kernel, target, choose=lambda nest, machine: found.append(schedule(nest, machine)) or found[0])
    assert found[0].rows == rows
