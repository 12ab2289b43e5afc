"""Explanations: the very schedule, its own numbers, and words that name them."""

import pytest

from edgec.backends.target import all_targets, find
from edgec.compiler import lower
from edgec.edge_file import read_graph
from edgec.passes.explain import explain
from edgec.passes.schedule import schedule
from edgec.passes.tile import tile

PRODUCT = """graph g(%x: f32[29,64]) -> (%y) {
  @w: f32[64,50]
  %y = MatMul(%x, @w) : f32[29,50]
}"""
POOLED = """graph g(%x: f32[1,16,12,13]) -> (%y) {
  @w: f32[37,16,3,3]
  %c = Conv(%x, @w) pads=[1,1,1,1] : f32[1,37,12,13]
  %s = Softmax(%c) axis=1 : f32[1,37,12,13]
  %y = GlobalAveragePool(%s) : f32[1,37,1,1]
}"""


def explanations(text, target):
    found = []

    def note(nest, machine):
        found.append((nest, explain(nest, machine)))
        return found[-1][1].schedule

    for kernel in lower(read_graph(text, "test"), target).steps:
        tile(kernel, target, choose=note)
    return found


@pytest.mark.parametrize("target", all_targets(), ids=lambda t: t.name)
@pytest.mark.parametrize("text", [PRODUCT, POOLED], ids=["product", "pooled"])
def test_the_schedule_is_the_one_that_is_used(text, target):
    for nest, e in explanations(text, target):
        usual = schedule(nest, target)
        assert (e.schedule.rows, e.schedule.segments, e.schedule.unroll) == (usual.rows, usual.segments, usual.unroll)
        assert len(e.axes) == len(nest.axes) and e.words
        if e.tiles:
            best = min(t.cycles for t in e.tiles)
            assert (e.tiles[0].rows, e.tiles[0].registers) == (usual.rows, e.registers)
            assert e.tiles[0].cycles <= 1.002 * best and e.registers <= e.available == target.registers
            assert [t.cycles for t in e.tiles[1:]] == sorted(t.cycles for t in e.tiles[1:])


def test_words_and_reasons_name_the_numbers():
    (nest, e), = explanations(PRODUCT, find("x86-64-v3"))
    vectors = len(e.schedule.segments[0].piece.lanes)
    assert e.words.startswith(f"{e.schedule.rows} rows of i0 x {vectors} vectors of 8 of i1 and ")
    assert "64 steps" in e.words and "packed weights" in e.words
    text = "\n".join(e.reasons)
    assert "vectors along i1: 0." in text and f"{e.registers} of 16 registers" in text
    assert f"tile of {e.schedule.rows} x {vectors}" in text and "next of" in text


BYTES = """graph g(%x: u8[29,64]) -> (%y) {
  @w: i8[64,50]
  %y = MatMulInteger(%x, @w) : i32[29,50]
}"""


@pytest.mark.parametrize("target, words, reason", [
    ("alderlake", "int8 dot products", "u8 x i8 by vpdpbusd"), ("x86-64-v3", "int16 dot products", "i16 x i16 by "),
    ("cortex-m3", "i32", "products in i32: cortex-m3 has no dot product of integers")])
def test_the_arithmetic_of_integers_is_named_and_why(target, words, reason):
    (_, e), = explanations(BYTES, find(target))
    assert words in e.words and any(r.startswith(reason) for r in e.reasons)


def test_partial_sums_and_blocks_are_explained():
    (_, few), = explanations("""graph g(%x: f32[1,256]) -> (%y) {
      @w: f32[256,8]
      %y = MatMul(%x, @w) : f32[1,8]
    }""", find("x86-64-v3"))
    assert any("partial sums: 1 accumulator do" in r for r in few.reasons)
    (_, large), = explanations("""graph g(%x: f32[64,40,2000]) -> (%y) {
      @w: f32[2000,64]
      %t = Transpose(%x) perm=[1,0,2] : f32[40,64,2000]
      %y = MatMul(%t, @w) : f32[40,64,64]
    }""", find("x86-64-v3"))
    assert large.schedule.block == 0 or any(r.startswith(f"blocks of {large.schedule.block} of i") for r in large.reasons)


def test_another_plan_is_compared_too():
    target = find("x86-64-v3")
    (nest, e), = explanations(PRODUCT, target)
    from dataclasses import replace
    other = explain(nest, target, replace(e.schedule, rows=2))
    assert other.tiles[0].rows == 2 and other.tiles[0].cycles > e.tiles[0].cycles and other.cycles > e.cycles
