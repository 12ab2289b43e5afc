"""Which kernels are shared among threads, in how many parts, and that the bounds of their parts are sound."""

from dataclasses import replace

import pytest

from edgec.backends.target import all_targets, find
from edgec.compiler import lower
from edgec.edge_file import read_graph
from edgec.passes.parallel import PARTS, WORTH, parallel, parts_for
from edgec.passes.tile import tile

TARGET = find("x86-64-v3")


def regions(text: str, target=TARGET):
    program = lower(read_graph(text, "test"), target)
    return parallel(program.steps, [tile(kernel, target) for kernel in program.steps], target)


def product(rows: int, columns: int, inner: int = 512) -> str:
    return f"graph g(%x: f32[{rows},{inner}]) -> (%y) {{\n @w: f32[{inner},{columns}]\n %y = MatMul(%x, @w) : f32[{rows},{columns}]\n}}"


@pytest.mark.parametrize("rows, columns, shared", [(1, 16, False), (4, 16, False), (256, 512, True), (1, 2048, True)])
def test_only_what_is_worth_a_hand_over_is_shared(rows, columns, shared):
    assert bool(regions(product(rows, columns))) is shared


def test_parts_are_worth_a_hand_over_each():
    for cycles in (0, 5_000, 20_000, 100_000, 10**7):
        parts = parts_for(cycles, TARGET.hand_over)
        assert parts == 1 or parts in PARTS and cycles >= max(WORTH, parts) * TARGET.hand_over
    assert parts_for(10**7, TARGET.hand_over) == max(PARTS)


def test_bounds_cover_every_position_once():
    found = regions(product(256, 512))
    for region in found:
        for one in region.kernels:
            assert one.bounds[0] == 0 and one.bounds[-1] == one.cut.positions
            assert list(one.bounds) == sorted(set(one.bounds)) and len(one.bounds) == region.parts + 1


def test_parts_that_are_lent_are_worth_a_hand_over_each():
    for region in (*regions(product(256, 512)), *regions(product(48, 64))):
        cycles = region.kernels[0].cut.cycles
        assert 1 <= region.lent <= region.parts and region.parts * TARGET.meeting <= cycles
        assert region.lent == 1 or region.lent * TARGET.hand_over <= cycles


def test_what_is_worth_a_meeting_but_no_hand_over_is_shared_by_threads_that_run_together():
    chain = "graph g(%x: f32[32,64]) -> (%y) {\n @w: f32[64,64]\n %a = MatMul(%x, @w) : f32[32,64]\n %b = Exp(%a) : f32[32,64]\n" + \
        "".join(f" %c{n} = MatMul(%{f'c{n - 1}' if n else 'b'}, @w) : f32[32,64]\n" for n in range(4)) + " %y = Exp(%c3) : f32[32,64]\n}"
    found = regions(chain)
    assert found and all(region.lent == 1 for region in found)


@pytest.mark.parametrize("target", all_targets(), ids=lambda target: target.name)
def test_no_regions_without_threads(target):
    assert bool(regions(product(256, 512), target)) is (target.hand_over > 0)
    assert not regions(product(256, 512), replace(target, hand_over=0))


def test_a_dearer_hand_over_shares_less():
    sizes = [(16, 64), (64, 128), (128, 512), (512, 512)]
    counts = [sum(bool(regions(product(*size), replace(TARGET, hand_over=cycles))) for size in sizes) for cycles in (1, 6_000, 10**5, 10**8)]
    assert counts == sorted(counts, reverse=True) and counts[0] == len(sizes) and counts[-1] == 0
